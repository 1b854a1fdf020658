// Numbers and times as people read them, in the time zone of the browser.

const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const number = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });

export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** @returns {string} the offset of the zone now, such as "UTC+2". */
export function offset() {
  const parts = new Intl.DateTimeFormat("en", { timeZoneName: "shortOffset" }).formatToParts(new Date());
  return (parts.find(({ type }) => type === "timeZoneName")?.value ?? "").replace("GMT", "UTC");
}

/** @returns {string} date and time. @param {string|number|null} at */
export function time(at) {
  return at ? date.format(new Date(at)) : "–";
}

/** @returns {string} how long ago, such as "3 min". */
export function age(at, now = Date.now()) {
  if (!at) return "never";
  const seconds = Math.max(0, (now - new Date(at).getTime()) / 1000);
  if (seconds < 5) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

/** @returns {string} a number with at most two decimals; a dash where there is none. */
export function amount(value) {
  return value === null || value === undefined || Number.isNaN(value) ? "–" : number.format(value);
}

/** @returns {string} a size such as "1.5 KB". */
export function bytes(size) {
  if (size < 1024) return `${size} B`;
  if (size < 1024 ** 2) return `${amount(size / 1024)} KB`;
  return `${amount(size / 1024 ** 2)} MB`;
}

/** @returns {number|null} the number that a stored text is; null = it is none. */
export function numeric(value) {
  return value !== null && value !== "" && Number.isFinite(Number(value)) ? Number(value) : null;
}
