// Cities on a map, drawn from data that comes with the page. Loaded by itself: it is the largest part.
import { geoEqualEarth, geoGraticule10, geoPath } from "d3-geo";
import { feature } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";
import land from "world-atlas/land-110m.json";
import { spotOf } from "../places";

const WIDTH = 960;
const HEIGHT = 430;
const topology = land as unknown as Topology<{ land: GeometryCollection }>;
const projection = geoEqualEarth().fitExtent([[4, 4], [WIDTH - 4, HEIGHT + 40]], { type: "Sphere" });
const path = geoPath(projection).digits(1);
const LAND = path(feature(topology, topology.objects.land)) ?? "";
const GRID = path(geoGraticule10()) ?? "";

export interface Dot {
  name: string;
  href: string;
  tone: "found" | "clean" | "open";
  label: string;
}

interface Point {
  name: string;
  x: number;
  y: number;
}

// Beside, under, above: the first place where a label covers neither a dot nor another label.
function place(dots: Point[]): { x: number; y: number; anchor: "start" | "end" | "middle" }[] {
  const taken = dots.map((dot) => ({ left: dot.x - 7, right: dot.x + 7, top: dot.y - 7, bottom: dot.y + 7 }));
  return dots.map((dot) => {
    const width = dot.name.length * 8.6;
    const tries = [
      { x: dot.x + 12, y: dot.y + 5, anchor: "start" as const, left: dot.x + 12 },
      { x: dot.x - 12, y: dot.y + 5, anchor: "end" as const, left: dot.x - 12 - width },
      { x: dot.x, y: dot.y + 24, anchor: "middle" as const, left: dot.x - width / 2 },
      { x: dot.x, y: dot.y - 14, anchor: "middle" as const, left: dot.x - width / 2 },
      { x: dot.x + 12, y: dot.y + 22, anchor: "start" as const, left: dot.x + 12 },
      { x: dot.x - 12, y: dot.y - 12, anchor: "end" as const, left: dot.x - 12 - width },
    ];
    const box = (one: (typeof tries)[number]) => ({ left: one.left, right: one.left + width, top: one.y - 12, bottom: one.y + 3 });
    const free = (one: (typeof tries)[number]) => {
      const own = box(one);
      return !taken.some((other) => own.left < other.right && own.right > other.left && own.top < other.bottom && own.bottom > other.top);
    };
    const chosen = tries.find(free) ?? tries[0]!;
    taken.push(box(chosen));
    return chosen;
  });
}

export default function WorldMap({ dots }: { dots: Dot[] }) {
  const placed = dots.flatMap((dot) => {
    const spot = spotOf(dot.name);
    const point = spot && projection(spot.at);
    return point ? [{ ...dot, x: point[0], y: point[1] }] : [];
  });
  const missing = dots.filter((dot) => !spotOf(dot.name));
  const labels = place(placed);
  return (
    <figure class="map">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="group" aria-label="Cities on a map">
        <path class="grid" d={GRID} />
        <path class="land" d={LAND} />
        {placed.map((dot, index) => (
          <a href={dot.href} aria-label={dot.label}>
            <title>{dot.label}</title>
            <circle class={`halo ${dot.tone}`} cx={dot.x} cy={dot.y} r="11" />
            {dot.tone === "found" ? (
              <rect class="dot found" x={dot.x - 5} y={dot.y - 5} width="10" height="10" transform={`rotate(45 ${dot.x} ${dot.y})`} />
            ) : (
              <circle class={`dot ${dot.tone}`} cx={dot.x} cy={dot.y} r="5.5" />
            )}
            <text x={labels[index]!.x} y={labels[index]!.y} text-anchor={labels[index]!.anchor}>
              {dot.name}
            </text>
          </a>
        ))}
      </svg>
      {missing.length > 0 && (
        <p class="unit">Not on the map, since their names begin with no known airport code: {missing.map((dot) => dot.name).join(", ")}</p>
      )}
    </figure>
  );
}
