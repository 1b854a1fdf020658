// MQTT: who is connected and why others left, retained messages, bans.
import { html, useState } from "../vendor/htm-preact.js";
import { isAdministrator, request } from "./api.js";
import { amount, bytes, time } from "./format.js";
import { useApi } from "./hooks.js";
import { Act, Card, Choice, Loaded, Pager, Table } from "./parts.js";
import { ClientTable } from "./sessions.js";

const PER_PAGE = 25;
const TILES = [["connections", "Connections"], ["sessions", "Sessions"], ["subscriptions", "Subscriptions"], ["retainedMessages", "Retained"],
  ["messagesReceived", "Messages in"], ["messagesSent", "Messages out"], ["clientsRefused", "Refused clients"], ["messagesDenied", "Denied messages"]];

export function Mqtt() {
  const stats = useApi("/mqtt/stats", { every: 5 });
  const figures = stats.data?.data ?? {};
  const shown = TILES.filter(([key]) => !stats.data || key in figures);
  return html`<div class="head"><h1>MQTT</h1></div>
    <div class="tiles">${(shown.length ? shown : [["connectedClients", "Connected clients"]]).map(([key, label]) => html`<div class="card tile" key=${key}>
      <span class="label">${label}</span><span class="value">${amount(figures[key])}</span></div>`)}</div>
    <${Clients} />
    ${figures.closed && html`<div class="columns"><${Reasons} title="Why connections ended" counts=${figures.closed} />
      <${Reasons} title="Kept out or dropped" counts=${{ ...figures.limited, ...figures.dropped }} /></div>`}
    ${isAdministrator() && html`<${Bans} />`}
    <${Retained} />`;
}

function Clients() {
  const [state, setState] = useState("true");
  const [page, setPage] = useState(0);
  const clients = useApi(`/mqtt/clients?connected=${state}&limit=${PER_PAGE}&offset=${page * PER_PAGE}&sort=-connectedAt`, { every: 5 });
  const rows = clients.data?.data.clients ?? [];
  const change = (value) => {
    setState(value);
    setPage(0);
  };
  return html`<${Card} title="Clients" flush tools=${html`<${Choice} name="Which" value=${state} onChange=${change}
      options=${[["true", "Connected"], ["false", "Gone"], ["", "All"]]} />`}>
    <${Loaded} from=${clients} lines=${6} isEmpty=${() => !rows.length} empty=${state === "true" ? "Nobody is connected." : "Nobody."}>
      <${ClientTable} rows=${rows} reload=${clients.reload} named />
      <${Pager} page=${page} pages=${Math.ceil((clients.data?.total ?? 0) / PER_PAGE)} onChange=${setPage} />
    <//><//>`;
}

function Reasons({ title, counts }) {
  const rows = Object.entries(counts).sort(([, a], [, b]) => b - a);
  return html`<${Card} title=${title} flush>${rows.length ? html`<${Table} name=${title} rows=${rows} keyOf=${([reason]) => reason} columns=${[
    ["Reason", ([reason]) => reason], ["Since the start", ([, count]) => amount(count), "number"]]} />` : html`<p class="empty">None since the start.</p>`}<//>`;
}

function Bans() {
  const bans = useApi("/mqtt/bans", { every: 10 });
  const rows = bans.data?.data.bans ?? [];
  const lift = async (row) => {
    await request("DELETE", `/mqtt/bans/${row.id}`);
    await bans.reload();
  };
  return html`<${Card} title="Bans" flush><${Loaded} from=${bans} isEmpty=${() => !rows.length} empty="Nobody is kept out.">
    <${Table} name="Bans" rows=${rows} keyOf=${({ id }) => id} columns=${[
    ["Who", (row) => html`${row.kind} <code>${row.name}</code>`, "wide"],
    ["Why", (row) => row.reason, "wide"],
    ["Until", (row) => time(row.until), "nowrap"],
    ["", (row) => html`<${Act} label="Lift" question="Let it in again?" onAct=${() => lift(row)} />`],
  ]} /><//><//>`;
}

function Retained() {
  const [filter, setFilter] = useState("#");
  const [wanted, setWanted] = useState("#");
  const [page, setPage] = useState(0);
  const messages = useApi(`/mqtt/retained?topic=${encodeURIComponent(wanted)}&limit=${PER_PAGE}&offset=${page * PER_PAGE}`, { every: 15 });
  const rows = messages.data?.data.messages ?? [];
  const search = (event) => {
    event.preventDefault();
    setWanted(filter.trim() || "#");
    setPage(0);
  };
  return html`<${Card} title="Retained messages" flush tools=${html`<form class="row" onSubmit=${search}>
      <label class="hidden-label" for="retained">Topic filter</label><input id="retained" value=${filter} onInput=${(event) => setFilter(event.target.value)} />
      <button>Show</button></form>`}>
    <${Loaded} from=${messages} isEmpty=${() => !rows.length} empty="No retained messages match.">
      <${Table} name="Retained messages" rows=${rows} keyOf=${({ topic }) => topic} columns=${[
    ["Topic", (row) => html`<code>${row.topic}</code>`, "wide"], ["QoS", (row) => row.qos, "number"],
    ["Size", (row) => bytes(row.size), "number nowrap"], ["Payload", (row) => html`<code>${row.payload}</code>`, "wide"]]} />
      <${Pager} page=${page} pages=${Math.ceil((messages.data?.total ?? 0) / PER_PAGE)} onChange=${setPage} />
    <//><//>`;
}
