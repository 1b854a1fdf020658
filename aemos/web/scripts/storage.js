// Settings kept in the browser; where it keeps nothing, they last as long as the page.

/** @returns {object} what was saved under the name, or `fallback`. */
export function load(name, fallback, storage = localStorage) {
  try {
    return { ...fallback, ...JSON.parse(storage.getItem(name) ?? "{}") };
  } catch {
    return { ...fallback };
  }
}

/** Save an object under the name. */
export function save(name, value, storage = localStorage) {
  try {
    storage.setItem(name, JSON.stringify(value));
  } catch {
    // full or off: nothing depends on it
  }
}
