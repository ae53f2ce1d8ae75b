// What a page asked for: loading, there, there but old, or refused. What is shown stays while it is asked for again.
import { useEffect, useState } from "preact/hooks";
import { type Answer, type Get, type Query, Refused, get, urlOf } from "./api/client";
import { type Context, asked } from "./context";

export interface Asked<T> {
  data: T | null;
  error: Refused | null;
  loading: boolean;
}

// `identity`: when it changes, what was shown is another thing and goes.
export function useData<P extends Get>(path: P | null, query: Query, tick: number): Asked<Answer<P>> {
  const [state, set] = useState<Asked<Answer<P>> & { of: string }>({ data: null, error: null, loading: true, of: "" });
  const key = path === null ? "" : urlOf(path, query);
  // The same question about a later time keeps its answer meanwhile.
  const of = path === null ? "" : urlOf(path, { ...query, since: null, until: null });
  useEffect(() => {
    if (path === null) return;
    const abort = new AbortController();
    set((old) => (old.of === of ? { ...old, loading: true } : { data: null, error: null, loading: true, of }));
    get(path, query, abort.signal).then(
      (data) => set({ data, error: null, loading: false, of }),
      (error: unknown) => {
        if (abort.signal.aborted) return;
        const refused =
          error instanceof Refused ? error : new Refused(0, "unreachable", "the server cannot be reached");
        set((old) => ({ data: old.data, error: refused, loading: false, of }));
        if (refused.status === 401) dispatchEvent(new Event("netlat-login"));
      },
    );
    return () => abort.abort();
  }, [key, tick]);
  return state;
}

// The same question about the range that is compared with; nothing where none is.
export function useBefore<P extends Get>(path: P, context: Context, query: Query): Answer<P> | null {
  const { before, range, tick } = context;
  const found = useData(before ? path : null, { ...asked(before ?? range), ...query }, tick);
  return before ? found.data : null;
}

// Rounding may have cut the earlier range elsewhere: bucket by bucket from the start.
export const beside = (before: (number | null)[], buckets: number) =>
  Array.from({ length: buckets }, (_, index) => before[index] ?? null);
