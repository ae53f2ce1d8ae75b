// News from the server: one connection for all of the page. Without it (an old proxy, a server that ended) the page asks by itself.
import { useEffect, useState } from "preact/hooks";

// Faster than this nobody reads, and each refresh costs the server a query.
const PACE_MS = 5000;
const ASK_ANYWAY_MS = 30000;

export interface Live {
  // Rises whenever what is shown should be asked for again.
  tick: number;
  connected: boolean;
  // The server's present, in seconds.
  now: number;
}

export function useLive(serverNow: number, paused: boolean): Live {
  const [live, set] = useState<Live>({ tick: 0, connected: true, now: serverNow });
  useEffect(() => {
    if (paused) return;
    const offset = serverNow - Date.now() / 1000;
    const now = () => Math.floor(Date.now() / 1000 + offset);
    let last = Date.now();
    let waiting: ReturnType<typeof setTimeout> | undefined;
    const refresh = () => {
      last = Date.now();
      waiting = undefined;
      if (!document.hidden) set((old) => ({ ...old, tick: old.tick + 1, now: now() }));
    };
    const soon = () => {
      waiting ??= setTimeout(refresh, Math.max(0, last + PACE_MS - Date.now()));
    };
    const events = new EventSource("api/v1/view/events");
    events.addEventListener("data", soon);
    events.addEventListener("open", () => set((old) => ({ ...old, connected: true })));
    events.addEventListener("error", () => set((old) => ({ ...old, connected: false })));
    document.addEventListener("visibilitychange", soon);
    const anyway = setInterval(soon, ASK_ANYWAY_MS);
    return () => {
      events.close();
      document.removeEventListener("visibilitychange", soon);
      clearInterval(anyway);
      clearTimeout(waiting);
    };
  }, [serverNow, paused]);
  return live;
}
