// The pages' shell: navigation, range, theme, login; and which page is shown.
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { Refused, type Schemas, get, send } from "./api/client";
import type { Context } from "./context";
import { useLive } from "./live";
import { Bar } from "./parts/bar";
import { Login, loginToken } from "./parts/login";
import { Loading, Note, Outside } from "./parts/states";
import { Applications } from "./pages/applications";
import { Data } from "./pages/data";
import { DiscordCity } from "./pages/discord-city";
import { Libraries } from "./pages/libraries";
import { Media } from "./pages/media";
import { Now } from "./pages/now";
import { PathPage } from "./pages/path";
import { Rtp } from "./pages/rtp";
import { Workers } from "./pages/workers";
import { applyTheme, storedTheme } from "./theme";
import { beforeOf, isUtc, rangeOf } from "./time";
import { usePlace } from "./url";

// Before anything is shown: it takes the token out of the address.
const TOKEN = loginToken();

const PAGES: Record<string, (context: Context) => preact.JSX.Element> = {
  now: Now,
  rtp: Rtp,
  discord: Applications,
  city: DiscordCity,
  libraries: Libraries,
  media: Media,
  path: PathPage,
  workers: Workers,
  data: Data,
};

function App() {
  const [state, setState] = useState<Schemas["State"] | null>(null);
  const [refused, setRefused] = useState<Refused | null>(null);
  const [wantsLogin, setWantsLogin] = useState(false);
  const place = usePlace();
  const ask = () =>
    get("/api/v1/view/state", {}).then(
      (found) => {
        setState(found);
        setRefused(null);
        setWantsLogin(false);
      },
      (error: unknown) => setRefused(error instanceof Refused ? error : new Refused(0, "unreachable", "the server cannot be reached")),
    );
  useEffect(() => {
    const begin = TOKEN ? send("POST", "api/v1/view/login", { token: TOKEN }).catch(() => undefined) : Promise.resolve();
    void begin.then(ask);
    const again = () => setWantsLogin(true);
    addEventListener("netlat-login", again);
    return () => removeEventListener("netlat-login", again);
  }, []);
  const live = useLive(state?.now ?? 0, state === null);
  useEffect(() => {
    if (live.tick > 0 && live.tick % 6 === 0) void ask();
  }, [live.tick]);

  if (wantsLogin || refused?.status === 401) return <Login onDone={ask} refused={refused} />;
  if (state === null) {
    return refused ? (
      <main>
        <Note kind="error">
          {refused.message}. <button type="button" onClick={ask}>Try again</button>
        </Note>
      </main>
    ) : (
      <main>
        <Loading />
      </main>
    );
  }
  const range = rangeOf(place, Math.max(live.now, state.now));
  const before = beforeOf(place, range);
  const context: Context = { place, state, range, before, utc: isUtc(place), tick: range.preset ? live.tick : 0 };
  const Page = PAGES[place.page];
  return (
    <>
      <Bar context={context} connected={live.connected} onLogin={() => setWantsLogin(true)} />
      <main id="main" tabIndex={-1}>
        <Outside range={range} first={state.first} last={state.last} utc={context.utc} />
        {Page ? <Page {...context} key={`${place.page}/${place.city}`} /> : <Note kind="warn">There is no page “{place.page}”.</Note>}
      </main>
      <footer>
        NetLat {state.version}. Drawn from sums of a minute, or of an hour where the range is longer than two days (on Now than six hours); minimum and
        maximum are exact, quantiles within 1 %. Verdicts speak of the path to this server, not to Discord.
      </footer>
    </>
  );
}

applyTheme(storedTheme());
const root = document.getElementById("app")!;
root.textContent = "";
render(<App />, root);
