// Libraries side by side: on the same host the network is the same, so what differs is the library's and its language's own.
import type { Schemas } from "../api/client";
import { type Context, asked } from "../context";
import { useBefore, useData } from "../data";
import { Chart } from "../parts/chart";
import { Shown } from "../parts/states";
import { Table } from "../parts/table";
import { ms, percent } from "../time";
import { link } from "../url";
import { Filter, METRIC_NAMES, MetricFilter, metricOf, same } from "./applications";

type Group = Schemas["Group"];

export function Libraries(context: Context) {
  const { place, range, tick } = context;
  const metric = metricOf(place);
  const chosen = place.params.get("city") ?? "";
  const found = useData("/api/v1/view/applications", { ...asked(range), metric }, tick);
  const then = useBefore("/api/v1/view/applications", context, { metric })?.groups ?? null;
  const cities = [...new Set((found.data?.groups ?? []).map((group) => group.worker))].sort();
  return (
    <>
      <h1>Libraries</h1>
      <div class="filters">
        <MetricFilter metric={metric} />
        <Filter name="city" value={chosen} of={cities} />
      </div>
      <Shown
        asked={found}
        isEmpty={(data) => data.groups.every((group) => chosen && group.worker !== chosen)}
        empty={
          <>
            No bot measured {METRIC_NAMES[metric]} in this range. <code>netlat bot -b -r main</code> runs one beside a worker.
          </>
        }
      >
        {(data) =>
          cities
            .filter((one) => !chosen || one === chosen)
            .map((one) => <City {...{ context, metric, then }} city={one} times={data.times} range={data.range} groups={data.groups.filter((group) => group.worker === one)} />)
        }
      </Shown>
    </>
  );
}

interface CityProps {
  context: Context;
  city: string;
  metric: string;
  times: number[];
  range: Schemas["Range"];
  groups: Group[];
  then: Group[] | null;
}

function City({ context, city, metric, times, range, groups, then }: CityProps) {
  const sorted = [...groups].sort((a, b) => (a.overhead_ms?.p50 ?? Infinity) - (b.overhead_ms?.p50 ?? Infinity));
  // Of what was told apart from the network; the least of them is what the others are held against.
  const least = sorted[0]?.overhead_ms?.p50 ?? null;
  const more = (group: Group) => (least === null || !group.overhead_ms || sorted.length < 2 ? null : group.overhead_ms.p50 - least);
  const name = (group: Group) => `${group.library} (${group.language})`;
  return (
    <section aria-label={city}>
      <h2>
        <a href={link(context.place, "city", city)}>{city}</a>
      </h2>
      <Table
        caption={`Libraries in ${city}`}
        rows={sorted}
        columns={[
          { name: "library", cell: name },
          { name: "exchanges", isNumber: true, cell: (group) => group.samples },
          { name: "no answer", isNumber: true, cell: (group) => percent(group.unanswered, group.samples) },
          { name: "median", isNumber: true, cell: (group) => ms(group.app_ms?.p50) },
          ...(then ? [{ name: "median before", isNumber: true, cell: (group: Group) => ms(same(then, group)?.app_ms?.p50) }] : []),
          { name: "p95", isNumber: true, cell: (group) => ms(group.app_ms?.p95) },
          { name: "network", isNumber: true, cell: (group) => ms(group.network_ms?.p50) },
          { name: "overhead", isNumber: true, cell: (group) => ms(group.overhead_ms?.p50) },
          { name: "above the least", isNumber: true, cell: (group) => ms(more(group)) },
        ]}
      />
      <Chart
        title={`${METRIC_NAMES[metric]} in ${city}: overhead`}
        unit="ms"
        height={200}
        times={times}
        since={range.since}
        until={range.until}
        utc={context.utc}
        lines={sorted.slice(0, 8).map((group, look) => ({ name: name(group), look, values: group.series.overhead_p50 }))}
      />
    </section>
  );
}
