// Alarms: active and past ones; acknowledge and comment.
import { html, useState } from "../vendor/htm-preact.js";
import { may, request } from "./api.js";
import { age, time } from "./format.js";
import { useApi, useNow } from "./hooks.js";
import { Act, Badge, Card, Choice, Dialog, Loaded, Pager, Table } from "./parts.js";

const PER_PAGE = 25;
const STATES = { active: "bad", acknowledged: "warn", cleared: "ok" };
const SEVERITIES = { critical: "bad", warning: "warn", info: "" };

export function Alarms() {
  const [state, setState] = useState("");
  const [page, setPage] = useState(0);
  const [open, setOpen] = useState(null);
  const now = useNow();
  const alarms = useApi(`/alarms?${state ? `state=${state}&` : ""}limit=${PER_PAGE}&offset=${page * PER_PAGE}`, { every: 5 });
  const rows = alarms.data?.data.alarms ?? [];
  const handle = async (row, step) => {
    await request("POST", `/alarms/${row.id}/${step}`, {});
    await alarms.reload();
  };
  return html`<div class="head"><h1>Alarms</h1></div>
    <div class="toolbar"><${Choice} name="State" value=${state} onChange=${(value) => { setState(value); setPage(0); }}
      options=${[["", "All"], ["active", "Active"], ["acknowledged", "Acknowledged"], ["cleared", "Cleared"]]} /></div>
    <${Card} title="Raised" flush><${Loaded} from=${alarms} lines=${6} isEmpty=${() => !rows.length} empty="No alarms.">
      <${Table} name="Alarms" rows=${rows} keyOf=${({ id }) => id} columns=${[
    ["Severity", (row) => html`<${Badge} kind=${SEVERITIES[row.severity] ?? ""}>${row.severity}<//>`],
    ["Alarm", (row) => html`<strong>${row.message}</strong><br /><span class="muted small">${row.name}</span> ${
      row.sensorId && html`<a class="small" href=${`#/sensors/${row.sensorId}/${row.organizationId}`}>Sensor</a>`}`, "wide"],
    ["Value", (row) => row.value ?? "–", "number"],
    ["State", (row) => html`<${Badge} kind=${STATES[row.state] ?? ""}>${row.state}<//>`],
    ["Raised", (row) => html`${time(row.raisedAt)}<br /><span class="muted small">${age(row.raisedAt, now)}</span>`, "nowrap"],
    ["Cleared", (row) => time(row.clearedAt), "nowrap"],
    ["", (row) => html`<div class="row">
      ${may("sensor.update") && row.state === "active" && html`<${Act} label="Acknowledge" onAct=${() => handle(row, "acknowledge")} />`}
      ${may("sensor.update") && row.state !== "cleared" && html`<${Act} label="Clear" question="End this alarm by hand? It comes again with its cause." onAct=${() => handle(row, "clear")} />`}
      <button type="button" class="slim" onClick=${() => setOpen(row.id)}>History</button></div>`],
  ]} />
      <${Pager} page=${page} pages=${Math.ceil((alarms.data?.total ?? 0) / PER_PAGE)} onChange=${setPage} />
    <//><//>
    ${may("rule.view") && html`<${Definitions} />`}
    ${open && html`<${History} id=${open} onClose=${() => setOpen(null)} />`}`;
}

/** @returns {string} a condition in short words. */
function words(condition) {
  switch (condition.type) {
    case "threshold": return `${condition.variable ?? ""} ${condition.direction} ${condition.level}`.trim();
    case "rate": return `${condition.direction} by ${condition.change} in ${condition.minutes} min`;
    case "missing": return `nothing for ${condition.minutes} min`;
    case "stuck": return `the same for ${condition.minutes} min`;
    default: return `${condition.type} of (${condition.of.map(words).join("; ")})`;
  }
}

function Definitions() {
  const definitions = useApi("/alarm-definitions?limit=100", { every: 30 });
  const rows = definitions.data?.data.alarmDefinitions ?? [];
  const change = async (row) => {
    await request("PATCH", `/alarm-definitions/${row.id}`, { enabled: !row.enabled });
    await definitions.reload();
  };
  return html`<${Card} title="What alarms watch for" flush><${Loaded} from=${definitions} isEmpty=${() => !rows.length}
    empty="There are no alarm definitions yet. They are made over the API.">
    <${Table} name="Definitions" rows=${rows} keyOf=${({ id }) => id} columns=${[
    ["Name", (row) => html`<strong>${row.name}</strong>`, "wide"],
    ["Severity", (row) => html`<${Badge} kind=${SEVERITIES[row.severity] ?? ""}>${row.severity}<//>`],
    ["Variable", (row) => row.variableName ?? (row.telemetryDataId ? `id ${row.telemetryDataId}` : "")],
    ["Condition", (row) => words(row.condition), "wide"],
    ["State", (row) => html`<${Badge} kind=${row.enabled ? "ok" : ""}>${row.enabled ? "on" : "off"}<//>`],
    ["", (row) => may("rule.update") && html`<${Act} label=${row.enabled ? "Switch off" : "Switch on"}
      question=${row.enabled ? `Watch no more for ${row.name}? Its alarms end.` : ""} onAct=${() => change(row)} />`],
  ]} /><//><//>`;
}

function History({ id, onClose }) {
  const alarm = useApi(`/alarms/${id}`);
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");
  const found = alarm.data?.data.alarm;
  const comment = async (event) => {
    event.preventDefault();
    try {
      await request("POST", `/alarms/${id}/comment`, { comment: text.trim() });
      setText("");
      await alarm.reload();
    } catch (error) {
      setProblem(error.message);
    }
  };
  return html`<${Dialog} title=${found?.message ?? "Alarm"} onClose=${onClose}>
    <${Loaded} from=${alarm}>
      <ol class="events">${(found?.events ?? []).map((event) => html`<li key=${event.id}><span class="muted small">${time(event.at)}</span>
        <div><strong>${event.kind}</strong> ${event.userName && html`<span class="muted">by ${event.userName}</span>`} ${event.comment ?? ""}</div></li>`)}</ol>
      ${may("sensor.update") && html`<form class="fields" onSubmit=${comment}><label>Comment<input required value=${text} onInput=${(event) => setText(event.target.value)} /></label>
        ${problem && html`<p class="notice bad" role="alert">${problem}</p>`}<div class="row"><button class="primary">Comment</button></div></form>`}
    <//><//>`;
}
