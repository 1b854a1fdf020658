// One sensor: a chart of its variables that can be zoomed and goes on live, sessions, tokens, refusals.
import { html, useCallback, useEffect, useMemo, useState } from "../vendor/htm-preact.js";
import { get, may } from "./api.js";
import { Chart } from "./chart.js";
import { age, amount, numeric, time } from "./format.js";
import { useApi, useNow } from "./hooks.js";
import { listen } from "./live.js";
import { Card, Choice, Copy, Loaded, Presence, Table } from "./parts.js";
import { Sessions } from "./sessions.js";
import { Tokens } from "./tokens.js";
import { RefusalTable } from "./view-overview.js";

const COLOURS = ["--chart-1", "--chart-2", "--chart-3", "--chart-4", "--chart-5", "--chart-6"];
const RANGES = [[900, "15 min"], [3600, "1 h"], [21_600, "6 h"], [86_400, "24 h"], [604_800, "7 d"], [2_592_000, "30 d"]];
const WIDTHS = [["1s", 1], ["5s", 5], ["15s", 15], ["1m", 60], ["5m", 300], ["15m", 900], ["1h", 3600], ["6h", 21_600], ["1d", 86_400]];
const POINTS = 400;

export function Sensor({ id, organization }) {
  const sensor = useApi(`/sensors/${id}?organizationId=${organization}`, { every: 15 });
  const latest = useApi(`/telemetry/latest?sensorId=${id}`, { every: 30 });
  const found = sensor.data?.data.sensor;
  return html`<div class="head"><a class="crumb" href="#/things">Devices and sensors</a><span class="muted" aria-hidden="true">/</span>
      <h1>${found?.name ?? "Sensor"}</h1>${found && html`<${Presence} value=${found.presence} />`}</div>
    <${Loaded} from=${sensor}>
      ${latest.data ? html`<${History} variables=${latest.data.data.telemetryData} />` : html`<${Card} title="History"><div class="chart large"></div><//>`}
      <${About} sensor=${found} />
      <${Tokens} holder=${{ sensorId: Number(id) }} uuid=${found?.uuid} changeable=${may("sensor.update")} />
      ${may("device.update") && found && html`<${Sessions} uuid=${found.uuid} />`}
      ${found && html`<${NotStored} uuid=${found.uuid} />`}
    <//>`;
}

function About({ sensor }) {
  const now = useNow();
  return html`<${Card} title="About"><dl class="facts">
    <dt>Uuid</dt><dd><${Copy} text=${sensor.uuid} label="the uuid" /></dd>
    <dt>Area</dt><dd>${sensor.area?.name ?? "–"}</dd>
    <dt>Organization</dt><dd>${sensor.organization?.name ?? "–"}</dd>
    <dt>Status</dt><dd>${sensor.status}</dd>
    <dt>Heard of</dt><dd class="number">${age(sensor.lastSeen, now)}${sensor.lastSeen ? `, ${time(sensor.lastSeen)}` : ""}</dd>
    <dt>Description</dt><dd>${sensor.description ?? "–"}</dd>
  </dl><//>`;
}

function NotStored({ uuid }) {
  const refusals = useApi("/system/refusals?limit=200", { every: 20 });
  const rows = (refusals.data?.data.refusals ?? []).filter((row) => row.uuid === uuid).slice(0, 8);
  return html`<${Card} title="Not stored lately" flush><${Loaded} from=${refusals} isEmpty=${() => !rows.length}
    empty="Everything that this sensor sent lately was stored."><${RefusalTable} rows=${rows} /><//><//>`;
}

/** @returns {Promise<[number, number|null][]>} seconds and values of a variable, summed up by the server. */
async function read(id, from, to, follows) {
  const [bucket] = WIDTHS.find(([, width]) => (to - from) / width <= POINTS) ?? WIDTHS.at(-1);
  const begin = new Date(from * 1000).toISOString();
  // What follows the clock has no end: readings may be a moment ahead of this clock.
  const end = follows ? "" : `&to=${new Date(to * 1000).toISOString()}`;
  const { data } = await get(`/datastreams/telemetry/${id}/aggregate?from=${begin}${end}&bucket=${bucket}&fn=avg`);
  return data.buckets.map(({ from: at, avg }) => [new Date(at) / 1000, avg]);
}

