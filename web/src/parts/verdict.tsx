// One comparison: what it says, how large, how sure, how the evidence grew, and what it could not see.
import type { Schemas } from "../api/client";
import { moment } from "../time";

type InForce = Schemas["InForce"];
type Estimate = Schemas["Estimate"];

const FINDINGS = ["delayed", "lossy", "policed", "shaped", "blocked", "favoured"];
export const isFinding = (verdict: string) => FINDINGS.includes(verdict);

function Interval({ name, estimate, factor, unit }: { name: string; estimate: Estimate | null; factor: number; unit: string }) {
  if (!estimate) return null;
  const [low, mid, high] = [estimate.low, estimate.estimate, estimate.high].map((value) => value * factor) as [number, number, number];
  const reach = Math.max(Math.abs(low), Math.abs(high), 1e-9) * 1.15;
  const x = (value: number) => 100 + (value / reach) * 96;
  const text = `${name}: ${mid.toPrecision(3)} ${unit}, within ${low.toPrecision(3)} to ${high.toPrecision(3)} ${unit}`;
  return (
    <div class="interval">
      <span>{text}</span>
      <svg viewBox="0 0 200 14" role="img" aria-label={text} preserveAspectRatio="none">
        <line class="zero" x1="100" y1="0" x2="100" y2="14" />
        <line class="reach" x1={x(low)} y1="7" x2={x(high)} y2="7" />
        <line class="mid" x1={x(mid)} y1="2" x2={x(mid)} y2="12" />
      </svg>
    </div>
  );
}

function Course({ entry }: { entry: Schemas["Differentiation"] }) {
  const course = entry.course;
  if (course.length < 2) return null;
  const most = course[course.length - 1]!.pairs || 1;
  const named = Math.log10(entry.hypotheses / Math.max(entry.error_rate.value, 1e-12));
  const top = Math.max(named, ...course.flatMap((point) => [point.log10_e.delay, point.log10_e.loss]), 1) * 1.1;
  const low = Math.min(0, ...course.flatMap((point) => [point.log10_e.delay, point.log10_e.loss]));
  const y = (value: number) => 58 - ((value - low) / (top - low)) * 54;
  const line = (of: "delay" | "loss") =>
    course.map((point) => `${((point.pairs / most) * 196 + 2).toFixed(1)},${y(point.log10_e[of]).toFixed(1)}`).join(" ");
  const last = course[course.length - 1]!;
  return (
    <figure class="course">
      <svg
        viewBox="0 0 200 60"
        role="img"
        preserveAspectRatio="none"
        aria-label={`Evidence after ${most} pairs: delay 10^${last.log10_e.delay.toFixed(1)}, loss 10^${last.log10_e.loss.toFixed(1)}`}
      >
        {entry.error_rate.kind === "per_run" && <line class="named" x1="0" x2="200" y1={y(named)} y2={y(named)} />}
        <polyline class="delay" points={line("delay")} />
        <polyline class="loss" points={line("loss")} />
      </svg>
      <figcaption>
        Evidence (log10 e) over {most} pairs: <span class="delay">delay</span>, <span class="loss">loss</span>
      </figcaption>
    </figure>
  );
}

export function VerdictCard({ one, utc }: { one: InForce; utc: boolean }) {
  const { entry } = one;
  const tone = isFinding(entry.verdict) ? "found" : entry.verdict === "none" ? "clean" : "open";
  return (
    <article class={`card verdict ${tone}`}>
      <header>
        <span class={`badge ${tone}`}>{entry.verdict === "none" ? "no difference" : entry.verdict}</span>
        <span class="meta">
          {one.direction} {one.family}, {entry.subject.payload} DSCP {entry.subject.dscp} against {entry.control.payload} DSCP{" "}
          {entry.control.dscp}
          {entry.subject.port !== entry.control.port && `, port ${entry.subject.port} against ${entry.control.port}`}
        </span>
      </header>
      <p class="sentence">{one.sentence}</p>
      <Interval name="median delay" estimate={entry.delay_shift_ms} factor={1} unit="ms" />
      <Interval name="slowest twentieth" estimate={entry.p95_shift_ms} factor={1} unit="ms" />
      <Interval name="loss" estimate={entry.loss_shift} factor={100} unit="pp" />
      <Course entry={entry} />
      <details>
        <summary>Evidence, and what could not be seen</summary>
        <ul>
          {one.evidence.map((line) => (
            <li>{line}</li>
          ))}
        </ul>
        <p>
          {entry.pairs} pairs in {Math.round(entry.seconds)} s; in force since {moment(one.at, utc)}. This speaks of the path to
          this server, not to Discord.
        </p>
      </details>
    </article>
  );
}
