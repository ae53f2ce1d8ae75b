// DNS probes of one city, and the media (voice) hosts that its bot was given or its programs looked up.
import { type Context, asked, city } from "../context";
import { useData } from "../data";
import { Chart, type Line } from "../parts/chart";
import { Shown } from "../parts/states";
import { Table } from "../parts/table";
import { moment, ms } from "../time";

const SOURCES = { dns: "lookup seen", voice_server_update: "own bot", configured: "told to ping" } as const;
const CHARTS = [
  ["Resolver, query to answer, by host", "dns_p50"],
  ["ICMP echo by host", "icmp_p50"],
  ["TCP connect by host", "tcp_p50"],
  ["Voice heartbeat by host", "voice_p50"],
  ["UDP round trip by host (IP discovery)", "udp_p50"],
] as const;

export function Media(context: Context) {
  const { range, tick, utc } = context;
  const worker = city(context);
  const query = { ...asked(range), worker };
  const classes = useData("/api/v1/view/classes", query, tick);
  const family = classes.data?.classes.find((one) => one.kind === "dns")?.family ?? null;
  const media = useData("/api/v1/view/media", query, tick);
  return (
    <>
      <h1>DNS and media of {worker}</h1>
      <h2>DNS probes to the server</h2>
      {family ? (
        <div class="pair">
          {(["up", "down"] as const).map((direction) => (
            <Dns {...{ context, worker, family, direction }} />
          ))}
        </div>
      ) : (
        <Shown asked={classes} isEmpty={() => true} empty={`${worker} sent no DNS probes in this range.`}>
          {() => null}
        </Shown>
      )}
      <h2>Media hosts</h2>
      <Shown asked={media} isEmpty={(data) => data.hosts.length === 0} empty={`In this range no bot beside ${worker} was in a voice channel, no program of its host was seen looking up a media host (worker --interface), and none was pinged (worker --media).`}>
        {(data) => (
          <>
            <Table
              caption="Media hosts, medians in ms"
              rows={data.hosts}
              columns={[
                { name: "host", cell: (host) => host.host },
                { name: "city", cell: (host) => host.city ?? "–" },
                { name: "known by", cell: (host) => SOURCES[host.source] },
                { name: "from", cell: (host) => moment(host.first, utc, false) },
                { name: "to", cell: (host) => moment(host.last + data.range.step_s, utc, false) },
                { name: "n", isNumber: true, cell: (host) => host.samples },
                { name: "resolver", isNumber: true, cell: (host) => ms(host.dns_ms) },
                { name: "ICMP", isNumber: true, cell: (host) => ms(host.icmp_ms) },
                { name: "voice", isNumber: true, cell: (host) => ms(host.voice_ms) },
                { name: "TCP", isNumber: true, cell: (host) => ms(host.tcp_ms) },
                { name: "UDP", isNumber: true, cell: (host) => ms(host.udp_ms) },
              ]}
            />
            {CHARTS.map(([title, column]) => {
              const hosts = data.hosts.filter((host) => host.series[column].some((value) => value !== null)).slice(0, 8);
              return hosts.length === 0 ? null : (
                <Chart
                  title={title}
                  unit="ms"
                  height={180}
                  times={data.times}
                  since={data.range.since}
                  until={data.range.until}
                  utc={utc}
                  lines={hosts.map((host, look) => ({ name: host.host, look, values: host.series[column] }))}
                />
              );
            })}
          </>
        )}
      </Shown>
      <p class="quiet">
        Lookups are those of any program on the host over plain DNS, seen on the worker's --interface; what is asked for over TLS or HTTPS cannot be
        seen. Where none was seen, resolver times are the worker's own.
      </p>
    </>
  );
}

interface DnsProps {
  context: Context;
  worker: string;
  family: "ipv4" | "ipv6";
  direction: "up" | "down";
}

function Dns({ context, worker, family, direction }: DnsProps) {
  const found = useData("/api/v1/view/series", { ...asked(context.range), worker, kind: "dns", family, direction, classes: "0" }, context.tick);
  return (
    <Shown asked={found} isEmpty={(data) => data.series.length === 0} empty={`No best-effort DNS probes went ${direction}.`}>
      {(data) => (
        <Chart
          title={direction === "up" ? `${worker} to server` : `Server to ${worker}`}
          unit="ms"
          times={data.times}
          since={data.range.since}
          until={data.range.until}
          utc={context.utc}
          lines={data.series.map(
            (one): Line => ({ name: one.name, look: 0, values: one.p50, bands: [[one.min, one.max], [one.p5, one.p95], [one.p25, one.p75]] }),
          )}
        />
      )}
    </Shown>
  );
}
