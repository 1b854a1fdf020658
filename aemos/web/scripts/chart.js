// Charts over time: uPlot with the colours of the page, and sparklines.
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** @returns {number} grows when light and dark change, to draw again. */
function useTheme() {
  const [count, setCount] = useState(0);
  useEffect(() => {
    const changed = () => setCount((old) => old + 1);
    const system = matchMedia("(prefers-color-scheme: dark)");
    addEventListener("aemos-theme", changed);
    system.addEventListener("change", changed);
    return () => {
      removeEventListener("aemos-theme", changed);
      system.removeEventListener("change", changed);
    };
  }, []);
  return count;
}

function options({ lines, height, width, range, onZoom }) {
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const scales = { x: { time: true } };
  if (range) scales.x.range = () => range;
  const axes = [{ ...axis, space: 70, values: (_, splits) => moments(splits) }];
  lines.forEach(({ scale = "y", least }, index) => {
    if (scales[scale]) return;
    scales[scale] = { range: (_, low, high) => spread(low, high, least) };
    const second = axes.length > 1;
    const hue = lines.filter((line) => (line.scale ?? "y") === scale).length === 1 && lines.length > 1;
    if (axes.length < 3) {
      axes.push({ ...axis, scale, side: second ? 1 : 3, size: 54, grid: second ? { show: false } : axis.grid,
        stroke: hue ? colour(lines[index].colour) : axis.stroke });
    }
  });
  return {
    width, height, scales, axes,
    legend: { live: true },
    cursor: { drag: { x: Boolean(onZoom), y: false, setScale: false }, points: { size: 7 } },
    series: [
      { value: (_, at) => (at === null ? "–" : new Date(at * 1000).toLocaleString()) },
      ...lines.map(({ label, colour: name, scale = "y", fill, dots }) => ({
        label, scale, stroke: colour(name), width: 1.75, spanGaps: true,
        ...(dots ? { paths: () => null, points: { show: true, size: 7, fill: colour(name) } } : { points: { show: false } }),
        fill: fill ? `${colour(name)}1f` : undefined, value: (_, value) => (value === null || value === undefined ? "–" : Number(value.toPrecision(6))),
      })),
    ],
    hooks: {
      setSelect: [(plot) => {
        if (!onZoom || plot.select.width < 8) return;
        onZoom(plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x"));
        plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      }],
    },
  };
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const exact = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** @returns {string[]} what stands below the marks of an axis: as exact as they are close. */
function moments(splits) {
  const step = splits.length > 1 ? splits[1] - splits[0] : 60;
  return splits.map((at, index) => {
    const when = new Date(at * 1000);
    if (step >= 86_400) return day.format(when);
    const text = (step < 60 ? exact : clock).format(when);
    const before = index > 0 ? new Date(splits[index - 1] * 1000) : when;
    return before.getDate() === when.getDate() ? text : `${text}\n${day.format(when)}`;
  });
}

function spread(low, high, least) {
  if (low === null || high === null || low === undefined) return [0, 1];
  const bottom = least === undefined ? low : Math.min(least, low);
  const space = (high - bottom || Math.abs(high) || 1) * 0.1;
  if (least !== undefined) return [bottom, high > bottom ? high + space : bottom + 1];
  return [bottom - space, high + space];
}

/**
 * Lines over time; dragging zooms where `onZoom` is given.
 *
 * @param {{lines: {label, colour, scale?, fill?, least?, dots?}[], data: (number|null)[][], range?, height?, name, onZoom?}} props
 *   data: seconds since 1970, then a column for each line
 */
export function Chart({ lines, data, range, height = 220, name, onZoom }) {
  const element = useRef(null);
  const plot = useRef(null);
  const theme = useTheme();
  const shape = JSON.stringify([lines, Boolean(range)]);
  const shown = useRef(range);
  shown.current = range;
  useEffect(() => {
    const width = element.current.clientWidth;
    const made = options({ lines, height, width, onZoom });
    if (range) made.scales.x.range = () => shown.current;
    plot.current = new uPlot(made, data, element.current);
    const observer = new ResizeObserver(([entry]) => {
      if (entry.contentRect.width > 0) plot.current?.setSize({ width: entry.contentRect.width, height });
    });
    observer.observe(element.current);
    return () => {
      observer.disconnect();
      plot.current.destroy();
      plot.current = null;
    };
  }, [shape, height, theme]);
  useEffect(() => plot.current?.setData(data), [data, range?.[0], range?.[1]]);
  return html`<div class="chart" ref=${element} role="img" aria-label=${describe(name, lines, data)}></div>`;
}

function describe(name, lines, data) {
  const last = lines.map(({ label }, index) => `${label} ${data[index + 1]?.findLast((value) => value !== null) ?? "no value"}`);
  return `${name}: ${last.join(", ")}`;
}

/** The last hour in a few pixels; decoration beside the value. */
export function Sparkline({ values }) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return html`<svg class="spark" viewBox="0 0 100 24" aria-hidden="true"></svg>`;
  const low = Math.min(...known);
  const high = Math.max(...known);
  const step = 100 / (values.length - 1);
  const y = (value) => (high === low ? 12 : 22 - ((value - low) / (high - low)) * 20).toFixed(1);
  const points = values.map((value, index) => (value === null ? null : `${(index * step).toFixed(1)},${y(value)}`)).filter(Boolean);
  return html`<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">
    <polyline points=${points.join(" ")} fill="none" stroke="currentColor" stroke-width="1.5" vector-effect="non-scaling-stroke" /></svg>`;
}
