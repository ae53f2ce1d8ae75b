// Medians over time, a row for each city: dark is fast, bright is slow, hatched is no data.
import { ms, moment } from "../time";

export interface Row {
  name: string;
  href: string;
  values: (number | null)[];
}

interface Props {
  title: string;
  times: number[];
  rows: Row[];
  utc: boolean;
}

// Viridis, which keeps its order for the colour-blind and in grey.
const STOPS: [number, number, number][] = [
  [68, 1, 84], [70, 50, 127], [54, 92, 141], [39, 127, 142], [31, 161, 135], [74, 194, 109], [159, 218, 58], [253, 231, 37],
];

export function shade(share: number): string {
  const at = Math.min(1, Math.max(0, share)) * (STOPS.length - 1);
  const low = STOPS[Math.floor(at)]!;
  const high = STOPS[Math.ceil(at)]!;
  const part = at - Math.floor(at);
  return `rgb(${low.map((value, index) => Math.round(value + (high[index]! - value) * part)).join(" ")})`;
}

export function Heat({ title, times, rows, utc }: Props) {
  const all = rows.flatMap((row) => row.values.filter((value): value is number => value !== null));
  if (all.length === 0) return null;
  // Latencies spread over powers of ten.
  const low = Math.log(Math.max(1, Math.min(...all)));
  const high = Math.max(low + 0.1, Math.log(Math.max(...all)));
  const place = (value: number) => (Math.log(Math.max(1, value)) - low) / (high - low);
  const width = 1000;
  const cell = width / Math.max(1, times.length);
  return (
    <figure class="heat">
      <figcaption>
        <h3>{title}</h3>
        <p class="scale">
          {ms(Math.exp(low))}
          <svg width="120" height="10" viewBox="0 0 8 1" preserveAspectRatio="none" aria-hidden="true">
            {STOPS.map((_, index) => (
              <rect x={index} y="0" width="1.02" height="1" fill={shade(index / (STOPS.length - 1))} />
            ))}
          </svg>
          {ms(Math.exp(high))}
        </p>
      </figcaption>
      {rows.map((row) => {
        const measured = row.values.filter((value): value is number => value !== null);
        const worst = measured.length ? Math.max(...measured) : null;
        const newest = measured[measured.length - 1];
        return (
          <div class="heatrow">
            <a href={row.href}>{row.name}</a>
            <svg
              viewBox={`0 0 ${width} 20`}
              preserveAspectRatio="none"
              role="img"
              aria-label={`${row.name}: newest median ${ms(newest)}, highest ${ms(worst)}`}
            >
              <rect class="nodata" x="0" y="0" width={width} height="20" />
              {row.values.map((value, index) =>
                value === null ? null : (
                  <rect x={index * cell} y="0" width={cell + 0.3} height="20" fill={shade(place(value))}>
                    <title>{`${row.name}, ${moment(times[index]!, utc, false)}: ${ms(value)}`}</title>
                  </rect>
                ),
              )}
            </svg>
          </div>
        );
      })}
      <p class="ends">
        <span>{moment(times[0] ?? 0, utc, false)}</span>
        <span>{moment(times[times.length - 1] ?? 0, utc, false)}</span>
      </p>
    </figure>
  );
}
