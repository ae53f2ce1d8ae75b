// Discord's latency from every city: application, the network's part of it, and the rest.
import type { Schemas } from "../api/client";
import { type Context, asked } from "../context";
import { useBefore, useData } from "../data";
import { Heat } from "../parts/heat";
import { Shown } from "../parts/states";
import { Table } from "../parts/table";
import { ms, percent } from "../time";
import { type Place, change, link } from "../url";

type Group = Schemas["Group"];
export const METRICS = ["rest", "gateway_heartbeat", "message_echo", "voice_heartbeat", "interaction"] as const;
export const METRIC_NAMES: Record<string, string> = {
  rest: "REST",
  gateway_heartbeat: "Gateway heartbeat",
  message_echo: "Message echo",
  voice_heartbeat: "Voice heartbeat",
  interaction: "Interaction",
};

export const metricOf = (place: Place) => METRICS.find((one) => one === place.params.get("metric")) ?? "rest";

export function MetricFilter({ metric }: { metric: string }) {
  return (
    <label>
      metric
      <select value={metric} onChange={(event) => change({ metric: event.currentTarget.value })}>
        {METRICS.map((one) => (
          <option value={one}>{METRIC_NAMES[one]}</option>
        ))}
      </select>
    </label>
  );
}

// One of these, or all.
export function Filter({ name, value, of }: { name: string; value: string; of: string[] }) {
  return (
    <label>
      {name}
      <select value={value} onChange={(event) => change({ [name]: event.currentTarget.value || null })}>
        <option value="">all</option>
        {of.map((one) => (
          <option value={one}>{one}</option>
        ))}
      </select>
    </label>
  );
}

export function Applications(context: Context) {
  const { place, range, tick, utc } = context;
  const metric = metricOf(place);
  const library = place.params.get("library") ?? "";
  const found = useData("/api/v1/view/applications", { ...asked(range), metric }, tick);
  const earlier = useBefore("/api/v1/view/applications", context, { metric });
  const libraries = [...new Set((found.data?.groups ?? []).map((group) => group.library))].sort();
  const to = (worker: string) => link(place, "city", worker);
  return (
    <>
      <h1>Discord latency</h1>
      <div class="filters">
        <MetricFilter metric={metric} />
        <Filter name="library" value={library} of={libraries} />
      </div>
      <Shown
        asked={found}
        isEmpty={(data) => data.groups.every((group) => group.server_bot || (library && group.library !== library))}
        empty={
          <>
            No bot measured {METRIC_NAMES[metric]} in this range. <code>netlat bot setup</code> makes one ready, <code>netlat bot -b -r main</code> runs it beside a worker.
          </>
        }
      >
        {(data) => {
          const groups = data.groups.filter((group) => !group.server_bot && (!library || group.library === library)).sort((a, b) => (b.app_ms?.p50 ?? 0) - (a.app_ms?.p50 ?? 0));
          const several = new Set(groups.map((group) => group.library)).size > 1;
          const name = (group: Group) => (several ? `${group.worker} · ${group.library}` : group.worker);
          return (
            <>
              <Stacked groups={groups} name={name} to={to} />
              <Heat
                title={`${METRIC_NAMES[metric]}, median over time`}
                times={data.times}
                utc={utc}
                rows={groups.map((group) => ({ name: name(group), href: to(group.worker), values: group.series.app_p50 }))}
              />
              <Totals groups={groups} to={to} before={earlier?.groups ?? null} />
            </>
          );
        }}
      </Shown>
    </>
  );
}

// One bar for each city and library: what the network took and what the rest took, to one scale.
function Stacked({ groups, name, to }: { groups: Group[]; name: (group: Group) => string; to: (worker: string) => string }) {
  const most = Math.max(1, ...groups.map((group) => group.app_ms?.p50 ?? 0));
  return (
    <figure class="stacked">
      <figcaption>
        <h3>Median by city</h3>
        <p class="keys">
          <span class="key network">network</span> <span class="key rest">Discord, library and host</span> <span class="key unknown">not told apart</span>
        </p>
      </figcaption>
      {groups.map((group) => {
        const total = group.app_ms?.p50 ?? 0;
        const network = group.network_ms?.p50 ?? null;
        const width = (100 * total) / most;
        const part = network === null ? 0 : Math.min(width, (100 * network) / most);
        const label = `${name(group)}: ${ms(total)}, network ${ms(network)}`;
        return (
          <div class="stackrow">
            <a href={to(group.worker)}>{name(group)}</a>
            <svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label={label}>
              <title>{label}</title>
              <rect class={network === null ? "unknown" : "rest"} x="0" y="0" width={width} height="10" />
              <rect class="network" x="0" y="0" width={part} height="10" />
            </svg>
            <span class="value">{ms(group.app_ms?.p50)}</span>
          </div>
        );
      })}
    </figure>
  );
}

// The same city, library and metric in another range.
export const same = (groups: Group[], one: Group): Group | null =>
  groups.find((other) => other.worker === one.worker && other.library === one.library && other.language === one.language && other.metric === one.metric) ?? null;

interface TotalsProps {
  groups: Group[];
  to: ((worker: string) => string) | null;
  // Of the compared range; null: nothing is compared.
  before: Group[] | null;
}

export function Totals({ groups, to, before }: TotalsProps) {
  return (
    <Table
      caption="Latency over the range"
      rows={groups}
      columns={[
        { name: to ? "city" : "metric", cell: (group) => (to ? <a href={to(group.worker)}>{group.worker}</a> : METRIC_NAMES[group.metric]) },
        { name: "library", cell: (group) => `${group.library} (${group.language})` },
        { name: "exchanges", isNumber: true, cell: (group) => group.samples },
        { name: "no answer", isNumber: true, cell: (group) => percent(group.unanswered, group.samples) },
        { name: "median", isNumber: true, cell: (group) => ms(group.app_ms?.p50) },
        ...(before ? [{ name: "median before", isNumber: true, cell: (group: Group) => ms(same(before, group)?.app_ms?.p50) }] : []),
        { name: "p95", isNumber: true, cell: (group) => ms(group.app_ms?.p95) },
        { name: "max", isNumber: true, cell: (group) => ms(group.app_ms?.max) },
        { name: "network", isNumber: true, cell: (group) => ms(group.network_ms?.p50) },
        { name: "overhead", isNumber: true, cell: (group) => ms(group.overhead_ms?.p50) },
      ]}
    />
  );
}