function History({ variables }) {
  const [seconds, setSeconds] = useState(900);
  const [zoom, setZoom] = useState(null);
  const [chosen, setChosen] = useState(() => new Set(variables.slice(0, 3).map(({ id }) => id)));
  const [points, setPoints] = useState(new Map());
  const [problem, setProblem] = useState("");
  const now = useNow(1);
  const shown = variables.filter(({ id }) => chosen.has(id));
  const key = shown.map(({ id }) => id).join();
  const range = zoom ?? [now / 1000 - seconds, now / 1000];
  useEffect(() => {
    let here = true;
    const to = Date.now() / 1000;
    const [begin, end] = zoom ?? [to - seconds, to];
    setProblem("");
    for (const { id } of shown) {
      read(id, begin, end, !zoom).then(
        (rows) => here && setPoints((old) => new Map(old).set(id, rows)),
        (error) => here && setProblem(error.message),
      );
    }
    return () => {
      here = false;
    };
  }, [key, seconds, zoom]);
  useEffect(() => {
    if (zoom) return undefined;
    const ends = shown.map(({ id }) => listen(`telemetry-${id}`, (event, { dataStream }) => {
      const value = numeric(dataStream.value);
      if (event !== "new-datastream" || value === null) return;
      const at = new Date(dataStream.recievedAt) / 1000;
      setPoints((old) => {
        const rows = old.get(id) ?? [];
        const behind = rows.findLastIndex(([earlier]) => earlier <= at);
        return new Map(old).set(id, rows.toSpliced(behind + 1, 0, [at, value]));
      });
    }));
    return () => ends.forEach((end) => end());
  }, [key, Boolean(zoom)]);
  const data = useMemo(() => joined(shown.map(({ id }) => points.get(id) ?? [])), [points, key]);
  const lines = shown.map(({ variableName, id }) => ({ label: variableName, scale: `v${id}`, colour: colourOf(variables, id) }));
  const toggle = (id) => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    setChosen(next);
  };
  const enlarge = useCallback((from, to) => setZoom([from, to]), []);
  const empty = data[0].length === 0;
  return html`<${Card} title="History" tools=${html`
      ${zoom && html`<button type="button" class="slim" onClick=${() => setZoom(null)}>Back to live</button>`}
      <${Choice} name="Range" value=${zoom ? 0 : seconds} options=${RANGES} onChange=${(value) => { setZoom(null); setSeconds(value); }} />`}>
    ${problem && html`<p class="notice bad" role="alert">${problem}</p>`}
    <div class="legend" role="group" aria-label="Variables">${variables.map(({ id, variableName, datatype }) => html`
      <label class="check"><input type="checkbox" checked=${chosen.has(id)} onChange=${() => toggle(id)} />${variableName}<span class="muted">${datatype}</span></label>`)}</div>
    ${variables.length === 0 ? html`<p class="empty">This sensor has no variables yet.</p>` : html`<div class="chart large">
      <${Chart} key=${key} name="History" lines=${lines} data=${data} range=${range} height=${340} onZoom=${enlarge} /></div>
      <p class="hint">${empty ? "No numbers in this range." : zoom ? `${time(zoom[0] * 1000)} – ${time(zoom[1] * 1000)}` : "Live. Drag over a part to enlarge it."}</p>`}
    ${variables.length > 0 && html`<${LatestValues} variables=${variables} points=${points} />`}
  <//>`;
}

function LatestValues({ variables, points }) {
  return html`<${Table} name="Latest values" rows=${variables} keyOf=${({ id }) => id} columns=${[
    ["Variable", (row) => row.variableName],
    ["Latest", (row) => {
      const live = points.get(row.id)?.at(-1);
      const value = row.latest && numeric(row.latest.value);
      return row.latest ? (value === null ? row.latest.value : amount(live && live[0] * 1000 > new Date(row.latest.recievedAt) ? live[1] : value)) : "–";
    }, "number"],
    ["Received", (row) => time(row.latest?.recievedAt), "nowrap"],
    ["Type", (row) => html`${row.datatype} <span class="muted small">id ${row.id}</span>`, "nowrap"],
  ]} />`;
}

const colourOf = (variables, id) => COLOURS[variables.findIndex((one) => one.id === id) % COLOURS.length];

/** @returns {(number|null)[][]} one column of times, and a column of values for each table. */
function joined(tables) {
  if (!tables.length) return [[]];
  return uPlot.join(tables.map((rows) => [rows.map(([at]) => at), rows.map(([, value]) => value)]));
}
