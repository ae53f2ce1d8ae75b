// RTP and ToS of one city: delay per class and direction, loss, marks, verdicts.
import { type Answer, type Schemas } from "../api/client";
import { type Context, asked, city } from "../context";
import { beside, useBefore, useData } from "../data";
import { Chart, type Line } from "../parts/chart";
import { Matrix, dscpName, ecnName } from "../parts/matrix";
import { Shown } from "../parts/states";
import { Table } from "../parts/table";
import { VerdictCard } from "../parts/verdict";
import { moment, ms, percent } from "../time";
import { change } from "../url";

type Class = Schemas["Class"];
type Way = "up" | "down";

const KINDS = ["rtp", "udp", "dns", "http", "tls", "icmp"] as const;
// Best effort, AF41, EF, 54: together they tell all pathologies apart.
const USUAL = [0, 34, 46, 54];
const MOST = 8;
type Which = Pick<Class, "direction" | "family" | "kind" | "dscp" | "ecn">;
const same = (a: Which, b: Which) => a.direction === b.direction && a.family === b.family && a.kind === b.kind && a.dscp === b.dscp && a.ecn === b.ecn;
const key = (one: { dscp: number; ecn: number }) => (one.ecn ? `${one.dscp}.${one.ecn}` : String(one.dscp));

export function Rtp(context: Context) {
  const { place, range, tick, utc } = context;
  const worker = city(context);
  const query = { ...asked(range), worker };
  const classes = useData("/api/v1/view/classes", query, tick);
  const all = classes.data?.classes ?? [];
  const kinds = KINDS.filter((kind) => all.some((one) => one.kind === kind));
  const kind = kinds.find((one) => one === place.params.get("kind")) ?? kinds[0] ?? "rtp";
  const families = (["ipv4", "ipv6"] as const).filter((family) => all.some((one) => one.kind === kind && one.family === family));
  const family = families.find((one) => one === place.params.get("family")) ?? families[0] ?? "ipv4";
  const present = [...new Map(all.filter((one) => one.kind === kind && one.family === family).map((one) => [key(one), one])).values()];
  const wanted = place.params.get("classes")?.split(",") ?? null;
  const usual = present.filter((one) => one.ecn === 0 && USUAL.includes(one.dscp));
  const chosen = (wanted ? present.filter((one) => wanted.includes(key(one))) : usual.length ? usual : present).slice(0, MOST);
  return (
    <>
      <h1>RTP and ToS of {worker}</h1>
      <Shown asked={classes} isEmpty={(data) => data.classes.length === 0} empty={`${worker} sent no probes in this range.`}>
        {() => (
          <>
            <div class="filters">
              <Choice name="kind" value={kind} of={kinds} />
              <Choice name="family" value={family} of={families} />
              <ClassPicker present={present} chosen={chosen.map(key)} />
            </div>
            {kind === "icmp" ? (
              <Way {...{ context, worker, kind, family, way: "round-trip", chosen }} />
            ) : (
              <div class="pair">
                {(["up", "down"] as Way[]).map((way) => (
                  <Way {...{ context, worker, kind, family, way, chosen }} />
                ))}
              </div>
            )}
            <ClassTable {...{ context, worker }} rows={all.filter((one) => one.kind === kind && one.family === family)} />
          </>
        )}
      </Shown>
      <Verdicts {...context} />
      <h2>Marks</h2>
      <MarkMatrices {...{ context, worker, kind, family }} />
      {classes.data && <p class="quiet">Sums of {classes.data.range.period_s === 60 ? "minutes" : "hours"}, from {moment(classes.data.range.since, utc)} to {moment(classes.data.range.until, utc)}.</p>}
    </>
  );
}

function Choice({ name, value, of }: { name: string; value: string; of: readonly string[] }) {
  return (
    <label>
      {name}
      <select value={value} onChange={(event) => change({ [name]: event.currentTarget.value })}>
        {of.map((one) => (
          <option value={one}>{one}</option>
        ))}
      </select>
    </label>
  );
}

function ClassPicker({ present, chosen }: { present: Class[]; chosen: string[] }) {
  const toggle = (one: string) => {
    const next = chosen.includes(one) ? chosen.filter((other) => other !== one) : [...chosen, one].slice(-MOST);
    change({ classes: next.length ? next.join(",") : null });
  };
  return (
    <details class="picker">
      <summary>Classes: {chosen.length} of {present.length}</summary>
      <fieldset>
        <legend>At most {MOST} at once</legend>
        {present.map((one) => (
          <label>
            <input type="checkbox" checked={chosen.includes(key(one))} onChange={() => toggle(key(one))} />
            {one.name}
          </label>
        ))}
      </fieldset>
    </details>
  );
}

