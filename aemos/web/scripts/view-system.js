// System: health of each part, log level, configuration in force, audit log.
import { html, useMemo, useState } from "../vendor/htm-preact.js";
import { isAdministrator, request } from "./api.js";
import { time } from "./format.js";
import { useApi } from "./hooks.js";
import { Badge, Card, Loaded, Pager, Table } from "./parts.js";

const PER_PAGE = 25;
const LEVELS = ["debug", "info", "warn", "error"];

export function System({ served }) {
  return html`<div class="head"><h1>System</h1></div>
    <div class="columns"><${Health} />${isAdministrator() && html`<${LogLevel} />`}</div>
    ${served.has("GET /audit-log") && html`<${Audit} />`}
    ${isAdministrator() && html`<${Configuration} />`}`;
}

function Health() {
  const health = useApi("/health", { every: 5 });
  const parts = Object.entries(health.data?.services ?? {});
  return html`<${Card} title="Health" flush><${Loaded} from=${health}>
    <${Table} name="Health" rows=${parts} keyOf=${([name]) => name} columns=${[
    ["Part", ([name]) => name],
    ["State", ([, part]) => html`<${Badge} kind=${part.status === "ok" ? "ok" : "bad"}>${part.status}<//>`],
    ["More", ([, { status, ...more }]) => html`<span class="small">${Object.entries(more).filter(([, value]) => typeof value !== "object")
      .map(([key, value]) => `${key} ${value}`).join(", ")}</span>`, "wide"],
  ]} /><//><//>`;
}

function LogLevel() {
  const level = useApi("/system/log-level");
  const [problem, setProblem] = useState("");
  const change = async (event) => {
    setProblem("");
    try {
      await request("PUT", "/system/log-level", { level: event.target.value });
    } catch (error) {
      setProblem(error.message);
    }
    await level.reload();
  };
  return html`<${Card} title="Log"><${Loaded} from=${level} lines=${2}>
    <div class="fields"><label>Lines are written from this level on<select value=${level.data?.data.level} onChange=${change}>
      ${LEVELS.map((name) => html`<option value=${name} selected=${name === level.data?.data.level}>${name}</option>`)}</select></label>
    <p class="hint">Until the server starts again or reads its configuration anew.</p>
    ${problem && html`<p class="notice bad" role="alert">${problem}</p>`}</div>
  <//><//>`;
}

function Audit() {
  const [page, setPage] = useState(0);
  const log = useApi(`/audit-log?limit=${PER_PAGE}&offset=${page * PER_PAGE}`, { every: 20 });
  const rows = log.data?.data.entries ?? [];
  return html`<${Card} title="Audit log" flush><${Loaded} from=${log} lines=${6} isEmpty=${() => !rows.length} empty="Nothing was changed yet.">
    <${Table} name="Audit log" rows=${rows} keyOf=${({ id }) => id} columns=${[
    ["When", (row) => time(row.at), "nowrap"],
    ["Who", (row) => html`${row.actorName || "–"}<br /><span class="muted small">${row.actorKind}</span>`],
    ["What", (row) => html`${row.action} ${row.resource}<br /><span class="muted small">${row.resourceId ? `id ${row.resourceId}` : ""}</span>`],
    ["Changes", (row) => Object.entries(row.changes ?? {}).map(([field, change]) => html`<div key=${field}><code>${field}</code> ${changed(change)}</div>`), "wide"],
    ["From", (row) => row.address ?? "", "nowrap"],
  ]} />
    <${Pager} page=${page} pages=${Math.ceil((log.data?.total ?? 0) / PER_PAGE)} onChange=${setPage} />
  <//><//>`;
}

/** @returns {string} what a field held before and after. */
function changed(change) {
  if (!Array.isArray(change)) return shortened(change);
  return change.map(shortened).join(" → ");
}

function shortened(value) {
  const text = value === null || value === undefined ? "–" : typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)} …` : text;
}

function Configuration() {
  const configuration = useApi("/system/configuration");
  const [wanted, setWanted] = useState("");
  const all = configuration.data?.data.configuration ?? [];
  const text = wanted.trim().toLowerCase();
  const rows = useMemo(() => all.filter(({ key, value }) => !text || key.includes(text) || value.toLowerCase().includes(text)), [all, text]);
  return html`<${Card} title="Configuration in force" flush tools=${html`<label class="hidden-label" for="key">Search the configuration</label>
      <input id="key" type="search" placeholder="Search" value=${wanted} onInput=${(event) => setWanted(event.target.value)} />`}>
    <${Loaded} from=${configuration} lines=${8} isEmpty=${() => !rows.length} empty="Nothing matches.">
      <${Table} name="Configuration" rows=${rows} keyOf=${({ key }) => key} columns=${[
    ["Key", ({ key }) => html`<code>${key}</code>`, "nowrap"], ["Value", ({ value }) => html`<code>${value}</code>`, "wide"]]} />
    <//><//>`;
}
