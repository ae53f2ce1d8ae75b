// Which mark arrived as which: a square for every pair that was seen. What arrived as it was sent lies on the diagonal.
import { Table } from "./table";

export interface Pair {
  sent: number;
  received: number;
  count: number;
}

const NAMES: Record<number, string> = {
  0: "CS0", 1: "LE", 8: "CS1", 10: "AF11", 12: "AF12", 14: "AF13", 16: "CS2", 18: "AF21", 20: "AF22", 22: "AF23", 24: "CS3",
  26: "AF31", 28: "AF32", 30: "AF33", 32: "CS4", 34: "AF41", 36: "AF42", 38: "AF43", 40: "CS5", 44: "VA", 45: "NQB", 46: "EF",
  48: "CS6", 56: "CS7",
};
export const dscpName = (dscp: number) => (NAMES[dscp] ? `${NAMES[dscp]} (${dscp})` : String(dscp));
const ECN = ["Not-ECT", "ECT(1)", "ECT(0)", "CE"];
export const ecnName = (ecn: number) => ECN[ecn] ?? String(ecn);

interface Props {
  title: string;
  size: 64 | 4;
  pairs: Pair[];
  name: (code: number) => string;
}

export function Matrix({ title, size, pairs, name }: Props) {
  const sums = new Map<number, number>();
  for (const { sent, count } of pairs) sums.set(sent, (sums.get(sent) ?? 0) + count);
  const share = (pair: Pair) => pair.count / (sums.get(pair.sent) ?? 1);
  const changed = pairs.filter((pair) => pair.sent !== pair.received).sort((a, b) => b.count - a.count);
  const ticks = size === 64 ? [0, 8, 16, 24, 32, 40, 48, 56, 63] : [0, 1, 2, 3];
  const label = changed.length
    ? `${title}: ${changed.length} pairs arrive as another mark; the table lists them`
    : `${title}: every mark arrives as it was sent`;
  const unit = size === 64 ? 5 : 40;
  const left = size === 64 ? 34 : 62;
  const edge = size * unit;
  return (
    <div class="matrix">
      <svg viewBox={`0 0 ${left + edge + 8} ${edge + 40}`} role="img" aria-label={label}>
        <g transform={`translate(${left} 4)`}>
          <rect class="frame" x="0" y="0" width={edge} height={edge} />
          {ticks.map((tick) => (
            <>
              <text class="tick" x="-4" y={(size - tick - 0.5) * unit + 3} text-anchor="end">
                {size === 64 ? tick : name(tick)}
              </text>
              <text class="tick" x={(tick + 0.5) * unit} y={edge + 13} text-anchor="middle">
                {size === 64 ? tick : name(tick)}
              </text>
            </>
          ))}
          <line class="diagonal" x1="0" y1={edge} x2={edge} y2="0" />
          {pairs.map((pair) => (
            <rect
              class={pair.sent === pair.received ? "cell kept" : "cell changed"}
              x={pair.sent * unit}
              y={(size - pair.received - 1) * unit}
              width={unit}
              height={unit}
              opacity={0.35 + 0.65 * share(pair)}
            >
              <title>{`sent ${name(pair.sent)}, received ${name(pair.received)}: ${pair.count} (${(100 * share(pair)).toFixed(1)} %)`}</title>
            </rect>
          ))}
          <text class="axis" x={edge / 2} y={edge + 30} text-anchor="middle">
            sent
          </text>
          <text class="axis" transform={`translate(${-left + 9} ${edge / 2}) rotate(-90)`} text-anchor="middle">
            received
          </text>
        </g>
      </svg>
      {changed.length > 0 && (
        <details>
          <summary>{changed.length} changed</summary>
          <Table
            caption={title}
            rows={changed}
            columns={[
              { name: "sent", cell: (pair) => name(pair.sent) },
              { name: "received", cell: (pair) => name(pair.received) },
              { name: "packets", isNumber: true, cell: (pair) => pair.count },
              { name: "of this mark", isNumber: true, cell: (pair) => `${(100 * share(pair)).toFixed(1)} %` },
            ]}
          />
        </details>
      )}
    </div>
  );
}
