// /socketClient.html and /deviceSocketClient.html: join rooms over Socket.IO, and see what is told there.
import { html, render, useEffect, useMemo, useRef, useState } from "../vendor/htm-preact.js";
import { token as signedIn, user } from "./api.js";
import { Brand, ThemeSwitch } from "./chrome.js";
import { Log, LogCard } from "./log.js";
import { load, save } from "./storage.js";

const LIBRARY = "/socket.io/socket.io.esm.min.js"; // the server has it, if it speaks Socket.IO
const FOR_DEVICES = location.pathname.toLowerCase().includes("device");
const STORE = FOR_DEVICES ? "aemos.deviceSocketClient" : "aemos.socketClient";
const ROOMS = FOR_DEVICES
  ? [["device-uuid-", "One device or sensor, by uuid"], ["device-", "One device, by id"]]
  : [["telemetry-", "One variable, by id"], ["device-uuid-", "One sensor, by uuid"]];
const BADGES = { off: ["", "Not connected"], connecting: ["warn", "Connecting"], on: ["ok", "Connected"], refused: ["bad", "Refused"] };
const TRANSPORTS = { both: ["websocket", "polling"], websocket: ["websocket"], polling: ["polling"] };
const STANDARD = { url: location.origin, transports: "both", token: "", remember: false, room: `${ROOMS[0][0]}1` };

/** @returns {boolean} whether it is no offset: a text behind the data, by which a socket recovers. */
function isData(part, index) {
  return index === 0 || typeof part !== "string";
}

/** One socket, the rooms it is to be in, and a line in the log for whatever happens. */
class Connection {
  rooms = new Set();
  #socket = null;

  constructor(log, changed) {
    this.log = log;
    this.changed = changed;
  }

  /** @param {object} settings as the page's form holds them. */
  async connect({ url, transports, token }) {
    this.disconnect();
    this.changed("connecting", `Connecting to ${url} …`);
    let io;
    try {
      ({ io } = await import(LIBRARY));
    } catch {
      this.changed("refused", "This server has no Socket.IO: it is switched off, or its library is not installed.");
      return;
    }
    const socket = io(url, { transports: TRANSPORTS[transports], tryAllTransports: true, auth: token ? { token } : {}, reconnectionDelay: 1000, forceNew: true });
    this.#socket = socket;
    socket.on("connect", () => {
      this.changed("on", `Connected as ${socket.id} by ${socket.io.engine.transport.name}`);
      this.log.add("info", { words: `connected as ${socket.id}${socket.recovered ? ", recovered" : ""}` });
      if (this.rooms.size && !socket.recovered) this.#emit("join", [...this.rooms]);
    });
    socket.on("connect_error", ({ message }) => {
      const ended = !socket.active;
      this.changed(ended ? "refused" : "connecting", ended ? message : `${message}; trying again …`);
      this.log.add("refused", { words: message });
    });
    socket.on("disconnect", (reason) => {
      if (this.#socket !== socket) return;
      this.changed(socket.active ? "connecting" : "refused", `The connection ended: ${reason}`);
      this.log.add("info", { words: `connection ended: ${reason}` });
    });
    socket.onAny((event, ...data) => this.log.add("in", { topic: event, payload: data.filter(isData).map((part) => JSON.stringify(part, null, 2)).join("\n") }));
  }

  /** End the connection; the rooms stay on the list. */
  disconnect() {
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.disconnect();
    this.changed("off", "");
    this.log.add("info", { words: "disconnected" });
  }

  #emit(event, rooms) {
    this.#socket.emit(event, rooms);
    this.log.add("out", { topic: event, payload: JSON.stringify(rooms) });
  }

