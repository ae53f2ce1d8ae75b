// Who measures and what; tasks are started and stopped here by whoever has the right.
import { useState } from "preact/hooks";
import { Refused, type Schemas, send } from "../api/client";
import type { Context } from "../context";
import { useData } from "../data";
import { Note, Shown } from "../parts/states";
import { Table } from "../parts/table";
import { bytes, moment, ms, span } from "../time";
import { link } from "../url";

type Task = Schemas["Task"];

export function Workers(context: Context) {
  const [turn, setTurn] = useState(0);
  const found = useData("/api/v1/view/workers", {}, context.tick + turn);
  const [problem, setProblem] = useState<Refused | null>(null);
  const { state, place, utc } = context;
  const mayAct = state.live && state.role === "admin";
  const act = async (method: "POST" | "DELETE", path: string, body?: unknown) => {
    try {
      await send(method, path, body);
      setProblem(null);
      setTurn((n) => n + 1);
    } catch (error) {
      setProblem(error instanceof Refused ? error : new Refused(0, "unreachable", "the server cannot be reached"));
    }
  };
  return (
    <>
      <h1>Workers</h1>
      {problem && <Note kind="error">{problem.message}</Note>}
      <Shown asked={found} isEmpty={() => false} empty="">
        {(data) => (
          <>
            <Table
              caption="Workers"
              rows={data.workers}
              columns={[
                { name: "worker", cell: (one) => <a href={link(place, "rtp", one.name)}>{one.name}</a> },
                { name: "heard of", cell: (one) => (one.silent_s === null ? "never" : `${span(one.silent_s)} ago`) },
                { name: "spool", isNumber: true, cell: (one) => (one.waiting_bytes === null ? "–" : one.waiting_bytes === 0 ? "empty" : bytes(one.waiting_bytes)) },
                { name: "version", cell: (one) => one.version || "–" },
                { name: "clock offset", isNumber: true, cell: (one) => ms(one.clock?.offset_ms) },
                { name: "±", isNumber: true, cell: (one) => ms(one.clock?.uncertainty_ms) },
                { name: "skew", isNumber: true, cell: (one) => (one.clock ? `${one.clock.skew_ppm.toFixed(2)} ppm` : "–") },
                { name: "steps", isNumber: true, cell: (one) => one.clock?.steps ?? "–" },
                { name: "sessions", cell: (one) => sessions(one.sessions) },
                { name: "joined", cell: (one) => moment(one.joined_at, utc, false) + (one.ephemeral ? " (one measurement)" : "") },
              ]}
            />
            {data.workers.length === 0 && <Note kind="info">No worker has joined. The server prints a join string for the first.</Note>}
            <Notes workers={data.workers} />
            <h2>Tasks</h2>
            {data.tasks.length === 0 ? (
              <p class="quiet">None: every worker runs its default (rtp, udp, http, dns in four classes, at most 200 MB a day).</p>
            ) : (
              <Table
                caption="Tasks"
                rows={data.tasks}
                columns={[
                  { name: "task", cell: (task) => task.id },
                  { name: "worker", cell: (task) => task.worker ?? "all" },
                  { name: "kinds", cell: (task) => task.spec.kinds?.join(", ") ?? "–" },
                  { name: "classes", cell: (task) => classes(task) },
                  { name: "packets/s", isNumber: true, cell: (task) => task.spec.rate_pps },
                  { name: "direction", cell: (task) => task.spec.direction },
                  { name: "compares", cell: (task) => (task.spec.shaping ? "yes" : "no") },
                  ...(mayAct
                    ? [{ name: "stop", cell: (task: Task) => <button type="button" onClick={() => void act("DELETE", `api/v1/view/tasks/${encodeURIComponent(task.id)}`)}>Stop {task.id}</button> }]
                    : []),
                ]}
              />
            )}
            {mayAct ? (
              <NewTask workers={data.workers.map((one) => one.name)} onStart={(task) => void act("POST", "api/v1/view/tasks", task)} />
            ) : (
              <p class="quiet">
                {state.live ? (
                  <>
                    To start and stop tasks, log in with the link of <code>netlat server login --admin</code>.
                  </>
                ) : (
                  "No server runs on this data, so nothing can be started."
                )}
              </p>
            )}
            <h2>Storage and drops</h2>
            <p>
              {data.storage.samples.toLocaleString("en")} samples; database {bytes(data.storage.database_bytes)}, {data.storage.segments} segments of {bytes(data.storage.segment_bytes)}.
            </p>
            {Object.keys(data.counters).length > 0 && (
              <Table
                caption="What was dropped since the data directory was made"
                rows={Object.entries(data.counters)}
                columns={[
                  { name: "reason", cell: ([name]) => name },
                  { name: "count", isNumber: true, cell: ([, count]) => count },
                ]}
              />
            )}
          </>
        )}
      </Shown>
    </>
  );
}

