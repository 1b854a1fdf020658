// Overview: how the server and its devices are, now and over the last 15 minutes.
import { html, useMemo } from "../vendor/htm-preact.js";
import { may } from "./api.js";
import { Chart } from "./chart.js";
import { amount, time } from "./format.js";
import { useApi } from "./hooks.js";
import { Badge, Card, Loaded, Presence, Table } from "./parts.js";

const CHARTS = [
  ["Messages per second", [["messagesReceived", "received", "--chart-1", true], ["messagesSent", "sent", "--chart-3"]]],
  ["Rows stored per second", [["rowsStored", "stored", "--chart-4", true], ["messagesRefused", "refused", "--chart-2"]]],
  ["Database", [["commitMilliseconds", "commit, ms", "--chart-2"], ["queuedRows", "rows waiting", "--chart-4", false, "rows"]]],
  ["Connections", [["mqttConnections", "MQTT", "--chart-1"], ["mqttSessions", "MQTT sessions", "--chart-6"], ["liveConnections", "live channel", "--chart-5"]]],
  ["Rules", [["rulesRun", "runs per second", "--chart-3", true], ["rulesWaiting", "waiting", "--chart-2", false, "waiting"]]],
];

export function Overview({ served }) {
  const series = useApi("/metrics/series", { every: 5 });
  const shown = series.data?.data;
  return html`<div class="head"><h1>Overview</h1><span class="muted small push">The last 15 minutes, every 5 seconds</span></div>
    <${Tiles} shown=${shown} served=${served} />
    <div class="charts">${CHARTS.filter(([, lines]) => !shown || lines.some(([key]) => key in shown.series))
    .map(([title, lines]) => html`<${Figures} key=${title} title=${title} lines=${lines} from=${series} />`)}</div>
    ${may("sensor.view") && html`<${RefusedLately} />`}`;
}

const last = (shown, key) => shown?.series[key]?.at(-1);

function Tiles({ shown, served }) {
  const presence = useApi("/presence", { every: 10 });
  const alarms = useApi(may("sensor.view") && served.has("GET /alarms") ? "/alarms?limit=1&state=active" : null, { every: 15 });
  const counts = { online: 0, late: 0, silent: 0, offline: 0 };
  for (const organization of presence.data?.data.organizations ?? []) {
    for (const key of Object.keys(counts)) counts[key] += organization[key];
  }
  const known = Boolean(presence.data);
  return html`<div class="tiles">
    ${Object.entries(counts).map(([key, count]) => html`<a class="card tile" key=${key} href="#/things">
      <span class="label"><${Presence} value=${key} /></span><span class="value">${known ? amount(count) : "–"}</span></a>`)}
    <${Tile} label="Messages in" value=${amount(last(shown, "messagesReceived"))} unit="/s" />
    <${Tile} label="Messages out" value=${amount(last(shown, "messagesSent"))} unit="/s" />
    <${Tile} label="Until stored" value=${amount(last(shown, "commitMilliseconds"))} unit="ms" />
    ${may("sensor.view") && served.has("GET /alarms")
    ? html`<a class="card tile" href="#/alarms"><span class="label">Active alarms</span><span class="value">${amount(alarms.data?.total)}</span></a>`
    : html`<${Tile} label="Rows waiting" value=${amount(last(shown, "queuedRows"))} />`}
  </div>`;
}

function Tile({ label, value, unit = "" }) {
  return html`<div class="card tile"><span class="label">${label}</span><span class="value">${value} ${unit && html`<small>${unit}</small>`}</span></div>`;
}

function Figures({ title, lines, from }) {
  const shown = from.data?.data;
  const data = useMemo(() => shown && [
    shown.times.map((at) => new Date(at) / 1000),
    ...lines.map(([key]) => shown.series[key] ?? shown.times.map(() => null)),
  ], [shown]);
  const now = Date.now() / 1000;
  return html`<${Card} title=${title}><${Loaded} from=${from} lines=${7}>
    ${data && html`<${Chart} name=${title} data=${data} range=${[now - 900, now]} height=${200}
      lines=${lines.map(([, label, colour, fill, scale]) => ({ label, colour, fill, scale, least: 0 }))} />`}
  <//><//>`;
}

function RefusedLately() {
  const refusals = useApi("/system/refusals?limit=8", { every: 15 });
  const rows = refusals.data?.data.refusals ?? [];
  const counts = Object.entries(refusals.data?.data.counts ?? {}).sort(([, a], [, b]) => b - a);
  return html`<${Card} title="Not stored lately" flush tools=${counts.map(([code, count]) => html`
      <span class="badge plain" key=${code} title="since the start of the server">${code} ${amount(count)}</span>`)}>
    <${Loaded} from=${refusals} empty="Nothing was refused." isEmpty=${() => !rows.length}>
      <${RefusalTable} rows=${rows} />
    <//><//>`;
}

/** Messages that were not stored, with the reason. */
export function RefusalTable({ rows }) {
  return html`<${Table} name="Not stored lately" rows=${rows} keyOf=${(row) => row.id} columns=${[
    ["When", (row) => time(row.at), "nowrap"],
    ["Why", (row) => html`<${Badge} kind="bad">${row.code}<//>`, "nowrap"],
    ["Reason", (row) => row.reason, "wide"],
    ["Topic", (row) => html`<code>${row.topic || row.uuid}</code>`, "wide"],
    ["Payload", (row) => html`<code>${row.payload.length > 120 ? `${row.payload.slice(0, 120)} …` : row.payload}</code>`, "wide"],
  ]} />`;
}
