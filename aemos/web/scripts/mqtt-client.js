// /mqttClient.html: connect as a device, publish, subscribe, and see what happens.
import { html, render, useEffect, useMemo, useRef, useState } from "../vendor/htm-preact.js";
import { Brand, ThemeSwitch } from "./chrome.js";
import { Log, LogCard } from "./log.js";
import { MqttConnection } from "./mqtt-connection.js";
import { load, save } from "./storage.js";

const STORE = "aemos.mqttClient";
const BADGES = { off: ["", "Not connected"], connecting: ["warn", "Connecting"], on: ["ok", "Connected"], refused: ["bad", "Refused"] };
const TEMPLATES = {
  Reading: ["datastream", () => ({ variableName: "temperature", value: 21.5 })],
  Batch: ["datastream", () => ({
    dataStreams: [
      { variableName: "temperature", value: 21.5 },
      { variableName: "humidity", value: 48, recievedAt: new Date().toISOString() },
    ],
  })],
  Status: ["status", () => ({ status: "online", metadata: { battery: 85 } })],
  Command: ["commands", () => ({ command: { action: "on" } })],
};

function standard(ports) {
  const encrypted = location.protocol === "https:";
  const port = encrypted ? ports.mqtt_websocket_tls ?? 9001 : ports.mqtt_websocket ?? 9001;
  const host = location.hostname || "localhost";
  return {
    url: `${encrypted ? "wss" : "ws"}://${host}:${port}`,
    uuid: "",
    token: "",
    remember: false,
    clientId: `web-${Math.random().toString(16).slice(2, 10)}`,
    clean: true,
    keepAlive: 60,
    will: { topic: "", payload: "", qos: 0, retain: false },
    topic: "devices/{uuid}/datastream",
    payload: JSON.stringify(TEMPLATES.Reading[1](), null, 2),
    qos: 1,
    retain: false,
    filter: "devices/{uuid}/+",
    filterQos: 1,
  };
}

/** @returns {string} what is wrong with the text as JSON; "" = nothing. */
function wrongJson(text) {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return `This is no JSON: ${error.message}`;
  }
}

// Topics are kept with a mark where the uuid is, so that another uuid changes them.
const withUuid = (topic, uuid) => topic.replaceAll("{uuid}", uuid || "{uuid}");
const withMark = (topic, uuid) => (uuid ? topic.replaceAll(uuid, "{uuid}") : topic);

function Page({ ports }) {
  const initial = useMemo(() => {
    const fallback = standard(ports);
    const saved = load(STORE, fallback);
    return { ...saved, will: { ...fallback.will, ...saved.will }, url: saved.ownUrl ? saved.url : fallback.url };
  }, []);
  const [settings, setSettings] = useState(initial);
  const [status, setStatus] = useState({ state: "off", words: "" });
  const log = useRef(new Log()).current;
  const connection = useRef(null);
  connection.current ??= new MqttConnection(log, (state, words) => setStatus({ state, words }));
  const change = (part) => setSettings((old) => ({ ...old, ...part }));
  useEffect(() => {
    save(STORE, { ...settings, token: settings.remember ? settings.token : "" });
  }, [settings]);
  const props = { settings, change, status, connection: connection.current };
  return html`
    <header class="bar"><${Brand} /><h1>MQTT test client</h1><span class="push"></span><${ThemeSwitch} /></header>
    <main class="tester">
      <div><${Connect} ...${props} /><${Publish} ...${props} /><${Subscribe} ...${props} /></div>
      <${LogCard} log=${log} empty="Connect as a device: what you publish and receive appears here." />
    </main>`;
}

const field = (change, name, read = (input) => input.value) => (event) => change({ [name]: read(event.target) });
const checked = (input) => input.checked;

function Connect({ settings, change, status, connection }) {
  const [kind, label] = BADGES[status.state];
  const idle = status.state === "off" || status.state === "refused";
  const connect = (event) => {
    event.preventDefault();
    if (idle) connection.connect({ ...settings, uuid: settings.uuid.trim(), token: settings.token.trim() });
    else connection.disconnect();
  };
  const will = (part) => change({ will: { ...settings.will, ...part } });
  const text = (name) => ({ value: settings[name], onInput: field(change, name), disabled: !idle });
  return html`<section class="card" aria-labelledby="connect-title">
    <header><h2 id="connect-title">Connection</h2></header>
    <form class="body fields" onSubmit=${connect}>
      <label>Server<input name="url" type="url" required autocomplete="off" spellcheck="false" ...${text("url")}
        onInput=${(event) => change({ url: event.target.value, ownUrl: true })} /></label>
      <label>Device uuid<input name="uuid" autocomplete="off" spellcheck="false" ...${text("uuid")} /></label>
      <label>Token<input name="token" type="password" autocomplete="off" spellcheck="false" ...${text("token")} /></label>
      <label class="check"><input type="checkbox" name="remember" checked=${settings.remember}
        onChange=${field(change, "remember", checked)} />Remember the token in this browser</label>
      <details>
        <summary>Client id, session, keep-alive, will</summary>
        <div class="fields">
          <label>Client id<input name="clientId" autocomplete="off" spellcheck="false" ...${text("clientId")} /></label>
          <div class="two">
            <label>Keep-alive in seconds<input name="keepAlive" type="number" min="0" max="65535" ...${text("keepAlive")} /></label>
            <label class="check"><input type="checkbox" name="clean" checked=${settings.clean} disabled=${!idle}
              onChange=${field(change, "clean", checked)} />Clean session</label>
          </div>
          <label>Topic of the will<input name="willTopic" placeholder="no will" autocomplete="off" spellcheck="false"
            value=${settings.will.topic} disabled=${!idle} onInput=${(event) => will({ topic: event.target.value })} /></label>
          <label>Payload of the will<input name="willPayload" autocomplete="off" spellcheck="false"
            value=${settings.will.payload} disabled=${!idle} onInput=${(event) => will({ payload: event.target.value })} /></label>
          <div class="two">
            <${Qos} label="QoS of the will" value=${settings.will.qos} onChange=${(qos) => will({ qos })} />
            <label class="check"><input type="checkbox" checked=${settings.will.retain} disabled=${!idle}
              onChange=${(event) => will({ retain: event.target.checked })} />Retain the will</label>
          </div>
        </div>
      </details>
      <div class="row"><button class=${idle ? "primary" : ""}>${idle ? "Connect" : "Disconnect"}</button>
        <span class=${`badge ${kind}`}>${label}</span></div>
      <div class="status" role="status"><span class=${`text ${status.state === "refused" ? "bad" : "muted"}`}>${status.words ||
        (idle ? "Uuid and token of a sensor or device; the console makes tokens." : "")}</span></div>
    </form>
  </section>`;
}

