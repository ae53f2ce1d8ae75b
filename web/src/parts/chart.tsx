// A time series drawn by uPlot: bands, gaps that stay gaps, a cursor shared by all charts of the page, zoom into the address.
// uPlot draws pixels only, so the keyboard moves the cursor, a live region reads it out, and a table has the same numbers.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { DASHES, LINES, colour, useThemeCount } from "../theme";
import { chooseRange, moment } from "../time";
import { Table } from "./table";

export interface Line {
  name: string;
  values: (number | null)[];
  // Index of its colour and dash.
  look: number;
  // Pairs of lower and upper edge, widest first.
  bands?: [(number | null)[], (number | null)[]][];
  faint?: boolean;
}

export interface ChartProps {
  title: string;
  unit: string;
  times: number[];
  lines: Line[];
  since: number;
  until: number;
  utc: boolean;
  height?: number;
  bars?: boolean;
}

const SYNC = "netlat";
const number = (value: number | null | undefined) =>
  value === null || value === undefined ? "no data" : String(Number(value.toPrecision(4)));

function options(props: ChartProps, width: number, onCursor: (index: number | null) => void): uPlot.Options {
  const grid = { stroke: colour("grid"), width: 1 };
  const axis = { stroke: colour("muted"), grid, ticks: grid, font: "12px system-ui, sans-serif" };
  const series: uPlot.Series[] = [{}];
  const bands: uPlot.Band[] = [];
  for (const line of props.lines) {
    const stroke = colour(LINES[line.look % LINES.length]!);
    (line.bands ?? []).forEach((_, index) => {
      const alpha = index === 0 ? "22" : "44";
      const edge: uPlot.Series = { scale: "y", stroke: "transparent", width: 0, points: { show: false } };
      series.push(edge, { ...edge });
      bands.push({ series: [series.length - 1, series.length - 2], fill: stroke + alpha });
    });
    series.push({
      label: line.name,
      scale: "y",
      stroke: line.faint ? `${stroke}99` : stroke,
      width: line.faint ? 1 : 1.75,
      dash: DASHES[line.faint ? 2 : line.look % DASHES.length]!,
      spanGaps: false,
      points: { filter: (u, index, shown) => (shown ? null : lone(u.data[index]!)) },
      ...(props.bars ? { paths: uPlot.paths.stepped!({ align: 1 }), fill: `${stroke}33` } : {}),
    });
  }
  return {
    width,
    height: props.height ?? 260,
    tzDate: (ts) => (props.utc ? uPlot.tzDate(new Date(ts * 1000), "Etc/UTC") : new Date(ts * 1000)),
    legend: { show: false },
    cursor: { sync: { key: SYNC }, drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
    scales: {
      x: { time: true, range: () => [props.since, props.until] },
      y: { range: (_u, low, high) => spread(low, high, props.bars ?? false) },
    },
    axes: [{ ...axis, space: props.until - props.since < 900 ? 95 : 60, values: (_u, ticks, _axis, _space, step) => timeTicks(ticks, step, props.utc) }, { ...axis, size: 62, values: (_u, ticks) => ticks.map((tick) => `${Number(tick.toPrecision(6))}`) }],
    series,
    bands,
    hooks: {
      setCursor: [(u) => onCursor(u.cursor.idx ?? null)],
      setSelect: [
        (u) => {
          const { left, width: wide } = u.select;
          if (wide < 4) return;
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          chooseRange(u.posToVal(left, "x"), u.posToVal(left + wide, "x"));
        },
      ],
    },
  };
}

/** Where a value has none beside it: no line shows it, so it is a dot however little room there is. */
function lone(values: ArrayLike<number | null | undefined>): number[] {
  const found = [];
  for (let at = 0; at < values.length; at++) {
    if (values[at] != null && values[at - 1] == null && values[at + 1] == null) found.push(at);
  }
  return found;
}

// 24 hours, and the date where it changes: the same everywhere, whatever the browser's language.
function timeTicks(ticks: number[], step: number, utc: boolean): string[] {
  let day = "";
  return ticks.map((tick) => {
    const text = moment(tick, utc);
    const date = text.slice(0, 10);
    const time = step < 60 ? text.slice(11) : text.slice(11, 16);
    const first = date !== day;
    day = date;
    if (step >= 86400) return date.slice(5);
    return first ? `${time}\n${date}` : time;
  });
}

// Shares start at 0 and show at least one percent; delays have some air around them.
function spread(low: number | null, high: number | null, fromZero: boolean): [number, number] {
  if (low === null || high === null) return [0, 1];
  if (fromZero) return [0, Math.max(1, high * 1.1)];
  const air = Math.max((high - low) * 0.08, Math.abs(high) * 0.01, 0.01);
  return [Math.min(low - air, low), high + air];
}

function columns(props: ChartProps): uPlot.AlignedData {
  const all: (number | null)[][] = [];
  for (const line of props.lines) {
    for (const [low, high] of line.bands ?? []) all.push(low, high);
    all.push(line.values);
  }
  return [props.times, ...all] as uPlot.AlignedData;
}

export function Chart(props: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [at, setAt] = useState<number | null>(null);
  const [spoken, setSpoken] = useState("");
  const theme = useThemeCount();
  const shape = JSON.stringify([
    props.lines.map((line) => [line.name, line.look, line.bands?.length, line.faint]),
    props.since,
    props.until,
    props.utc,
    theme,
  ]);

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const made = new uPlot(options(props, element.clientWidth || 600, setAt), columns(props), element);
    plot.current = made;
    const watch = new ResizeObserver(() => {
      if (element.clientWidth > 0) made.setSize({ width: element.clientWidth, height: props.height ?? 260 });
    });
    watch.observe(element);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(columns(props)), [props.times, props.lines]);

  const read = (index: number) =>
    `${moment(props.times[index] ?? 0, props.utc)}: ` +
    props.lines.map((line) => `${line.name} ${number(line.values[index])} ${props.unit}`).join(", ");
  const onKey = (event: KeyboardEvent) => {
    const made = plot.current;
    const last = props.times.length - 1;
    if (!made || last < 0) return;
    const old = at ?? last;
    const step = event.shiftKey ? 10 : 1;
    const moves: Record<string, number> = { ArrowLeft: old - step, ArrowRight: old + step, Home: 0, End: last };
    const span = props.until - props.since;
    if (event.key in moves) {
      const index = Math.min(last, Math.max(0, moves[event.key]!));
      const left = made.valToPos(props.times[index]!, "x");
      made.setCursor({ left, top: made.over.clientHeight / 2 });
      setSpoken(read(index));
    } else if (event.key === "+" || event.key === "-") {
      const centre = at === null ? props.until - span / 2 : props.times[at]!;
      const half = event.key === "+" ? span / 4 : span;
      chooseRange(centre - half, centre + half);
    } else return;
    event.preventDefault();
  };

  return (
    <figure class="chart">
      <figcaption>
        <h3>
          {props.title} <span class="unit">{props.unit}</span>
        </h3>
        <ul class="legend">
          {props.lines.map((line) => (
            <li>
              <svg width="26" height="8" aria-hidden="true" class={`look look${line.look % LINES.length}`}>
                <line x1="0" y1="4" x2="26" y2="4" stroke-dasharray={DASHES[line.faint ? 2 : line.look]?.join(" ")} />
              </svg>
              {line.name}
              {at !== null && <b> {number(line.values[at])}</b>}
            </li>
          ))}
        </ul>
      </figcaption>
      <div
        ref={box}
        class="plot"
        role="application"
        tabIndex={0}
        aria-label={`${props.title} in ${props.unit}. Arrow keys read values, plus and minus zoom; the table below has the same numbers.`}
        onKeyDown={onKey}
      />
      <p class="hidden" aria-live="polite">
        {spoken}
      </p>
      <Numbers {...props} />
    </figure>
  );
}

// Filled only once opened: thousands of cells that nobody asked for would cost every update.
function Numbers(props: ChartProps) {
  const [open, setOpen] = useState(false);
  const rows = open ? props.times.map((time, index) => ({ time, index })) : [];
  const kept = rows.filter(({ index }) => props.lines.some((line) => line.values[index] !== null));
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Numbers</summary>
      {open && (
        <Table
          caption={`${props.title}, ${props.unit}`}
          rows={kept.slice(-200)}
          columns={[
            { name: props.utc ? "time (UTC)" : "time", cell: ({ time }) => moment(time, props.utc) },
            ...props.lines.map((line) => ({
              name: line.name,
              isNumber: true,
              cell: ({ index }: { index: number }) => number(line.values[index]),
            })),
          ]}
        />
      )}
    </details>
  );
}
