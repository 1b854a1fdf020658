// What a rule chain would have done: runs it over stored readings, and draws when it would have acted.
import { html, useEffect, useMemo, useState } from "../vendor/htm-preact.js";
import { get, request } from "./api.js";
import { Chart } from "./chart.js";
import { amount, numeric, time } from "./format.js";
import { Choice, Dialog, Table } from "./parts.js";

const RANGES = [[3600, "1 h"], [86_400, "24 h"], [604_800, "7 d"], [2_592_000, "30 d"]];
const POINTS = 300;
const SHOWN = 20;

export function Replay({ chain, onClose }) {
  const [seconds, setSeconds] = useState(3600);
  const [job, setJob] = useState(null);
  const [problem, setProblem] = useState("");
  const query = `organizationId=${chain.organizationId}`;
  useEffect(() => {
    let here = true;
    const to = Date.now();
    const past = { from: new Date(to - seconds * 1000).toISOString(), to: new Date(to).toISOString() };
    const follow = async () => {
      setJob(null);
      setProblem("");
      try {
        let { data } = await request("POST", `/rule-chains/${chain.id}/replay?${query}`, past);
        while (here && data.status === "running") {
          setJob(data);
          await new Promise((go) => setTimeout(go, 500));
          ({ data } = await get(`/rule-chains/${chain.id}/replay/${data.id}?${query}`));
        }
        if (here) setJob(data);
      } catch (error) {
        if (here) setProblem(error.message);
      }
    };
    follow();
    return () => {
      here = false;
    };
  }, [seconds]);
  const running = !problem && (!job || job.status === "running");
  return html`<${Dialog} title=${`${chain.name}, over the past`} wide onClose=${onClose}>
    <div class="row"><${Choice} name="Stretch of time" value=${seconds} options=${RANGES} onChange=${setSeconds} />
      <span class="muted small" role="status">${running ? `Running${job ? `, ${Math.round(job.progress * 100)} %` : ""} …`
    : job && `${amount(job.evaluations)} evaluations, would have acted ${amount(job.fired)} times`}</span></div>
    ${problem && html`<p class="notice bad" role="alert">${problem}</p>`}
    ${job?.errors?.length > 0 && html`<p class="notice warn">${job.errors.map((error) => error.message ?? error).join("; ")}</p>`}
    ${!running && job && html`<${Firings} job=${job} seconds=${seconds} />`}
  <//>`;
}

/** @returns {Promise<[number, number|null][]>} the history of the variable that made the chain act. */
async function history({ uuid, name }, job, seconds) {
  const { data: { things } } = await get("/presence/things");
  const sensor = things.find((thing) => thing.uuid === uuid && thing.kind === "sensor");
  if (!sensor) return [];
  const { data: { telemetryData } } = await get(`/telemetry/latest?sensorId=${sensor.id}`);
  const variable = telemetryData.find(({ variableName }) => variableName === name);
  if (!variable) return [];
  const bucket = `${Math.ceil(seconds / POINTS)}s`;
  const { data } = await get(`/datastreams/telemetry/${variable.id}/aggregate?from=${job.from}&to=${job.to}&bucket=${bucket}&fn=avg`);
  return data.buckets.map(({ from, avg }) => [new Date(from) / 1000, avg]);
}

function Firings({ job, seconds }) {
  const [line, setLine] = useState([]);
  const cause = job.firings.find(({ trigger }) => trigger.type === "reading")?.trigger;
  useEffect(() => {
    if (cause) history(cause, job, seconds).then(setLine, () => {});
  }, [job]);
  const data = useMemo(() => {
    const acted = job.firings.filter(({ trigger }) => trigger.uuid === cause?.uuid && trigger.name === cause?.name)
      .map(({ at, trigger }) => [new Date(at) / 1000, numeric(trigger.value)]);
    return uPlot.join([line, acted].map((rows) => [rows.map(([at]) => at), rows.map(([, value]) => value)]));
  }, [line, job]);
  if (!job.firings.length) return html`<p class="empty">It would have done nothing.</p>`;
  const range = [new Date(job.from) / 1000, new Date(job.to) / 1000];
  return html`${cause && html`<${Chart} name="Replay" data=${data} range=${range} height=${220}
      lines=${[{ label: cause.name, colour: "--chart-1" }, { label: "would have acted", colour: "--chart-2", dots: true }]} />`}
    <${Table} name="Actions" rows=${job.firings.slice(0, SHOWN)} keyOf=${({ at }) => at} columns=${[
    ["When", (row) => time(row.at), "nowrap"],
    ["Why", ({ trigger }) => `${trigger.name ?? trigger.type} ${trigger.value ?? ""}`],
    ["Would have set", (row) => row.actions.map((action) => html`<div><code>${action.stateName} = ${action.value}</code></div>`), "wide"],
  ]} />
    ${job.firings.length > SHOWN && html`<p class="hint">The first ${SHOWN} of ${amount(job.fired)}.</p>`}`;
}
