// Hops of one city's paths, and the mark that each quotes.
import type { Schemas } from "../api/client";
import { type Context, city } from "../context";
import { useData } from "../data";
import { dscpName, ecnName } from "../parts/matrix";
import { Note, Shown } from "../parts/states";
import { Table } from "../parts/table";
import { moment, ms } from "../time";

type Traced = Schemas["Traced"];
type Mark = Schemas["Mark"];

export function PathPage(context: Context) {
  const worker = city(context);
  const found = useData("/api/v1/view/path", { worker }, context.tick);
  return (
    <>
      <h1>Path of {worker}</h1>
      <p class="quiet">
        Traced at most once an hour, and only where marks change. The way back is seen as far as routers answer the server, seldom behind a NAT.
      </p>
      <Shown
        asked={found}
        isEmpty={(data) => data.paths.length === 0}
        empty={
          <>
            No path of {worker} was traced: none of its marks changes, or neither worker nor server has CAP_NET_RAW. <code>sudo netlat path HOST</code> traces by hand.
          </>
        }
      >
        {(data) => (
          <>
            {data.paths.map((traced) => (
              <One traced={traced} utc={context.utc} />
            ))}
          </>
        )}
      </Shown>
    </>
  );
}

// `EF (46) → CS0 (0)`; the same mark once.
function quoted(mark: Mark): string {
  const sent = `${dscpName(mark.dscp_sent)}${mark.ecn_sent ? ` ${ecnName(mark.ecn_sent)}` : ""}`;
  const got = `${dscpName(mark.dscp_quoted)}${mark.ecn_quoted ? ` ${ecnName(mark.ecn_quoted)}` : ""}`;
  return sent === got ? sent : `${sent} → ${got}`;
}

function One({ traced, utc }: { traced: Traced; utc: boolean }) {
  const { trace } = traced;
  return (
    <section class="card">
      <h2>
        {traced.direction} {traced.family}
      </h2>
      <p class="quiet">Traced {moment(traced.at, utc)}.</p>
      {traced.problem && <Note kind="info">{traced.problem}</Note>}
      {traced.changes.map((change) => (
        <p class="sentence">
          {dscpName(change.dscp_before)}
          {change.ecn_before ? ` ${ecnName(change.ecn_before)}` : ""} becomes {dscpName(change.dscp_after)}
          {change.ecn_after ? ` ${ecnName(change.ecn_after)}` : ""} after hop {change.where.after_hop}, by hop {change.where.by_hop}
          {change.at_destination ? " (the destination)" : ""}.{change.note ? ` ${change.note}` : ""}
        </p>
      ))}
      {trace && (
        <>
          <Table
            caption={`Hops ${traced.direction} ${traced.family}`}
            rows={trace.hops}
            columns={[
              { name: "hop", cell: (hop) => hop.hop },
              {
                name: "address",
                cell: (hop) => (hop.silent ? "silent" : hop.addresses.join(", ")) + (hop.destination ? " (destination)" : "") + (hop.translated ? " (behind a NAT)" : "") + (hop.refuses ? " (refuses)" : ""),
              },
              { name: "RTT", isNumber: true, cell: (hop) => ms(hop.rtt_ms?.min) },
              { name: "answered", isNumber: true, cell: (hop) => `${hop.answered} of ${hop.sent}` },
              {
                name: "marks quoted",
                cell: (hop) => (
                  <ul class="marks">
                    {hop.marks.map((mark) => (
                      <li class={mark.dscp_sent === mark.dscp_quoted && mark.ecn_sent === mark.ecn_quoted ? "" : "changed"}>{quoted(mark)}</li>
                    ))}
                  </ul>
                ),
              },
            ]}
          />
          {trace.notes.map((note) => (
            <p class="quiet">{note}</p>
          ))}
        </>
      )}
    </section>
  );
}
