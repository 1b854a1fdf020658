// Devices and sensors: search, presence, latest values with age and the last hour of each.
import { html, useEffect, useMemo, useState } from "../vendor/htm-preact.js";
import { get, may } from "./api.js";
import { Sparkline } from "./chart.js";
import { age, amount, numeric } from "./format.js";
import { useApi, useNow, useOrganizations } from "./hooks.js";
import { listen } from "./live.js";
import { Badge, Choice, Loaded, Pager, Presence } from "./parts.js";

const PER_PAGE = 12;
const HOUR = 3_600_000;

export function Things() {
  const things = useApi("/presence/things", { every: 15 });
  const organizations = useOrganizations();
  const [wanted, setWanted] = useState("");
  const [presence, setPresence] = useState("");
  const [organization, setOrganization] = useState("");
  const [page, setPage] = useState(0);
  const all = things.data?.data.things ?? [];
  const text = wanted.trim().toLowerCase();
  const found = useMemo(() => all.filter((thing) => (!presence || thing.presence === presence)
    && (!organization || String(thing.organizationId) === organization)
    && (!text || thing.name.toLowerCase().includes(text) || thing.uuid.includes(text))), [all, presence, organization, text]);
  useEffect(() => setPage(0), [presence, organization, text]);
  const shown = found.slice(page * PER_PAGE, (page + 1) * PER_PAGE);
  const names = new Map((organizations.data ?? []).map(({ id, name }) => [id, name]));
  const latest = useLatest([...new Set(shown.filter(({ kind }) => kind === "sensor").map((thing) => thing.organizationId))].filter(Boolean));
  return html`<div class="head"><h1>Devices and sensors</h1></div>
    <div class="toolbar">
      <label class="hidden-label" for="search">Search by name or uuid</label>
      <input id="search" type="search" placeholder="Search by name or uuid" value=${wanted} onInput=${(event) => setWanted(event.target.value)} />
      <${Choice} name="Presence" value=${presence} onChange=${setPresence}
        options=${[["", "All"], ["online", "Online"], ["late", "Late"], ["silent", "Silent"], ["offline", "Offline"]]} />
      ${names.size > 1 && html`<label class="hidden-label" for="organization">Organization</label>
        <select id="organization" value=${organization} onChange=${(event) => setOrganization(event.target.value)}>
          <option value="">All organizations</option>${[...names].map(([id, name]) => html`<option value=${String(id)}>${name}</option>`)}</select>`}
      <span class="muted small number push" role="status">${things.data ? `${found.length} of ${all.length}` : ""}</span>
    </div>
    <section class="card" aria-label="List">
      <${Loaded} from=${things} lines=${10} isEmpty=${() => !found.length}
        empty=${all.length ? "Nothing matches." : "There are no sensors or devices yet that you may see."}>
        <ul class="things">${shown.map((thing) => html`<${Thing} key=${`${thing.kind}${thing.id}`} thing=${thing}
          organization=${names.size > 1 ? names.get(thing.organizationId) : ""} variables=${thing.kind === "sensor" ? latest.get(thing.id) : []} />`)}</ul>
        <${Pager} page=${page} pages=${Math.ceil(found.length / PER_PAGE)} onChange=${setPage} />
      <//>
    </section>`;
}

/** @returns {Map<number, object[]>} sensor id -> its variables with their newest readings. */
function useLatest(organizations) {
  const [rows, setRows] = useState(new Map());
  const key = organizations.join();
  useEffect(() => {
    let here = true;
    const read = async () => {
      const answers = await Promise.allSettled(organizations.map((id) => get(`/telemetry/latest?organizationId=${id}`)));
      const found = new Map();
      for (const { value } of answers) {
        for (const row of value?.data.telemetryData ?? []) {
          if (!found.has(row.sensorId)) found.set(row.sensorId, []);
          found.get(row.sensorId).push(row);
        }
      }
      if (here) setRows(found);
    };
    if (key && may("sensor.view")) read();
    return () => {
      here = false;
    };
  }, [key]);
  return rows;
}

function Thing({ thing, organization, variables }) {
  const now = useNow();
  const place = thing.kind === "sensor" ? "sensors" : "devices";
  return html`<li>
    <div><a class="title" href=${`#/${place}/${thing.id}/${thing.organizationId ?? ""}`}>${thing.name}</a>
      <div class="meta"><${Presence} value=${thing.presence} /><span>${thing.kind}</span>
        <span class="number">heard ${age(thing.lastSeen, now)}</span>${organization && html`<span>${organization}</span>`}
        ${thing.status !== "active" && html`<${Badge}>${thing.status}<//>`}</div></div>
    <div class="values">${(variables ?? []).slice(0, 6).map((variable) => html`<${Value} key=${variable.id} variable=${variable} now=${now} />`)}</div>
  </li>`;
}

/** A variable: its newest value, live, its age, and the last hour. */
export function Value({ variable, now }) {
  const [newest, setNewest] = useState(variable.latest);
  const [hour, setHour] = useState([]);
  useEffect(() => setNewest(variable.latest), [variable.latest?.id]);
  useEffect(() => {
    let here = true;
    const from = new Date(Date.now() - HOUR).toISOString();
    get(`/datastreams/telemetry/${variable.id}/aggregate?from=${from}&bucket=2m&fn=avg`).then(
      ({ data }) => here && setHour(data.buckets.map(({ avg }) => avg)),
      () => {},
    );
    const end = listen(`telemetry-${variable.id}`, (event, { dataStream }) => {
      if (event !== "new-datastream") return;
      setNewest(dataStream);
      const value = numeric(dataStream.value);
      if (value !== null) setHour((old) => [...old.slice(-60), value]);
    });
    return () => {
      here = false;
      end();
    };
  }, [variable.id]);
  const value = newest && numeric(newest.value);
  return html`<div class="value-cell" title=${variable.variableName}>
    <span class="name">${variable.variableName} · ${age(newest?.recievedAt, now)}</span>
    <span class="now">${newest ? (value === null ? newest.value : amount(value)) : "–"}</span>
    <${Sparkline} values=${hour} /></div>`;
}
