// The frame of every page: brand, light and dark.
import { html, useState } from "../vendor/htm-preact.js";

const ROOT = document.documentElement;

/** @returns {boolean} whether the page is dark now. */
export function isDark() {
  return ROOT.dataset.theme ? ROOT.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** The name of the product with its sign, a link to the console. */
export function Brand() {
  return html`<a class="brand" href="/" aria-label="AEMOS, to the console">
    <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2.2" stroke-linecap="round"
      stroke-linejoin="round" aria-hidden="true"><path d="M3 19 9.2 5.5a1.6 1.6 0 0 1 2.9 0L18.3 19" />
      <path d="M7 14h4.2l1.6-3.2 2 5.4 1.6-2.2H21" /></svg>AEMOS</a>`;
}

/** A button that changes between light and dark, and remembers. */
export function ThemeSwitch() {
  const [dark, setDark] = useState(isDark());
  const change = () => {
    const next = dark ? "light" : "dark";
    ROOT.dataset.theme = next;
    try {
      localStorage.setItem("aemos.theme", next);
    } catch {
      // not remembered
    }
    setDark(!dark);
    dispatchEvent(new Event("aemos-theme"));
  };
  return html`<button type="button" class="quiet" onClick=${change} aria-pressed=${dark ? "true" : "false"}
    title=${dark ? "Light" : "Dark"}><span aria-hidden="true">${dark ? "☀" : "☾"}</span><span class="hidden-label">Dark
    colours</span></button>`;
}
