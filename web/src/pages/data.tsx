// What is shown, to take along: files, the calls that give them, and a link to this view.
import { useState } from "preact/hooks";
import { urlOf } from "../api/client";
import { type Context, asked, city } from "../context";
import { href } from "../url";

export function Data(context: Context) {
  const { place, range } = context;
  const worker = city(context);
  const { since, until } = asked(range);
  const of = { since, until, worker };
  const files: [string, string, string][] = [
    ["Samples as Parquet", urlOf("api/v1/view/samples", { ...of, format: "parquet" }), "every probe as it is; DuckDB, Polars and pandas read it; of a day at most"],
    ["Samples as CSV", urlOf("api/v1/view/samples", { ...of, format: "csv" }), "the same; of a day and 64 MiB at most"],
    ...(["up", "down"] as const).map((direction): [string, string, string] => [
      `RTP ${direction} over time as CSV`,
      urlOf("api/v1/view/series", { ...of, kind: "rtp", direction, family: "ipv4", classes: "0,34,46,54", format: "csv" }),
      "what the chart of RTP and ToS draws",
    ]),
  ];
  const calls: [string, string][] = [
    ["Now", urlOf("api/v1/view/cities", { since, until })],
    ["Classes", urlOf("api/v1/view/classes", of)],
    ["Marks", urlOf("api/v1/view/marks", of)],
    ["IPDV", urlOf("api/v1/view/variation", of)],
    ["Verdicts", urlOf("api/v1/view/verdicts", of)],
    ["Path", urlOf("api/v1/view/path", { worker })],
    ["Discord latency", urlOf("api/v1/view/applications", of)],
    ["Voice hosts", urlOf("api/v1/view/media", of)],
    ["Workers", "api/v1/view/workers"],
    ["Description of all of them (OpenAPI)", "api/v1/view/openapi.json"],
    ["Prometheus", "metrics"],
  ];
  const fixed = new URLSearchParams(place.params);
  fixed.delete("range");
  fixed.set("since", String(since));
  fixed.set("until", String(until));
  const link = new URL(href(place.page, worker, fixed), location.href).href;
  const [copied, setCopied] = useState(false);
  return (
    <>
      <h1>Data of {worker}</h1>
      <h2>Files</h2>
      <ul class="plainlist">
        {files.map(([name, url, what]) => (
          <li>
            <a href={url} download>
              {name}
            </a>{" "}
            <span class="quiet">{what}</span>
          </li>
        ))}
      </ul>
      <p class="quiet">
        Longer ranges: <code>netlat export --worker {worker} --format parquet --out samples.parquet</code> on the server's host.
      </p>
      <h2>Calls</h2>
      <ul class="plainlist">
        {calls.map(([name, url]) => (
          <li>
            {name}: <a href={url}><code>{`GET /${url}`}</code></a>
          </li>
        ))}
      </ul>
      <h2>Permanent link</h2>
      <p>
        <a href={link}><code>{link}</code></a>{" "}
        <button
          type="button"
          onClick={() => void navigator.clipboard.writeText(link).then(() => setCopied(true))}
        >
          {copied ? "Copied" : "Copy"}
        </button>
      </p>
    </>
  );
}
