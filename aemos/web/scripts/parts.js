// The parts that views are made of.
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";

const PRESENCE = { online: "ok", late: "warn", silent: "warn", offline: "bad" };

/** A state as a word with a colour. */
export function Badge({ kind = "", children }) {
  return html`<span class=${`badge ${kind}`}>${children}</span>`;
}

/** How a sensor or device is heard of, as a badge. */
export function Presence({ value }) {
  return html`<${Badge} kind=${PRESENCE[value] ?? ""}>${value ?? "unknown"}<//>`;
}

/** A titled surface. `tools` stand at the right of the title. */
export function Card({ title, tools, children, id, flush }) {
  const name = id ?? `card-${title.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  return html`<section class="card" aria-labelledby=${name}>
    <header><h2 id=${name}>${title}</h2>${tools && html`<div class="row push">${tools}</div>`}</header>
    <div class=${flush ? "flush" : "body"}>${children}</div>
  </section>`;
}

/** Shows what a `useApi` has: grey lines, a reason with another try, nothing, or its children. */
export function Loaded({ from, empty, isEmpty, lines = 3, children }) {
  if (from.error && !from.data) {
    return html`<div class="notice bad" role="alert">${from.error.message}
      <button type="button" class="slim" onClick=${from.reload}>Try again</button></div>`;
  }
  if (!from.data) {
    return html`<div class="skeleton" role="status" aria-label="Loading">${Array.from({ length: lines }, () => html`<span></span>`)}</div>`;
  }
  if (isEmpty?.(from.data)) return html`<p class="empty">${empty}</p>`;
  return html`${from.error && html`<p class="notice warn" role="status">Not up to date: ${from.error.message}</p>`}${children}`;
}

/**
 * A table that scrolls sideways where it must.
 *
 * @param {{columns: [string, Function, string?][], rows, name: string, keyOf: Function}} props title, cell and class
 */
export function Table({ columns, rows, name, keyOf }) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${`${name}, table`}><table>
    <thead><tr>${columns.map(([title, , kind]) => html`<th scope="col" class=${kind}>${title}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${keyOf?.(row)}>${columns.map(([, cell, kind]) => html`<td class=${kind}>${cell(row)}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

/** A dialog; Escape and its button close it, focus stays inside. */
export function Dialog({ title, wide, onClose, children }) {
  const element = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    element.current.showModal();
    return () => before?.focus?.();
  }, []);
  return html`<dialog ref=${element} class=${wide ? "wide" : ""} aria-labelledby="dialog-title" onClose=${onClose} onCancel=${onClose}>
    <header class="row"><h2 id="dialog-title">${title}</h2>
      <button type="button" class="quiet push" aria-label="Close" onClick=${onClose}>✕</button></header>
    ${children}
  </dialog>`;
}

/** A button that asks before it does; while it works it cannot be pressed again. */
export function Act({ label, question, onAct, kind = "", onError }) {
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const run = async () => {
    setBusy(true);
    setProblem("");
    try {
      await onAct();
      setAsking(false);
    } catch (error) {
      setProblem(error.message);
      onError?.(error);
    }
    setBusy(false);
  };
  return html`<button type="button" class=${`slim ${kind}`} disabled=${busy} onClick=${() => (question ? setAsking(true) : run())}>${label}</button>
    ${problem && !asking && html`<span class="bad small" role="alert">${problem}</span>`}
    ${asking && html`<${Dialog} title=${label} onClose=${() => setAsking(false)}>
      <p>${question}</p>
      ${problem && html`<p class="notice bad" role="alert">${problem}</p>`}
      <div class="row"><button type="button" class=${kind === "danger" ? "danger" : "primary"} disabled=${busy} onClick=${run}>${label}</button>
        <button type="button" onClick=${() => setAsking(false)}>Cancel</button></div>
    <//>`}`;
}

/** Choices of which one holds. @param {{name: string, options: [value, label][], value, onChange}} props */
export function Choice({ name, options, value, onChange }) {
  return html`<div class="choice" role="group" aria-label=${name}>${options.map(([key, label]) => html`
    <button type="button" class="slim" aria-pressed=${key === value ? "true" : "false"} onClick=${() => onChange(key)}>${label}</button>`)}</div>`;
}

/** Pages of a list. */
export function Pager({ page, pages, onChange }) {
  if (pages <= 1) return null;
  return html`<nav class="row pager" aria-label="Pages">
    <button type="button" class="slim" disabled=${page === 0} onClick=${() => onChange(page - 1)}>Previous</button>
    <span class="muted small number">${page + 1} of ${pages}</span>
    <button type="button" class="slim" disabled=${page >= pages - 1} onClick=${() => onChange(page + 1)}>Next</button>
  </nav>`;
}

/** A text with a button that copies it. */
export function Copy({ text, label }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return html`<span class="copy"><code>${text}</code>${navigator.clipboard && html`<button type="button" class="slim quiet"
    onClick=${copy}>${copied ? "Copied" : "Copy"}<span class="hidden-label"> ${label}</span></button>`}</span>`;
}