  /** Be in a room now, and again after each reconnect. */
  join(room) {
    this.rooms.add(room);
    if (this.#socket?.connected) this.#emit("join", room);
  }

  /** Be in a room no more. */
  leave(room) {
    this.rooms.delete(room);
    if (this.#socket?.connected) this.#emit("leave", room);
  }
}

function Page() {
  const [settings, setSettings] = useState(useMemo(() => load(STORE, STANDARD), []));
  const [status, setStatus] = useState({ state: "off", words: "" });
  const log = useRef(new Log()).current;
  const connection = useRef(null);
  connection.current ??= new Connection(log, (state, words) => setStatus({ state, words }));
  const change = (part) => setSettings((old) => ({ ...old, ...part }));
  useEffect(() => {
    save(STORE, { ...settings, token: settings.remember ? settings.token : "" });
  }, [settings]);
  const props = { settings, change, status, connection: connection.current };
  return html`
    <header class="bar"><${Brand} /><h1>${document.title.split(" · ")[0]}</h1><span class="push"></span><${ThemeSwitch} /></header>
    <main class="tester">
      <div><${Connect} ...${props} /><${Rooms} ...${props} /></div>
      <${LogCard} log=${log} empty="Connect and join a room: what is told there appears here." />
    </main>`;
}

function Connect({ settings, change, status, connection }) {
  const [kind, label] = BADGES[status.state];
  const idle = status.state === "off" || status.state === "refused";
  const connect = (event) => {
    event.preventDefault();
    if (idle) connection.connect({ ...settings, token: settings.token.trim() || signedIn() });
    else connection.disconnect();
  };
  const who = user() ? `Signed in to the console as ${user().userName}: without a token here, that one is used.` : "Without a token only what is open to everybody can be joined.";
  return html`<section class="card" aria-labelledby="connect-title">
    <header><h2 id="connect-title">Connection</h2></header>
    <form class="body fields" onSubmit=${connect}>
      <label>Server<input name="url" type="url" required autocomplete="off" spellcheck="false" value=${settings.url} disabled=${!idle}
        onInput=${(event) => change({ url: event.target.value })} /></label>
      <label>Transport<select value=${settings.transports} disabled=${!idle} onChange=${(event) => change({ transports: event.target.value })}>
        <option value="both">WebSocket, else polling</option><option value="websocket">WebSocket only</option><option value="polling">Polling only</option></select></label>
      <label>Web token<input name="token" type="password" autocomplete="off" spellcheck="false" value=${settings.token} disabled=${!idle}
        onInput=${(event) => change({ token: event.target.value })} /></label>
      <label class="check"><input type="checkbox" checked=${settings.remember} onChange=${(event) => change({ remember: event.target.checked })} />Remember the token in this browser</label>
      <div class="row"><button class=${idle ? "primary" : ""}>${idle ? "Connect" : "Disconnect"}</button><span class=${`badge ${kind}`}>${label}</span></div>
      <div class="status" role="status"><span class=${`text ${status.state === "refused" ? "bad" : "muted"}`}>${status.words || (idle ? who : "")}</span></div>
    </form>
  </section>`;
}

function Rooms({ settings, change, status, connection }) {
  const [, redraw] = useState(0);
  const join = (event) => {
    event.preventDefault();
    connection.join(settings.room.trim());
    redraw((count) => count + 1);
  };
  const leave = (room) => {
    connection.leave(room);
    redraw((count) => count + 1);
  };
  const rooms = [...connection.rooms];
  return html`<section class="card" aria-labelledby="rooms-title">
    <header><h2 id="rooms-title">Rooms</h2></header>
    <div class="body fields">
      <div class="templates" role="group" aria-label="Kinds of rooms">${ROOMS.map(([prefix, title]) => html`
        <button type="button" class="slim" title=${title} onClick=${() => change({ room: prefix })}>${prefix}…</button>`)}</div>
      <form class="row end" onSubmit=${join}>
        <label class="grow">Room<input name="room" required autocomplete="off" spellcheck="false" value=${settings.room}
          onInput=${(event) => change({ room: event.target.value })} /></label>
        <button class="primary" disabled=${status.state !== "on"}>Join</button></form>
      ${rooms.length ? html`<ul class="topics" aria-label="Joined rooms">${rooms.map((room) => html`<li key=${room}><code>${room}</code>
        <button type="button" class="slim quiet" onClick=${() => leave(room)}>Leave<span class="hidden-label"> ${room}</span></button></li>`)}</ul>`
    : html`<p class="hint">None yet. A room that you may not see tells nothing.</p>`}
    </div>
  </section>`;
}

render(html`<${Page} />`, document.getElementById("page"));
