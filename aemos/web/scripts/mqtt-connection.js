// One MQTT.js client, its subscriptions, and plain words for whatever a server refuses.
import mqtt from "../vendor/mqtt.esm.js";

const CONNACK = {
  1: "The server does not speak this version of MQTT.",
  2: "The server does not accept this client id.",
  3: "The server cannot take the client now: its database is away, or a limit is reached.",
  4: "Wrong token: name and token do not belong together.",
  5: "Wrong token: name and token do not belong together.",
};

/**
 * Ask the server of this page why it refused: MQTT 3.1.1 itself gives no more than a number.
 *
 * @returns {Promise<string>} what is known, "" = nothing more.
 */
async function reasonFor(url, uuid, token) {
  if (!uuid || !token) return "Nobody may connect without device uuid and token.";
  if (new URL(url).hostname !== location.hostname) return "";
  let response;
  let answer;
  try {
    response = await fetch("/api/v1/device-tokens/verify", { headers: { Authorization: `Bearer ${token}` } });
    answer = await response.json();
  } catch {
    return "";
  }
  const holder = answer.data?.sensor ?? answer.data?.device;
  if (response.ok) return holder ? `Wrong uuid: the token is that of ${holder.name}.` : "";
  if (answer.code === "token_expired") return "Token expired: ask for a new one.";
  return response.status === 401 ? "Wrong token: it is unknown, or was revoked." : "";
}

/** Tells `changed(state, words)` how it is, and `log` what happens. States: off, connecting, on, refused. */
export class MqttConnection {
  subscriptions = new Map();
  #client = null;
  #shown = ["off", ""];

  constructor(log, changed) {
    this.log = log;
    this.changed = changed;
  }

  /** @returns {boolean} whether it is, now. */
  get connected() {
    return Boolean(this.#client?.connected);
  }

  #show(state, words) {
    this.#shown = [state, words];
    this.changed(state, words);
  }

  /** @param {object} settings as the page's form holds them. */
  connect(settings) {
    this.disconnect();
    this.settings = settings;
    const { url, uuid, token, clientId, clean, keepAlive, will } = settings;
    this.#show("connecting", `Connecting to ${url} …`);
    let client;
    try {
      client = mqtt.connect(url, {
        username: uuid || undefined,
        password: token || undefined,
        clientId,
        clean,
        keepalive: Number(keepAlive),
        will: will.topic ? { ...will, qos: Number(will.qos) } : undefined,
        protocolVersion: 4,
        connectTimeout: 30_000,
        reconnectPeriod: 1000,
        resubscribe: false,
        timerVariant: "native", // its default, a worker from a blob, is not for strict pages
      });
    } catch (error) {
      this.#show("refused", `This is no address of an MQTT server: ${error.message}`);
      return;
    }
    this.#client = client;
    let was = false;
    client.on("connect", ({ sessionPresent }) => {
      was = true;
      this.#show("on", `Connected to ${url}`);
      this.log.add("info", { words: `connected as ${clientId}${sessionPresent ? ", the session goes on" : ""}` });
      for (const [topic, qos] of this.subscriptions) this.#ask(topic, qos);
      if (uuid) client.subscribe(`devices/${uuid}/errors`, { qos: 0 }, () => {});
    });
    client.on("message", (topic, payload, packet) => this.#received(topic, payload, packet));
    client.on("error", (error) => this.#failed(client, error));
    client.on("close", () => {
      if (this.#client !== client) return;
      this.#show("connecting", was ? "The connection is lost; trying again …" : `No answer from ${url}; trying again …`);
      if (was) this.log.add("info", { words: "connection lost" });
      was = false;
    });
  }

  async #failed(client, error) {
    if (error.code === undefined || !(error.code in CONNACK)) {
      if (!client.connected) this.#show("connecting", `${error.message || "No connection"}; trying again …`);
      return;
    }
    this.#client = null;
    client.end(true);
    const { url, uuid, token } = this.settings;
    const known = error.code >= 4 ? await reasonFor(url, uuid, token) : "";
    const words = known || CONNACK[error.code];
    if (this.#client) return; // tried again meanwhile
    this.#show("refused", words);
    this.log.add("refused", { words: `${words} (CONNACK ${error.code})` });
  }

  #received(topic, payload, packet) {
    const text = new TextDecoder().decode(payload);
    const own = this.settings.uuid && topic === `devices/${this.settings.uuid}/errors`;
    if (own && !this.subscriptions.has(topic)) {
      this.log.add("refused", { words: refusal(text), topic: told(text).topic ?? topic });
      return;
    }
    this.log.add("in", { topic, qos: packet.qos, retain: packet.retain, payload: text });
  }

  /** End the connection; the subscriptions stay on the list. */
  disconnect() {
    const client = this.#client;
    this.#client = null;
    if (!client) return;
    client.end();
    this.#show("off", "Not connected");
    this.log.add("info", { words: "disconnected" });
  }

  /** Send a message; the log tells when it was acknowledged. */
  publish(topic, payload, qos, retain) {
    this.log.add("out", { topic, qos, retain, payload });
    this.#client.publish(topic, payload, { qos, retain }, (error) => {
      if (error) this.log.add("refused", { topic, words: `not sent: ${error.message}` });
      else if (qos > 0) this.log.add("info", { topic, words: "acknowledged by the server" });
    });
  }

  /** Put a filter on the list, which is asked for now and after each reconnect. */
  subscribe(topic, qos) {
    this.subscriptions.set(topic, qos);
    if (this.connected) this.#ask(topic, qos);
  }

  #ask(topic, qos) {
    this.#client.subscribe(topic, { qos }, (error, granted, packet) => {
      const code = packet?.granted?.[0] ?? granted?.[0]?.qos;
      if (code === 128 || error) {
        this.subscriptions.delete(topic);
        const words = code === 128 || /unspecified/i.test(error.message) ? "topic not allowed" : error.message;
        this.log.add("refused", { topic, words });
      } else {
        this.log.add("info", { topic, qos: code, words: "subscribed" });
      }
      this.#show(...this.#shown);
    });
  }

  /** Take a filter off the list. */
  unsubscribe(topic) {
    this.subscriptions.delete(topic);
    if (this.connected) this.#client.unsubscribe(topic, () => this.log.add("info", { topic, words: "unsubscribed" }));
  }
}

function told(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

/** @returns {string} what the server wrote on the errors topic, in words. */
function refusal(text) {
  const { code, message } = told(text);
  const words = code === "NOT_AUTHORIZED" ? "topic not allowed" : "not stored";
  return code ? `${words}: ${message} (${code})` : text;
}
