// Tokens of a sensor or device: make, rotate, revoke; the QR code is for commissioning.
import { html, useEffect, useState } from "../vendor/htm-preact.js";
import { request } from "./api.js";
import { time } from "./format.js";
import { useApi } from "./hooks.js";
import { Act, Badge, Card, Copy, Dialog, Loaded, Table } from "./parts.js";

const OVERLAP = 86_400; // seconds that the old token goes on after a rotation

/** @param {{holder: {sensorId?: number, deviceId?: number}, uuid: string, changeable: boolean}} props */
export function Tokens({ holder, uuid, changeable }) {
  const query = new URLSearchParams(Object.entries(holder)).toString();
  const tokens = useApi(`/device-tokens?${query}`);
  const [fresh, setFresh] = useState(null);
  const rows = tokens.data?.data ?? [];
  const make = async () => {
    const { data } = await request("POST", "/device-tokens", holder);
    setFresh(data.token);
    await tokens.reload();
  };
  const rotate = async (row) => {
    const { data } = await request("POST", `/device-tokens/${row.id}/rotate`, { overlap: OVERLAP });
    setFresh(data.token);
    await tokens.reload();
  };
  const revoke = async (row) => {
    await request("PATCH", `/device-tokens/${row.id}`);
    await tokens.reload();
  };
  const actions = (row) => row.status === "active" && html`<div class="row">
    <${Act} label="Rotate" question="Make a successor? This token goes on for another day." onAct=${() => rotate(row)} />
    <${Act} label="Revoke" kind="danger" question="Revoke this token? Whoever is connected with it is cut off at once." onAct=${() => revoke(row)} /></div>`;
  return html`<${Card} title="Tokens" flush tools=${changeable && html`<${Act} label="New token" onAct=${make} />`}>
    <${Loaded} from=${tokens} isEmpty=${() => !rows.length} empty="No token yet: it cannot sign in.">
      <${Table} name="Tokens" rows=${rows} keyOf=${(row) => row.id} columns=${[
    ["Token", (row) => html`${row.label || `No. ${row.id}`}<br /><${Badge} kind=${row.status === "active" ? "ok" : ""}>${row.status}<//>`],
    ["Made", (row) => time(row.createdAt)],
    ["Last used", (row) => time(row.lastUsed)],
    ["Ends", (row) => (row.expiresAt ? time(row.expiresAt) : "never")],
    ...(changeable ? [["", actions]] : []),
  ]} />
    <//>
    ${fresh && html`<${FreshToken} token=${fresh} uuid=${uuid} onClose=${() => setFresh(null)} />`}
  <//>`;
}

function FreshToken({ token, uuid, onClose }) {
  return html`<${Dialog} title="New token" onClose=${onClose}>
    <p>This is the only time it is shown. Copy it, or scan the code with the device to be set up.</p>
    <${QrCode} text=${JSON.stringify({ host: location.hostname, uuid, token })} />
    <${Copy} text=${token} label="the token" />
    <div class="row"><button type="button" class="primary" onClick=${onClose}>Done</button></div>
  <//>`;
}

function QrCode({ text }) {
  const [shown, setShown] = useState(null);
  useEffect(() => {
    // Loaded when it is needed: few pages show one.
    import("../vendor/qrcode.js").then(({ default: qrcode, qrcode: named }) => {
      const code = (named ?? qrcode)(0, "M");
      code.addData(text);
      code.make();
      const count = code.getModuleCount();
      let path = "";
      for (let y = 0; y < count; y += 1) {
        for (let x = 0; x < count; x += 1) if (code.isDark(y, x)) path += `M${x + 4} ${y + 4}h1v1h-1z`;
      }
      setShown({ path, size: count + 8 });
    });
  }, [text]);
  return html`<div class="qr">${shown && html`<svg viewBox=${`0 0 ${shown.size} ${shown.size}`} role="img" aria-label="QR code with host, uuid and token"
    shape-rendering="crispEdges"><rect width="100%" height="100%" fill="#fff" /><path d=${shown.path} fill="#000" /></svg>`}</div>`;
}