interface WayProps {
  context: Context;
  worker: string;
  kind: string;
  family: string;
  way: Way | "round-trip";
  chosen: Class[];
}

function Way({ context, worker, kind, family, way, chosen }: WayProps) {
  const { range, tick, utc } = context;
  const of = { worker, kind, family, direction: way, classes: chosen.map(key).join(",") || "0" };
  const now = useData("/api/v1/view/series", { ...asked(range), ...of }, tick);
  const before = useBefore("/api/v1/view/series", context, of);
  const look = (dscp: number, ecn: number) => Math.max(0, chosen.findIndex((one) => one.dscp === dscp && one.ecn === ecn));
  const title = way === "up" ? `${worker} to server` : way === "down" ? `Server to ${worker}` : `${worker} and back`;
  return (
    <Shown asked={now} isEmpty={(data) => data.series.length === 0} empty={`Nothing of kind ${kind} went ${way} in this range.`}>
      {(data) => {
        const loss = grouped(data.times.length);
        return (
        <section class="way" aria-label={title}>
          <Chart
            title={way === "round-trip" ? `${title}: round trip` : `${title}: one-way delay`}
            unit="ms"
            times={data.times}
            lines={[...lines(data, look), ...(before ? faint(before, data, look) : [])]}
            since={data.range.since}
            until={data.range.until}
            utc={utc}
          />
          <Uncertainty data={data} />
          {data.range.period_s === 0 && <p class="quiet">Drawn from the samples themselves, {data.range.step_s} s to a point.</p>}
          <Chart
            title={`${title}: loss`}
            unit="%"
            height={130}
            bars
            times={loss.times(data.times)}
            lines={data.series.map((one) => ({ name: one.name, look: look(one.dscp, one.ecn), values: loss.shares(one.sent, one.lost) }))}
            since={data.range.since}
            until={data.range.until}
            utc={utc}
          />
        </section>
        );
      }}
    </Shown>
  );
}

// A share of few packets jumps: loss is summed over some buckets, at most 96 of them.
function grouped(buckets: number) {
  const size = Math.max(1, Math.ceil(buckets / 96));
  const groups = Array.from({ length: Math.ceil(buckets / size) }, (_, group) => group * size);
  const sum = (values: number[], start: number) => values.slice(start, start + size).reduce((all, one) => all + one, 0);
  return {
    times: (all: number[]) => groups.map((start) => all[start]!),
    shares: (sent: number[], lost: number[]) =>
      groups.map((start) => (sum(sent, start) ? (100 * sum(lost, start)) / sum(sent, start) : null)),
  };
}

type Series = Answer<"/api/v1/view/series">;

// The band is the fifth to the ninety-fifth percentile; of a single class also the whole spread and the quartiles.
function lines(data: Series, look: (dscp: number, ecn: number) => number): Line[] {
  const single = data.series.length === 1;
  return data.series.map((one) => ({
    name: one.name,
    look: look(one.dscp, one.ecn),
    values: one.p50,
    bands: single ? [[one.min, one.max], [one.p5, one.p95], [one.p25, one.p75]] : [[one.p5, one.p95]],
  }));
}

function faint(before: Series, now: Series, look: (dscp: number, ecn: number) => number): Line[] {
  return before.series.map((one) => ({
    name: `${one.name}, before`,
    look: look(one.dscp, one.ecn),
    faint: true,
    values: beside(one.p50, now.times.length),
  }));
}

function Uncertainty({ data }: { data: Series }) {
  const all = data.series.flatMap((one) => one.uncertainty.filter((value): value is number => value !== null));
  if (all.length === 0) return null;
  return (
    <p class="quiet">
      Each delay may be wrong by up to ± {ms(Math.max(...all))}, all in the same direction, for the two clocks were compared across
      the network; differences between classes do not depend on it.
    </p>
  );
}

