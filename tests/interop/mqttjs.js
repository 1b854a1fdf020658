// What a device written with MQTT.js does: connect, subscribe, publish, wait for acknowledgements and
// for what comes back. Its one argument is a JSON object; it prints one as well.
"use strict";

const fs = require("fs");
const mqtt = require("mqtt");

const { url, ca, username, password, topic, foreign, qos, count, comesBack } = JSON.parse(process.argv[2]);
const result = { connack: 0, granted: null, refused: null, acknowledged: 0, received: [] };

const client = mqtt.connect(url, {
  username,
  password,
  ca: ca && fs.readFileSync(ca),
  protocolVersion: 4,
  reconnectPeriod: 0,
  connectTimeout: 15000,
});

function finish() {
  clearTimeout(limit);
  client.end(false, () => console.log(JSON.stringify(result)));
}

const limit = setTimeout(() => finish(), 20000);

function finishWhenDone() {
  if (result.acknowledged === count && result.received.length === comesBack) finish();
}

client.on("error", (error) => {
  result.connack = error.code;
  clearTimeout(limit);
  client.end(true, () => console.log(JSON.stringify(result)));
});

client.on("message", (_topic, payload, packet) => {
  result.received.push({ payload: payload.toString(), qos: packet.qos });
  finishWhenDone();
});

client.on("connect", async () => {
  await client.subscribeAsync(foreign, { qos }).catch((error) => {
    result.refused = String(error.message);
  });
  const [granted] = await client.subscribeAsync(topic, { qos });
  result.granted = granted.qos;
  for (let number = 0; number < count; number += 1) {
    const message = { value: number, variableName: "temperature", messageId: `js-${number}` };
    client.publish(topic, JSON.stringify(message), { qos }, (error) => {
      if (!error) result.acknowledged += 1;
      finishWhenDone();
    });
  }
});
