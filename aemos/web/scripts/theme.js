// Sets light or dark before anything is drawn; without a choice the system's own holds.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("aemos.theme");
  } catch {
    // storage is off: the system's own
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
