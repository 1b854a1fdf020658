// Rules: chains with what they did lately and along which nodes; on, off or only recording.
import { html, useState } from "../vendor/htm-preact.js";
import { may, request } from "./api.js";
import { amount, time } from "./format.js";
import { useApi, useOrganizations } from "./hooks.js";
import { Act, Badge, Card, Loaded, Table } from "./parts.js";
import { Replay } from "./replay.js";

const MODES = { live: ["ok", "live"], shadow: ["warn", "shadow"], off: ["", "off"] };
const SWITCH = { live: "Go live", shadow: "Only record", off: "Switch off" };
const RUN = { success: "ok", failure: "bad", failed: "bad", error: "bad" };

export function Rules({ served }) {
  const queue = useApi("/metrics/queue/summary", { every: 5 });
  const organizations = useOrganizations();
  const [chosen, setChosen] = useState("");
  const organization = chosen || organizations.data?.[0]?.id;
  const chains = useApi(organization ? `/rule-chains?organizationId=${organization}` : null, { every: 10 });
  const [open, setOpen] = useState(null);
  const [replayed, setReplayed] = useState(null);
  const rows = chains.data?.data ?? [];
  const told = served.has("GET /rule-chains/{chain_id}/runs");
  const replays = may("rule.update") && served.has("POST /rule-chains/{chain_id}/replay");
  const switchable = may("rule.update") && rows.some((row) => "mode" in row);
  const change = async (row, changes) => {
    await request("PATCH", `/rule-chains/${row.id}?organizationId=${row.organizationId}`, changes);
    await chains.reload();
  };
  return html`<div class="head"><h1>Rules</h1>
      ${queue.data && html`<${Badge} kind=${queue.data.health === "healthy" ? "ok" : "warn"}>queue ${queue.data.health ?? queue.data.status}<//>`}</div>
    ${organizations.data?.length > 1 && html`<div class="toolbar"><label class="hidden-label" for="organization">Organization</label>
      <select id="organization" value=${String(organization)} onChange=${(event) => setChosen(event.target.value)}>
        ${organizations.data.map(({ id, name }) => html`<option value=${String(id)}>${name}</option>`)}</select></div>`}
    <${Card} title="Rule chains" flush><${Loaded} from=${organization ? chains : organizations} lines=${6} isEmpty=${() => !rows.length}
      empty="There are no rule chains yet. They are made in the dashboard or over the API.">
      <${Table} name="Rule chains" rows=${rows} keyOf=${({ id }) => id} columns=${[
    ["Name", (row) => html`<strong>${row.name}</strong>${row.description && html`<br /><span class="muted small">${row.description}</span>`}`, "wide"],
    ["State", (row) => html`<${Badge} kind=${MODES[row.mode]?.[0] ?? "ok"}>${MODES[row.mode]?.[1] ?? row.mode ?? "on"}<//>`],
    ["Runs on", (row) => html`${row.executionType?.replace("-triggered", "") ?? "events"}${row.scheduleEnabled && row.cronExpression ? html`<br /><code>${row.cronExpression}</code>` : ""}`],
    ["Runs", (row) => amount(row.executionCount), "number"],
    ["Failed", (row) => amount(row.failureCount), "number"],
    ["Last run", (row) => time(row.lastExecutedAt), "nowrap"],
    ["", (row) => html`<div class="row">
      ${told && html`<button type="button" class="slim" aria-expanded=${open?.id === row.id ? "true" : "false"}
        onClick=${() => setOpen(open?.id === row.id ? null : row)}>Last runs<span class="hidden-label"> of ${row.name}</span></button>`}
      ${replays && html`<button type="button" class="slim" onClick=${() => setReplayed(row)}>Replay<span class="hidden-label"> ${row.name}</span></button>`}
      ${switchable && Object.keys(MODES).filter((mode) => mode !== row.mode).map((mode) => html`<${Act} key=${mode} label=${SWITCH[mode]}
        question=${question(row, mode)} onAct=${() => change(row, { mode })} />`)}
      ${switchable && row.cronExpression && html`<${Act} label=${row.scheduleEnabled ? "Schedule off" : "Schedule on"}
        onAct=${() => change(row, { scheduleEnabled: !row.scheduleEnabled })} />`}</div>`],
  ]} /><//><//>
    ${open && html`<${Runs} key=${open.id} chain=${open} />`}
    ${replayed && html`<${Replay} chain=${replayed} onClose=${() => setReplayed(null)} />`}`;
}

function question(row, mode) {
  return {
    live: `Let ${row.name} act?`,
    shadow: `Let ${row.name} only record what it would do?`,
    off: `Let nothing make ${row.name} run?`,
  }[mode];
}

function Runs({ chain }) {
  const runs = useApi(`/rule-chains/${chain.id}/runs?organizationId=${chain.organizationId}`, { every: 5 });
  const detail = useApi(`/rule-chains/${chain.id}?organizationId=${chain.organizationId}`);
  const names = new Map((detail.data?.data.nodes ?? []).map(({ id, name }) => [id, name]));
  const rows = runs.data?.data ?? [];
  return html`<${Card} title=${`Last runs of ${chain.name}`} flush><${Loaded} from=${runs} isEmpty=${() => !rows.length} empty="It has not run since the server started.">
    <${Table} name="Last runs" rows=${rows} keyOf=${(row) => `${row.at}${row.durationMs}`} columns=${[
    ["When", (row) => time(row.at), "nowrap"],
    ["State", (row) => html`<${Badge} kind=${RUN[row.status] ?? ""}>${row.status}<//>${row.mode === "shadow" && html` <${Badge} kind="warn">shadow<//>`}`],
    ["Why", (row) => row.trigger.type],
    ["Path", (row) => html`<ol class="path">${row.path.map((node) => html`<li class=${node.passed === false ? "bad" : ""}>${names.get(node.nodeId) ?? `${node.type} ${node.nodeId}`}${
      node.passed === undefined ? "" : node.passed ? " ✓" : " ✗"}</li>`)}</ol>`, "wide"],
    ["Actions", (row) => row.actions.map((action) => html`<div key=${action.nodeId}><code>${action.stateName} = ${action.value}</code> <span class="muted small">${action.status}</span></div>`), "wide"],
    ["Errors", (row) => row.errors.map((error) => html`<div class="bad">${error.message ?? error}</div>`), "wide"],
    ["Took", (row) => `${amount(row.durationMs)} ms`, "number nowrap"],
  ]} /><//><//>`;
}
