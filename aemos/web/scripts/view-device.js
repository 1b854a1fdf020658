// One device: its states, commands with what became of them, tokens, sessions.
import { html, useState } from "../vendor/htm-preact.js";
import { may, request } from "./api.js";
import { age, time } from "./format.js";
import { useApi, useNow } from "./hooks.js";
import { Act, Badge, Card, Copy, Loaded, Presence, Table } from "./parts.js";
import { Sessions } from "./sessions.js";
import { Tokens } from "./tokens.js";

const COMMAND = { confirmed: "ok", failed: "bad", expired: "bad", queued: "warn", sent: "warn", received: "warn" };
const OPEN = new Set(["queued", "sent"]);

export function Device({ id, organization, served }) {
  const device = useApi(`/devices/${id}?organizationId=${organization}`, { every: 10 });
  const found = device.data?.data.device;
  return html`<div class="head"><a class="crumb" href="#/things">Devices and sensors</a><span class="muted" aria-hidden="true">/</span>
      <h1>${found?.name ?? "Device"}</h1>${found && html`<${Presence} value=${found.presence} />`}</div>
    <${Loaded} from=${device}>
      <div class="columns"><${States} device=${found} reload=${device.reload} /><${About} device=${found} /></div>
      ${found && served.has("GET /devices/{device}/commands") && html`<${Commands} device=${found} />`}
      <${Tokens} holder=${{ deviceId: Number(id) }} uuid=${found?.uuid} changeable=${may("device.update")} />
      ${may("device.update") && found && html`<${Sessions} uuid=${found.uuid} />`}
    <//>`;
}

function About({ device }) {
  const now = useNow();
  return html`<${Card} title="About"><dl class="facts">
    <dt>Uuid</dt><dd><${Copy} text=${device.uuid} label="the uuid" /></dd>
    <dt>Type</dt><dd>${device.deviceType}${device.isCritical ? ", critical" : ""}</dd>
    <dt>Area</dt><dd>${device.area?.name ?? "–"}</dd>
    <dt>Organization</dt><dd>${device.organization?.name ?? "–"}</dd>
    <dt>Heard of</dt><dd class="number">${age(device.lastSeen, now)}${device.lastSeen ? `, ${time(device.lastSeen)}` : ""}</dd>
    <dt>Control</dt><dd>${device.controlModes ?? "–"}</dd>
  </dl><//>`;
}

function choices(state) {
  try {
    const values = JSON.parse(state.allowedValues ?? "[]");
    return Array.isArray(values) ? values.map(String) : [];
  } catch {
    return [];
  }
}

function States({ device, reload }) {
  const states = device.states ?? [];
  const set = async (state, value) => {
    await request("POST", "/device-state-instances", { deviceUuid: device.uuid, stateName: state.stateName, value });
    await reload();
  };
  return html`<${Card} title="States" flush>${states.length ? html`<${Table} name="States" rows=${states} keyOf=${({ id }) => id} columns=${[
    ["State", (row) => row.stateName],
    ["Value", (row) => html`<strong>${row.instances?.[0]?.value ?? row.defaultValue ?? "–"}</strong>`],
    ["Since", (row) => time(row.instances?.[0]?.fromTimestamp)],
    ...(may("device.update") ? [["Set", (row) => html`<div class="row">${choices(row).map((value) => html`<${Act} key=${value} label=${value}
      question=${`Set ${row.stateName} of ${device.name} to ${value}?`} onAct=${() => set(row, value)} />`)}</div>`]] : []),
  ]} />` : html`<p class="empty">This device has no states.</p>`}<//>`;
}

function Commands({ device }) {
  const commands = useApi(`/devices/${device.uuid}/commands?limit=20`, { every: 3 });
  const [word, setWord] = useState("");
  const [problem, setProblem] = useState("");
  const rows = commands.data?.data.commands ?? [];
  const give = async (event) => {
    event.preventDefault();
    setProblem("");
    try {
      await request("POST", `/devices/${device.uuid}/commands`, { command: word.trim() });
      setWord("");
      await commands.reload();
    } catch (error) {
      setProblem(error.message);
    }
  };
  const cancel = async (row) => {
    await request("DELETE", `/devices/${device.uuid}/commands/${row.commandId}`);
    await commands.reload();
  };
  return html`<${Card} title="Commands" flush tools=${may("device.update") && html`<form class="row" onSubmit=${give}>
      <label class="hidden-label" for="command">Command</label><input id="command" required placeholder="Command, such as on" value=${word}
        onInput=${(event) => setWord(event.target.value)} /><button class="primary">Send</button></form>`}>
    ${problem && html`<p class="notice bad" role="alert">${problem}</p>`}
    <${Loaded} from=${commands} isEmpty=${() => !rows.length} empty="No commands yet.">
      <${Table} name="Commands" rows=${rows} keyOf=${({ id }) => id} columns=${[
    ["Given", (row) => time(row.createdAt), "nowrap"],
    ["Command", (row) => html`<code>${typeof row.command === "string" ? row.command : JSON.stringify(row.command)}</code>`, "wide"],
    ["State", (row) => html`<${Badge} kind=${COMMAND[row.status] ?? ""}>${row.status}<//>`],
    ["Changed", (row) => time(row.changedAt), "nowrap"],
    ["Attempts", (row) => row.attempts, "number"],
    ["Answer", (row) => (row.result ? html`<code>${JSON.stringify(row.result)}</code>` : ""), "wide"],
    ["By", (row) => row.initiatedBy],
    ["", (row) => may("device.update") && OPEN.has(row.status) && html`<${Act} label="Cancel" onAct=${() => cancel(row)} />`],
  ]} /><//><//>`;
}