function ClassTable({ context, worker, rows }: { context: Context; worker: string; rows: Class[] }) {
  const earlier = useBefore("/api/v1/view/classes", context, { worker });
  const then = (row: Class) => earlier?.classes.find((one) => same(one, row));
  const variation = useData("/api/v1/view/variation", { ...asked(context.range), worker }, 0);
  const of = (row: Class) =>
    variation.data?.classes.find((one) => same(one, row));
  const shown = rows.slice(0, 300);
  return (
    <details open={rows.length <= 16}>
      <summary>Each class over the range ({rows.length})</summary>
      <Table
        caption="Classes"
        rows={shown}
        columns={[
          { name: "class", cell: (row) => row.name },
          { name: "way", cell: (row) => row.direction },
          { name: "sent", isNumber: true, cell: (row) => row.sent },
          { name: "lost", isNumber: true, cell: (row) => percent(row.lost, row.sent) },
          { name: "reordered", isNumber: true, cell: (row) => row.reordered },
          { name: "min", isNumber: true, cell: (row) => ms((row.owd_ms ?? row.rtt_ms)?.min) },
          { name: "median", isNumber: true, cell: (row) => ms((row.owd_ms ?? row.rtt_ms)?.p50) },
          { name: "p95", isNumber: true, cell: (row) => ms((row.owd_ms ?? row.rtt_ms)?.p95) },
          { name: "max", isNumber: true, cell: (row) => ms((row.owd_ms ?? row.rtt_ms)?.max) },
          { name: "±", isNumber: true, cell: (row) => ms(row.owd_uncertainty_ms) },
          ...(earlier
            ? [
                { name: "median before", isNumber: true, cell: (row: Class) => ms((then(row)?.owd_ms ?? then(row)?.rtt_ms)?.p50) },
                { name: "lost before", isNumber: true, cell: (row: Class) => percent(then(row)?.lost ?? 0, then(row)?.sent ?? 0) },
              ]
            : []),
          { name: "IPDV p50", isNumber: true, cell: (row) => ms(of(row)?.ipdv_ms?.p50) },
          { name: "IPDV p95", isNumber: true, cell: (row) => ms(of(row)?.ipdv_ms?.p95) },
        ]}
      />
      {variation.data && (
        <p class="quiet">
          IPDV (RFC 3393) from the samples of {moment(variation.data.since, context.utc)} to {moment(variation.data.until, context.utc)}.
        </p>
      )}
    </details>
  );
}

function MarkMatrices({ context, worker, kind, family }: { context: Context; worker: string; kind: string; family: string }) {
  const marks = useData("/api/v1/view/marks", { ...asked(context.range), worker }, context.tick);
  return (
    <Shown asked={marks} isEmpty={(data) => data.paths.length === 0} empty="No marks were seen in this range.">
      {(data) => (
        <div class="pair">
          {data.paths
            .filter((path) => path.family === family)
            .flatMap((path) => path.remarking.filter((one) => one.kind === kind).map((one) => ({ ...one, direction: path.direction })))
            .map((one) => (
              <article class={`card ${one.pathology === "none" && ["none", "unsupported"].includes(one.ecn) ? "clean" : "open"}`}>
                <header>
                  <h3>
                    {kind} {one.direction}
                  </h3>
                  <span class={`badge ${one.pathology === "none" ? "clean" : one.pathology === "inconclusive" ? "open" : "found"}`}>{one.pathology === "none" ? "as sent" : one.pathology}</span>
                  {!["none", "unsupported", "inconclusive"].includes(one.ecn) && <span class="badge found">ECN {one.ecn}</span>}
                </header>
                {one.where && <p>Changed after hop {one.where.after_hop}, by hop {one.where.by_hop}.</p>}
                {one.flags.length > 0 && <p>Flags: {one.flags.join(", ")}</p>}
                <div class="matrices">
                  <Matrix title="DSCP" size={64} name={dscpName} pairs={one.map.map((pair) => ({ sent: pair.dscp_sent, received: pair.dscp_received, count: pair.count }))} />
                  {one.ecn_map.length > 0 && (
                    <Matrix title="ECN" size={4} name={ecnName} pairs={one.ecn_map.map((pair) => ({ sent: pair.ecn_sent, received: pair.ecn_received, count: pair.count }))} />
                  )}
                </div>
                {one.reason && (
                  <details>
                    <summary>Why, and what else fits</summary>
                    <p>{one.reason}</p>
                  </details>
                )}
              </article>
            ))}
        </div>
      )}
    </Shown>
  );
}

function Verdicts(context: Context) {
  const worker = city(context);
  const verdicts = useData("/api/v1/view/verdicts", { ...asked(context.range), worker }, context.tick);
  return (
    <>
      <h2>Is any class treated otherwise?</h2>
      <Shown
        asked={verdicts}
        isEmpty={(data) => data.in_force.length === 0 && data.rate_limits.length === 0}
        empty={
          <>
            No comparison of {worker} has been kept. Running workers compare their classes by default; a task with comparisons is started by{" "}
            <code>netlat server task add --shaping</code>.
          </>
        }
      >
        {(data) => (
          <>
            {data.rate_limits.map((limit) => (
              <p class="card open">
                {limit.direction} {limit.family}: {limit.sentence}
              </p>
            ))}
            <div class="cards">
              {data.in_force.map((one) => (
                <VerdictCard one={one} utc={context.utc} />
              ))}
            </div>
          </>
        )}
      </Shown>
    </>
  );
}