function sessions(all: Schemas["Session"][]): string {
  const kinds = [...new Set(all.map((one) => one.kind))];
  return all.length ? `${all.length}: ${kinds.join(", ")}` : "none open";
}

function classes(task: Task): string {
  const dscp = task.spec.dscp ?? [];
  const shown = dscp.length > 8 ? `${dscp.length} DSCP` : `DSCP ${dscp.join(", ")}`;
  const ecn = task.spec.ecn ?? [0];
  return ecn.length > 1 || ecn[0] !== 0 ? `${shown}; ECN ${ecn.join(", ")}` : shown;
}

function Notes({ workers }: { workers: Schemas["Worker"][] }) {
  const notes = workers.flatMap((one) => [...new Set(one.sessions.flatMap((session) => session.notes))].map((note) => `${one.name}: ${note}`));
  if (notes.length === 0) return null;
  return (
    <details>
      <summary>Notes of the sessions ({notes.length})</summary>
      <ul>
        {notes.map((note) => (
          <li>{note}</li>
        ))}
      </ul>
    </details>
  );
}

const KINDS = ["rtp", "udp", "dns", "http", "tls", "icmp"];

function NewTask({ workers, onStart }: { workers: string[]; onStart: (task: Schemas["NewTask"]) => void }) {
  const [bad, setBad] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const text = (name: string) => String(form.get(name) ?? "").trim();
    const dscp = text("dscp") === "all" ? [...Array(64).keys()] : text("dscp").split(",").map(Number);
    if (dscp.some((code) => !Number.isInteger(code) || code < 0 || code > 63)) return setBad("DSCP: numbers from 0 to 63 with commas, or all");
    const kinds = KINDS.filter((kind) => form.get(kind) !== null);
    if (kinds.length === 0) return setBad("Choose at least one kind.");
    setBad("");
    const spec = {
      kinds,
      dscp,
      rate_pps: Number(text("rate")),
      direction: text("direction"),
      ...(form.get("shaping") !== null ? { shaping: {} } : {}),
    } as Schemas["TaskSpec"];
    onStart({ ...(text("id") ? { id: text("id") } : {}), ...(text("worker") ? { worker: text("worker") } : {}), spec });
  };
  return (
    <form class="card newtask" onSubmit={submit}>
      <h3>Start a task</h3>
      <label>
        name <input name="id" pattern="[A-Za-z0-9\-]{1,63}" placeholder="chosen by the server" />
      </label>
      <label>
        worker
        <select name="worker">
          <option value="">all</option>
          {workers.map((one) => (
            <option value={one}>{one}</option>
          ))}
        </select>
      </label>
      <fieldset>
        <legend>kinds</legend>
        {KINDS.map((kind) => (
          <label>
            <input type="checkbox" name={kind} checked={kind === "rtp" || kind === "udp"} /> {kind}
          </label>
        ))}
      </fieldset>
      <label>
        DSCP <input name="dscp" value="0,34,46,54" required />
      </label>
      <label>
        packets/s <input name="rate" type="number" min="0.1" max="10000" step="0.1" value="20" required />
      </label>
      <label>
        direction
        <select name="direction">
          <option>both</option>
          <option>up</option>
          <option>down</option>
        </select>
      </label>
      <label>
        <input type="checkbox" name="shaping" /> also compare the classes
      </label>
      <button type="submit">Start</button>
      {bad && <p role="alert">{bad}</p>}
    </form>
  );
}
