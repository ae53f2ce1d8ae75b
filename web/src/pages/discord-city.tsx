// Discord's latency from one city: each metric and library with its smoke, and the network's round trip beneath.
import type { Schemas } from "../api/client";
import { type Context, asked, city } from "../context";
import { beside, useBefore, useData } from "../data";
import { Chart, type Line } from "../parts/chart";
import { Shown } from "../parts/states";
import { METRIC_NAMES, Totals, same } from "./applications";

type Group = Schemas["Group"];

export function DiscordCity(context: Context) {
  const worker = city(context);
  const found = useData("/api/v1/view/applications", { ...asked(context.range), worker }, context.tick);
  const then = useBefore("/api/v1/view/applications", context, { worker })?.groups ?? null;
  return (
    <>
      <h1>Discord latency of {worker}</h1>
      <Shown
        asked={found}
        isEmpty={(data) => data.groups.length === 0}
        empty={
          <>
            No bot measured beside {worker} in this range: <code>netlat bot -b -r main</code> runs one.
          </>
        }
      >
        {(data) => (
          <>
            <Totals groups={data.groups} to={null} before={then} />
            <div class="pair">
              {data.groups.map((group) => (
                <Chart
                  title={`${METRIC_NAMES[group.metric] ?? group.metric}, ${group.library}`}
                  unit="ms"
                  times={data.times}
                  since={data.range.since}
                  until={data.range.until}
                  utc={context.utc}
                  lines={lines(group, then && same(then, group), data.times.length)}
                />
              ))}
            </div>
          </>
        )}
      </Shown>
    </>
  );
}

function lines(group: Group, before: Group | null, buckets: number) {
  const { app_p50, network_p50, bands } = group.series;
  const smoke = bands ? [[bands.min, bands.max], [bands.p5, bands.p95], [bands.p25, bands.p75]] : [];
  const shown: Line[] = [
    { name: "application", look: 0, values: app_p50, bands: smoke as [(number | null)[], (number | null)[]][] },
    { name: "network", look: 1, values: network_p50 },
  ];
  if (before) {
    shown.push({ name: "application, before", look: 0, faint: true, values: beside(before.series.app_p50, buckets) });
  }
  return shown;
}
