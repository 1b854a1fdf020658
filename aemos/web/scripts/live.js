// The live channel /ws/v1: one connection for all parts of the page, opened when one listens.
import { token } from "./api.js";

const listeners = new Map(); // room -> Set of functions
let socket = null;
let delay = 1000;

function say(message) {
  if (socket?.readyState === WebSocket.OPEN && socket.ready) socket.send(JSON.stringify(message));
}

function open() {
  if (socket || !listeners.size || !token()) return;
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const own = new WebSocket(`${scheme}://${location.host}/ws/v1`, ["aemos.v1", token()]);
  socket = own;
  own.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "authenticated") {
      own.ready = true;
      delay = 1000;
      if (listeners.size) say({ type: "subscribe", rooms: [...listeners.keys()] });
    } else if (message.type === "event") {
      for (const tell of listeners.get(message.room) ?? []) tell(message.event, message.data);
    }
  };
  own.onclose = () => {
    if (socket === own) socket = null;
    setTimeout(open, delay);
    delay = Math.min(delay * 2, 30_000);
  };
}

/** Hear of what happens in a room, such as `telemetry-1`. @returns {Function} ends it. */
export function listen(room, tell) {
  const known = listeners.get(room);
  if (known) known.add(tell);
  else {
    listeners.set(room, new Set([tell]));
    say({ type: "subscribe", rooms: [room] });
  }
  open();
  return () => {
    const left = listeners.get(room);
    left?.delete(tell);
    if (left?.size === 0) {
      listeners.delete(room);
      say({ type: "unsubscribe", rooms: [room] });
    }
  };
}

/** End the connection, at sign-out. */
export function hangUp() {
  listeners.clear();
  socket?.close();
}
