// DNS probes of one city, and the voice hosts that it was given.
import { type Context, asked, city } from "../context";
import { useData } from "../data";
import { Chart, type Line } from "../parts/chart";
import { Shown } from "../parts/states";
import { Table } from "../parts/table";
import { moment, ms } from "../time";

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
      <h2>Voice hosts</h2>
      <Shown asked={media} isEmpty={(data) => data.hosts.length === 0} empty={`No bot beside ${worker} was in a voice channel in this range, so no media host is known.`}>
        {(data) => (
          <>
            <Table
              caption="Voice hosts"
              rows={data.hosts}
              columns={[
                { name: "host", cell: (host) => host.host },
                { name: "city", cell: (host) => host.city ?? "–" },
                { name: "from", cell: (host) => moment(host.first, utc, false) },
                { name: "to", cell: (host) => moment(host.last + data.range.step_s, utc, false) },
                { name: "heartbeats", isNumber: true, cell: (host) => host.samples },
                { name: "voice", isNumber: true, cell: (host) => ms(host.voice_ms) },
                { name: "TCP", isNumber: true, cell: (host) => ms(host.tcp_ms) },
                { name: "UDP", isNumber: true, cell: (host) => ms(host.udp_ms) },
              ]}
            />
            <Chart
              title="Voice heartbeat by host"
              unit="ms"
              times={data.times}
              since={data.range.since}
              until={data.range.until}
              utc={utc}
              lines={data.hosts.slice(0, 8).map((host, look) => ({ name: host.host, look, values: host.series.voice_p50 }))}
            />
            <Chart
              title="UDP round trip by host (IP discovery)"
              unit="ms"
              height={180}
              times={data.times}
              since={data.range.since}
              until={data.range.until}
              utc={utc}
              lines={data.hosts.slice(0, 8).map((host, look) => ({ name: host.host, look, values: host.series.udp_p50 }))}
            />
          </>
        )}
      </Shown>
      <p class="quiet">Resolver times and pings of media hosts by the worker itself are not measured yet.</p>
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
