// What is said where there is nothing to show, or not yet, or not any more.
import type { ComponentChildren } from "preact";
import type { Asked } from "../data";
import { type Range, chooseRange, moment } from "../time";

export function Note({ kind, children }: { kind: "info" | "warn" | "error"; children: ComponentChildren }) {
  return (
    <div class={`note ${kind}`} role={kind === "error" ? "alert" : "status"}>
      {children}
    </div>
  );
}

export function Loading() {
  return (
    <div class="loading" role="status" aria-label="Loading">
      <span class="bar" />
      <span class="bar short" />
      <span class="bar" />
    </div>
  );
}

interface Props<T> {
  asked: Asked<T>;
  isEmpty: (data: T) => boolean;
  empty: ComponentChildren;
  children: (data: T) => ComponentChildren;
}

// An error beside old data says that it is old; an error without data says what to do.
export function Shown<T>({ asked, isEmpty, empty, children }: Props<T>) {
  const { data, error, loading } = asked;
  if (data === null) {
    if (error) {
      return (
        <Note kind="error">
          {error.message}. {error.status === 0 ? "Is the server running? The page asks again by itself." : ""}
        </Note>
      );
    }
    return loading ? <Loading /> : null;
  }
  return (
    <>
      {error && <Note kind="warn">Not up to date: {error.message}. What is shown is the last answer.</Note>}
      {isEmpty(data) ? <Note kind="info">{empty}</Note> : children(data)}
    </>
  );
}

interface StaleProps {
  range: Range;
  first: number | null;
  last: number | null;
  utc: boolean;
}

// The range lies outside of all there is: one step leads to where there is something.
export function Outside({ range, first, last, utc }: StaleProps) {
  if (first === null || last === null) {
    return (
      <Note kind="info">
        Nothing was measured yet. Start a worker with <code>netlat worker --join …</code>; the server prints the join
        string, and <code>netlat server join</code> a fresh one.
      </Note>
    );
  }
  if (range.since < last && range.until > first) return null;
  const span = range.until - range.since;
  return (
    <Note kind="warn">
      No data in this range: the newest is of {moment(last, utc)}.{" "}
      <button type="button" onClick={() => chooseRange(Math.max(last - span, first), last)}>
        Show the newest
      </button>
    </Note>
  );
}
