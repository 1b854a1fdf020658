// Clients of socket.io-client, driven line by line: a JSON array [command, name, ...] on each line of the
// input, a JSON object on each line of the output for what happens to them.
"use strict";

const readline = require("readline");
const { io } = require("socket.io-client");

const sockets = {};

function tell(socket, what, data = {}) {
  console.log(JSON.stringify({ socket, what, ...data }));
}

const commands = {
  connect(name, url, options) {
    const { tokens, ...rest } = options;
    // A function is asked for each connection, as by applications that renew their tokens.
    if (tokens) rest.auth = (answer) => answer({ token: tokens.length > 1 ? tokens.shift() : tokens[0] });
    const socket = io(url, { forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 200, ...rest });
    sockets[name] = socket;
    socket.on("connect", () => {
      tell(name, "connect", { id: socket.id, recovered: socket.recovered });
    });
    socket.io.on("open", () => {
      const { engine } = socket.io;
      tell(name, "open", { transport: engine.transport.name });
      engine.on("upgrade", (transport) => tell(name, "upgrade", { transport: transport.name }));
    });
    socket.on("disconnect", (reason) => tell(name, "disconnect", { reason }));
    socket.on("connect_error", (error) =>
      tell(name, "connect_error", { message: error.message, data: error.data, active: socket.active }));
    socket.io.on("ping", () => tell(name, "ping"));
    socket.onAny((event, data) => tell(name, "event", { event, data }));
  },
  emit(name, ...args) {
    sockets[name].emit(...args);
  },
  ask(name, ...args) {
    sockets[name].emit(...args, (answer) => tell(name, "answer", { answer }));
  },
  binary(name) {
    sockets[name].emit("binary", { bytes: Buffer.from([1, 2, 3]) }, () => {});
  },
  cut(name) {
    const { transport } = sockets[name].io.engine;
    if (transport.ws) transport.ws.terminate();
    else sockets[name].io.engine.close();
  },
  disconnect(name) {
    sockets[name].disconnect();
  },
  deaf(name) {
    // A client that lives but does not answer.
    sockets[name].io.engine.transport.send = () => {};
  },
};

const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const [command, ...args] = JSON.parse(line);
  commands[command](...args);
});
lines.on("close", () => process.exit(0));
