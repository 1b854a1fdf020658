// The log of a test client: what went in and out, with filter, pause, copy and clear.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/htm-preact.js";

const KEPT = 1000;
const WORDS = { in: "received", out: "sent", info: "note", refused: "refused" };

/** The entries of one page; tells its listener once a frame that there are new ones. */
export class Log {
  entries = [];
  paused = false;
  missed = 0;
  #changed = () => {};
  #scheduled = false;

  /** Call `changed` some moments after anything has. */
  listen(changed) {
    this.#changed = changed;
  }

  /** @param {"in"|"out"|"info"|"refused"} kind @param {object} fields topic, qos, retain, payload, words */
  add(kind, fields) {
    this.entries.push({ kind, at: new Date(), key: Log.#next++, ...fields });
    if (this.entries.length > KEPT) this.entries.splice(0, this.entries.length - KEPT);
    if (this.paused) this.missed += 1;
    this.#tell();
  }

  /** Keep on collecting, but count what comes as missed. */
  pause(paused) {
    this.paused = paused;
    this.missed = 0;
    this.#tell();
  }

  /** Forget everything. */
  clear() {
    this.entries = [];
    this.missed = 0;
    this.#tell();
  }

  #tell() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setTimeout(() => {
      this.#scheduled = false;
      this.#changed();
    }, 30);
  }

  static #next = 1;
}

const two = (number, digits = 2) => String(number).padStart(digits, "0");

/** @returns {string} time of day with milliseconds, of the browser's time zone. */
export function clock(at) {
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${two(at.getMilliseconds(), 3)}`;
}

function line(entry) {
  const parts = [entry.at.toISOString(), WORDS[entry.kind]];
  if (entry.topic !== undefined) parts.push(entry.topic);
  if (entry.qos !== undefined) parts.push(`QoS ${entry.qos}`);
  if (entry.retain) parts.push("retained");
  if (entry.words) parts.push(entry.words);
  if (entry.payload !== undefined) parts.push(entry.payload);
  return parts.join("\t");
}

async function copy(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Without TLS browsers offer no other way.
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** @param {{log: Log, empty: string}} props */
export function LogCard({ log, empty }) {
  const [, redraw] = useState(0);
  const [filter, setFilter] = useState("");
  const [copied, setCopied] = useState("");
  const frozen = useRef([]);
  const list = useRef(null);
  useEffect(() => log.listen(() => redraw((count) => count + 1)), [log]);
  if (!log.paused) frozen.current = log.entries;
  const wanted = filter.toLowerCase();
  const shown = useMemo(
    () => frozen.current.filter((entry) => !wanted || line(entry).toLowerCase().includes(wanted)),
    [frozen.current, frozen.current.length, frozen.current.at(-1)?.key, wanted],
  );
  const follows = useRef(true);
  useEffect(() => {
    if (follows.current && list.current) list.current.scrollTop = list.current.scrollHeight;
  });
  const pause = () => {
    if (!log.paused) frozen.current = [...log.entries];
    log.pause(!log.paused);
  };
  const take = async () => {
    try {
      await copy(shown.map(line).join("\n"));
      setCopied("Copied");
    } catch {
      setCopied("The browser does not let this page copy");
    }
    setTimeout(() => setCopied(""), 2000);
  };
  const scrolled = ({ target }) => {
    follows.current = target.scrollHeight - target.scrollTop - target.clientHeight < 40;
  };
  return html`<section class="card log" aria-labelledby="log-title">
    <header>
      <h2 id="log-title">Log</h2>
      <span class="muted small number" role="status">${copied || `${shown.length} of ${log.entries.length}`}</span>
      <label class="hidden-label" for="filter">Filter the log</label>
      <input id="filter" type="search" placeholder="Filter by topic or text" value=${filter}
        onInput=${(event) => setFilter(event.target.value)} />
      <button type="button" class="slim" aria-pressed=${log.paused ? "true" : "false"} onClick=${pause}>
        ${log.paused ? `Resume${log.missed ? ` (${log.missed} new)` : ""}` : "Pause"}</button>
      <button type="button" class="slim" onClick=${take} disabled=${!shown.length}>Copy</button>
      <button type="button" class="slim" onClick=${() => { frozen.current = []; log.clear(); }}
        disabled=${!log.entries.length}>Clear</button>
    </header>
    <ol ref=${list} onScroll=${scrolled} tabindex="0" aria-label="Messages">
      ${shown.length ? shown.map((entry) => html`<${Entry} key=${entry.key} entry=${entry} />`)
    : html`<li class="empty"><span></span><span></span><span>${log.entries.length ? "Nothing matches the filter" : empty}</span></li>`}
    </ol>
  </section>`;
}

function Entry({ entry }) {
  return html`<li class=${entry.kind}>
    <time datetime=${entry.at.toISOString()}>${clock(entry.at)}</time>
    <span class="kind">${WORDS[entry.kind]}</span>
    <span class="where">
      ${entry.topic !== undefined && html`<code>${entry.topic}</code>`}
      ${entry.qos !== undefined && html`<span class="muted">QoS ${entry.qos}</span>`}
      ${entry.retain && html`<span class="muted">retained</span>`}
      ${entry.words && html`<span class="words">${entry.words}</span>`}
    </span>
    ${entry.payload !== undefined && html`<pre>${entry.payload}</pre>`}
  </li>`;
}
