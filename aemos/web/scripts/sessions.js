// The MQTT connections of one sensor or device, of now and before.
import { html, useState } from "../vendor/htm-preact.js";
import { request } from "./api.js";
import { amount, bytes, time } from "./format.js";
import { useApi } from "./hooks.js";
import { Act, Badge, Card, Dialog, Loaded, Table } from "./parts.js";

/** The card with the last ten of them; needs device.update. */
export function Sessions({ uuid }) {
  const clients = useApi(`/mqtt/clients?name=${encodeURIComponent(uuid)}&limit=10&sort=-connectedAt`, { every: 5 });
  const rows = clients.data?.data.clients ?? [];
  return html`<${Card} title="MQTT sessions" flush><${Loaded} from=${clients} isEmpty=${() => !rows.length}
    empty="It has never connected over MQTT."><${ClientTable} rows=${rows} reload=${clients.reload} /><//><//>`;
}

/** MQTT clients with what they did; those connected can be disconnected. */
export function ClientTable({ rows, reload, named = false }) {
  const [asked, setAsked] = useState(null);
  const end = async (row) => {
    await request("DELETE", `/mqtt/clients/${row.id}`);
    await reload();
  };
  return html`<${Table} name="MQTT clients" rows=${rows} keyOf=${(row) => row.id} columns=${[
    ["Client id", (row) => html`<code>${row.clientId}</code>${named && html`<br /><span class="muted small">${row.kind} ${row.name}</span>`}`, "wide"],
    ["State", (row) => (row.connected ? html`<${Badge} kind="ok">connected<//>` : html`<${Badge}>gone<//>`)],
    ["From", (row) => html`${row.peer}<br /><span class="muted small">${row.transport}</span>`, "nowrap"],
    ["Connected", (row) => time(row.connectedAt), "nowrap"],
    ["Left", (row) => (row.connected ? "" : html`${time(row.disconnectedAt)}<br /><span class="muted small">${row.disconnectReason ?? ""}</span>`), "wide"],
    ["Subscriptions", (row) => (row.subscriptions ? html`<button type="button" class="slim" onClick=${() => setAsked(row)}>${amount(row.subscriptions)}<span
      class="hidden-label"> subscriptions of ${row.clientId}</span></button>` : amount(0)), "number"],
    ["Messages in", (row) => amount(row.messagesReceived), "number"],
    ["Messages out", (row) => amount(row.messagesSent), "number"],
    ["Waiting", (row) => html`${amount(row.queued)}${row.queuedBytes ? html`<br /><span class="muted small">${bytes(row.queuedBytes)}</span>` : ""}`, "number"],
    ["Dropped", (row) => amount(row.dropped), "number"],
    ["", (row) => row.connected && html`<${Act} label="Disconnect" kind="danger" onAct=${() => end(row)}
      question=${`Close the connection of ${row.clientId}? It may come back.`} />`],
  ]} />
  ${asked && html`<${Filters} client=${asked} onClose=${() => setAsked(null)} />`}`;
}

function Filters({ client, onClose }) {
  const detail = useApi(`/mqtt/clients/${client.id}`);
  const rows = detail.data?.data.client.filters ?? [];
  return html`<${Dialog} title=${`Subscriptions of ${client.clientId}`} onClose=${onClose}><${Loaded} from=${detail} isEmpty=${() => !rows.length}
    empty="It is subscribed to nothing any more."><${Table} name="Subscriptions" rows=${rows} keyOf=${(row) => row.filter} columns=${[
    ["Filter", (row) => html`<code>${row.filter}</code>`, "wide"],
    ["QoS", (row) => row.qos, "number"],
  ]} /><//><//>`;
}