function Qos({ label, value, onChange }) {
  return html`<label>${label}<select value=${String(value)} onChange=${(event) => onChange(Number(event.target.value))}>
    <option value="0">0, at most once</option><option value="1">1, at least once</option><option value="2">2, exactly once</option>
  </select></label>`;
}

function Publish({ settings, change, status, connection }) {
  const topic = withUuid(settings.topic, settings.uuid);
  const [anyhow, setAnyhow] = useState(false);
  const problem = anyhow ? "" : wrongJson(settings.payload);
  const ready = status.state === "on";
  const use = (name) => {
    const [kind, make] = TEMPLATES[name];
    change({ topic: `devices/{uuid}/${kind}`, payload: JSON.stringify(make(), null, 2) });
  };
  const send = (event) => {
    event.preventDefault();
    if (ready && !problem) connection.publish(topic, settings.payload, settings.qos, settings.retain);
  };
  return html`<section class="card" aria-labelledby="publish-title">
    <header><h2 id="publish-title">Publish</h2></header>
    <form class="body fields" onSubmit=${send}>
      <div class="templates" role="group" aria-label="Templates">
        ${Object.keys(TEMPLATES).map((name) => html`<button type="button" class="slim" onClick=${() => use(name)}>${name}</button>`)}
      </div>
      <label>Topic<input name="topic" required autocomplete="off" spellcheck="false" value=${topic}
        onInput=${(event) => change({ topic: withMark(event.target.value, settings.uuid) })} /></label>
      <label>Payload<textarea name="payload" rows="6" spellcheck="false" value=${settings.payload}
        aria-invalid=${problem ? "true" : "false"} aria-describedby="payload-hint" onInput=${field(change, "payload")}></textarea></label>
      <p class=${`hint ${problem ? "bad" : ""}`} id="payload-hint" role="status">${problem || (anyhow ? "Sent as it is" : "Valid JSON")}</p>
      <div class="two">
        <${Qos} label="QoS" value=${settings.qos} onChange=${(qos) => change({ qos })} />
        <div>
          <label class="check"><input type="checkbox" name="retain" checked=${settings.retain}
            onChange=${field(change, "retain", checked)} />Retain</label>
          <label class="check"><input type="checkbox" name="anyhow" checked=${anyhow}
            onChange=${(event) => setAnyhow(event.target.checked)} />Allow what is no JSON</label>
        </div>
      </div>
      <div class="row"><button class="primary" disabled=${!ready || Boolean(problem)}>Publish</button></div>
    </form>
  </section>`;
}

function Subscribe({ settings, change, status, connection }) {
  const filter = withUuid(settings.filter, settings.uuid);
  const [, redraw] = useState(0);
  const add = (event) => {
    event.preventDefault();
    connection.subscribe(filter, settings.filterQos);
    redraw((count) => count + 1);
  };
  const remove = (topic) => {
    connection.unsubscribe(topic);
    redraw((count) => count + 1);
  };
  const active = [...connection.subscriptions];
  return html`<section class="card" aria-labelledby="subscribe-title">
    <header><h2 id="subscribe-title">Subscriptions</h2></header>
    <div class="body fields">
      <form class="fields" onSubmit=${add}>
        <label>Topic filter<input name="filter" required autocomplete="off" spellcheck="false" value=${filter}
          onInput=${(event) => change({ filter: withMark(event.target.value, settings.uuid) })} /></label>
        <div class="row end"><div class="grow"><${Qos} label="QoS" value=${settings.filterQos} onChange=${(filterQos) => change({ filterQos })} /></div>
          <button class="primary" disabled=${status.state !== "on"}>Subscribe</button></div>
      </form>
      ${active.length
    ? html`<ul class="topics" aria-label="Active subscriptions">${active.map(([topic, qos]) => html`<li key=${topic}>
          <code>${topic}</code><span class="muted small">QoS ${qos}</span>
          <button type="button" class="slim quiet" onClick=${() => remove(topic)}>Unsubscribe<span class="hidden-label"> from ${topic}</span></button>
        </li>`)}</ul>`
    : html`<p class="hint">None yet. Refusals of your own messages are shown without one.</p>`}
    </div>
  </section>`;
}

async function start() {
  let ports = {};
  try {
    ({ ports } = await (await fetch("/web/server.json")).json());
  } catch {
    // the usual ports
  }
  render(html`<${Page} ports=${ports} />`, document.getElementById("page"));
}

start();
