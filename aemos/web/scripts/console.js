// The console: sign-in, navigation by the part of the address behind "#", and the view that it names.
import { html, render, useEffect, useState } from "../vendor/htm-preact.js";
import { may, routes, signIn, signOut, signedOut, user } from "./api.js";
import { Brand, ThemeSwitch } from "./chrome.js";
import { offset, ZONE } from "./format.js";
import { hangUp } from "./live.js";
import { Alarms } from "./view-alarms.js";
import { Device } from "./view-device.js";
import { Mqtt } from "./view-mqtt.js";
import { Overview } from "./view-overview.js";
import { Rules } from "./view-rules.js";
import { Sensor } from "./view-sensor.js";
import { System } from "./view-system.js";
import { Things } from "./view-things.js";

const ICONS = {
  overview: "M4 19V10M10 19V5M16 19v-7M21 19H3",
  things: "M12 3v3M12 18v3M3 12h3M18 12h3M8 8h8v8H8z",
  mqtt: "M4 18a8 8 0 0 1 8-8M4 12A14 14 0 0 1 18 4M20 12a8 8 0 0 1-8 8M20 18v.01",
  rules: "M6 4v10M6 20v-2M18 20V10M18 4v2M6 14a2 2 0 1 0 0 4 2 2 0 0 0 0-4ZM18 6a2 2 0 1 0 0 4 2 2 0 0 0 0-4Z",
  alarms: "M6 16V11a6 6 0 0 1 12 0v5l2 2H4zM10 21h4",
  system: "M4 6h16M4 12h16M4 18h16M8 4v4M16 10v4M11 16v4",
};
// What each view needs: a right, and routes that this server has.
const VIEWS = [
  { key: "overview", title: "Overview", view: Overview, open: () => may("device.view") },
  { key: "things", title: "Devices and sensors", view: Things, open: () => may("sensor.view") || may("device.view") },
  { key: "mqtt", title: "MQTT", view: Mqtt, open: () => may("device.update") },
  { key: "rules", title: "Rules", view: Rules, open: () => may("rule.view") },
  { key: "alarms", title: "Alarms", view: Alarms, open: (served) => may("sensor.view") && served.has("GET /alarms") },
  { key: "system", title: "System", view: System, open: () => may("organization.update") },
];
const DETAILS = { sensors: Sensor, devices: Device };

function place() {
  const [key = "", id = "", organization = ""] = location.hash.replace(/^#\/?/, "").split("/");
  return { key: key || "overview", id, organization };
}

function usePlace() {
  const [at, setAt] = useState(place());
  useEffect(() => {
    const moved = () => {
      setAt(place());
      scrollTo(0, 0);
    };
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return at;
}

function Shell() {
  const at = usePlace();
  const [served, setServed] = useState(new Set());
  useEffect(() => {
    routes().then(setServed, () => {});
  }, []);
  const open = VIEWS.filter((view) => view.open(served));
  const Detail = DETAILS[at.key];
  const here = open.find(({ key }) => key === (Detail ? "things" : at.key)) ?? open[0];
  const View = Detail && at.id ? Detail : here?.view;
  useEffect(() => {
    document.title = `${here?.title ?? "Console"} · AEMOS`;
  }, [here]);
  return html`<a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>To the content</a>
    <div class="shell">
      <header class="bar"><${Brand} /><span class="push"></span>
        <span class="muted small number" title="Times on these pages are in the time zone of your browser">${ZONE} (${offset()})</span>
        <span class="who"><span>${user().userName}</span><span class="muted">${user().roles?.[0] ?? "no role"}</span></span>
        <${ThemeSwitch} /><button type="button" class="slim" onClick=${signOut}>Sign out</button></header>
      <nav class="menu" aria-label="Views">
        ${open.map(({ key, title }) => html`<a key=${key} href=${`#/${key}`} aria-current=${here?.key === key ? "page" : undefined}>
          <svg viewBox="0 0 24 24" aria-hidden="true"><path d=${ICONS[key]} /></svg>${title}</a>`)}
        <div class="more"><a href="/mqttClient.html">MQTT test client</a><a href="/deviceSocketClient.html">Socket.IO test client</a><a href="/docs">Guides</a><a href="/api/v1/docs">API reference</a></div>
      </nav>
      <main class="view" id="main" tabindex="-1">
        ${View ? html`<${View} key=${`${at.key}/${at.id}`} id=${at.id} organization=${at.organization} served=${served} />`
    : html`<p class="empty">Your account has no role yet. Ask an administrator for one.</p>`}
      </main>
    </div>`;
}

function SignIn({ said }) {
  const [problem, setProblem] = useState(said);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    const { email, password } = event.target.elements;
    setBusy(true);
    setProblem("");
    try {
      await signIn(email.value.trim(), password.value);
    } catch (error) {
      setProblem(error.message);
      setBusy(false);
      return;
    }
    show();
  };
  return html`<div class="door">
    <header class="bar"><${Brand} /><span class="push"></span><${ThemeSwitch} /></header>
    <main><form class="card" onSubmit=${submit}>
      <h1>Sign in</h1>
      <label>E-mail<input name="email" type="email" required autocomplete="username" autofocus /></label>
      <label>Password<input name="password" type="password" required autocomplete="current-password" /></label>
      <button class="primary" disabled=${busy}>Sign in</button>
      <p class=${`hint ${problem ? "bad" : ""}`} role="alert">${problem}</p>
    </form></main>
  </div>`;
}

function show(said = "") {
  render(user() ? html`<${Shell} />` : html`<${SignIn} said=${said} />`, document.getElementById("page"));
}

signedOut.addEventListener("signedout", () => {
  hangUp();
  show("You are signed out.");
});
show();
