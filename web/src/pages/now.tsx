// Every city at a glance.
import { useEffect, useState } from "preact/hooks";
import type { Schemas } from "../api/client";
import { type Context, asked } from "../context";
import { useData } from "../data";
import { Shown } from "../parts/states";
import { Table } from "../parts/table";
import { moment, ms, percent } from "../time";
import { link } from "../url";

type City = Schemas["City"];
type Map = typeof import("../parts/map").default;

const tone = (city: City) =>
  city.state === "silent" ? "open" : city.verdicts.length > 0 || city.marks.length > 0 ? "found" : "clean";
const isCity = (city: City) => city.state !== "server-bot";
const STATES = { "server-bot": "server bot", measuring: "measuring", silent: "silent", "bots-only": "bots only" };

export function Now(context: Context) {
  const found = useData("/api/v1/view/cities", asked(context.range), context.tick);
  const [WorldMap, setMap] = useState<Map | null>(null);
  useEffect(() => void import("../parts/map").then((module) => setMap(() => module.default)), []);
  const to = (page: string, name: string) => link(context.place, page, name);
  return (
    <>
      <h1>Now</h1>
      <Shown asked={found} isEmpty={(data) => data.cities.length === 0} empty="No worker has joined and no bot has measured yet.">
        {(data) => (
          <>
            {WorldMap ? (
              <WorldMap
                dots={data.cities.filter(isCity).map((city) => ({
                  name: city.name,
                  href: to("rtp", city.name),
                  tone: tone(city),
                  label: city.sentence,
                }))}
              />
            ) : (
              <div class="map placeholder" />
            )}
            <section class="cities" aria-label="Cities">
              {data.cities.filter(isCity).map((city) => (
                <CityCard city={city} to={to} />
              ))}
            </section>
            {data.cities.filter((city) => !isCity(city) && city.application).map((bot) => (
              <p class="quiet">
                The <a href={to("city", bot.name)}>server bot</a> beside the main server: {bot.application!.metric.replaceAll("_", " ")} {ms(bot.application!.app_ms)}, network {ms(bot.application!.network_ms)}.
              </p>
            ))}
            <h2>Changed in the last day</h2>
            {data.changes.length === 0 ? (
              <p class="quiet">No verdict changed.</p>
            ) : (
              <Table
                caption="Verdicts that changed"
                rows={data.changes}
                columns={[
                  { name: "when", cell: (change) => moment(change.at, context.utc) },
                  { name: "city", cell: (change) => <a href={to("rtp", change.worker)}>{change.worker}</a> },
                  { name: "way", cell: (change) => `${change.direction} ${change.family}` },
                  { name: "what", cell: (change) => change.what },
                  { name: "was", cell: (change) => change.from },
                  { name: "is", cell: (change) => change.to },
                ]}
              />
            )}
          </>
        )}
      </Shown>
    </>
  );
}

function CityCard({ city, to }: { city: City; to: (page: string, name: string) => string }) {
  const up = city.ways.find((way) => way.direction === "up");
  const down = city.ways.find((way) => way.direction === "down");
  const app = city.application;
  const marks = [...new Set(city.marks.map((mark) => (mark.pathology !== "none" && mark.pathology !== "inconclusive" ? mark.pathology : `ECN ${mark.ecn}`)))];
  return (
    <article class={`card city ${tone(city)}`}>
      <header>
        <h2>
          <a href={to("rtp", city.name)}>{city.name}</a>
        </h2>
        <span class={`badge ${city.state === "measuring" ? "clean" : "open"}`}>{STATES[city.state]}</span>
      </header>
      <p class="sentence">{city.sentence}</p>
      {app && (
        <div class="split">
          <a href={to("city", city.name)}>
            {app.metric.replaceAll("_", " ")} {ms(app.app_ms)}
          </a>
          <Split network={app.network_ms} total={app.app_ms} />
        </div>
      )}
      <dl>
        <div>
          <dt>up</dt>
          <dd>
            {ms(up?.owd_ms)} <span class="unit">± {ms(up?.owd_uncertainty_ms)}</span>
          </dd>
        </div>
        <div>
          <dt>down</dt>
          <dd>
            {ms(down?.owd_ms)} <span class="unit">± {ms(down?.owd_uncertainty_ms)}</span>
          </dd>
        </div>
        <div>
          <dt>lost up, down</dt>
          <dd>
            {percent(up?.lost ?? 0, up?.sent ?? 0)}, {percent(down?.lost ?? 0, down?.sent ?? 0)}
          </dd>
        </div>
        <div>
          <dt>marks</dt>
          <dd>{marks.length ? marks.join(", ") : city.ways.length ? "as sent" : "–"}</dd>
        </div>
        <div>
          <dt>verdicts</dt>
          <dd>{city.verdicts.length ? `${city.verdicts.length} found` : "none found"}</dd>
        </div>
      </dl>
    </article>
  );
}

// The network's part of an application's latency, and the rest.
export function Split({ network, total }: { network: number | null; total: number }) {
  const part = network === null ? 0 : Math.min(100, (100 * network) / Math.max(total, 1e-9));
  return (
    <svg class="splitbar" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label={network === null ? "network part unknown" : `network ${ms(network)} of ${ms(total)}`}>
      <rect class="rest" x="0" y="0" width="100" height="6" />
      <rect class="network" x="0" y="0" width={part} height="6" />
    </svg>
  );
}
