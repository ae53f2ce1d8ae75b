// Navigation, city, range of time, zone, theme.
import { useEffect, useState } from "preact/hooks";
import { send } from "../api/client";
import { type Context, city } from "../context";
import { type Theme, applyTheme, storedTheme } from "../theme";
import { BEFORE, PRESETS, choosePreset, chooseRange, moment, parseMoment, span } from "../time";
import { change, link } from "../url";

const PAGES: { page: string; name: string; ofCity: boolean }[] = [
  { page: "now", name: "Now", ofCity: false },
  { page: "discord", name: "Discord latency", ofCity: false },
  { page: "city", name: "Discord of a city", ofCity: true },
  { page: "libraries", name: "Libraries", ofCity: false },
  { page: "media", name: "DNS and media", ofCity: true },
  { page: "rtp", name: "RTP and ToS", ofCity: true },
  { page: "path", name: "Path", ofCity: true },
  { page: "workers", name: "Workers", ofCity: false },
  { page: "data", name: "Data", ofCity: true },
];

interface Props {
  context: Context;
  connected: boolean;
  onLogin: () => void;
}

export function Bar({ context, connected, onLogin }: Props) {
  const { place, state, utc } = context;
  const current = PAGES.find(({ page }) => page === place.page);
  return (
    <header class="bar">
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}>
        Skip to the page
      </a>
      <nav aria-label="Pages">
        <a class="brand" href={link(place, "now", null)}>
          NetLat
        </a>
        <ul>
          {PAGES.map(({ page, name, ofCity }) => (
            <li>
              <a
                href={link(place, page, ofCity ? city(context) : null)}
                aria-current={page === place.page ? "page" : undefined}
              >
                {name}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <div class="tools">
        {current?.ofCity && (
          <label>
            <span class="hidden">City</span>
            <select value={city(context)} onChange={(event) => (location.hash = link(place, place.page, event.currentTarget.value))}>
              {state.workers.map((name) => (
                <option value={name}>{name}</option>
              ))}
            </select>
          </label>
        )}
        <RangePicker context={context} />
        <Compared context={context} />
        <button type="button" class="plain" onClick={() => change({ tz: utc ? "local" : null })} aria-label="Time zone">
          {utc ? "UTC" : "local"}
        </button>
        <ThemeButton />
        {state.live && state.role === "viewer" && (
          <button type="button" class="plain" onClick={onLogin}>
            Log in
          </button>
        )}
        {state.role === "admin" && (
          <button type="button" class="plain" onClick={() => void send("DELETE", "api/v1/view/login").then(() => location.reload())}>
            Log out
          </button>
        )}
        <span class={`live ${context.range.preset && connected ? "on" : ""}`} role="status">
          {!context.range.preset ? "fixed range" : connected ? "live" : "connecting…"}
        </span>
      </div>
    </header>
  );
}

function ThemeButton() {
  const [theme, set] = useState<Theme>(storedTheme());
  const next: Record<Theme, Theme> = { auto: "dark", dark: "light", light: "auto" };
  const choose = () => {
    applyTheme(next[theme]);
    set(next[theme]);
  };
  return (
    <button type="button" class="plain" onClick={choose} aria-label="Colours">
      {theme}
    </button>
  );
}

function RangePicker({ context }: { context: Context }) {
  const { range, utc, place } = context;
  const [since, setSince] = useState("");
  const [until, setUntil] = useState("");
  const [bad, setBad] = useState(false);
  useEffect(() => {
    setSince(moment(range.since, utc, false));
    setUntil(moment(range.until, utc, false));
    setBad(false);
  }, [range.preset, place.params.get("since"), place.params.get("until"), utc]);
  const submit = (event: Event) => {
    event.preventDefault();
    const [from, to] = [parseMoment(since, utc), parseMoment(until, utc)];
    if (from === null || to === null || from >= to) return setBad(true);
    chooseRange(from, to);
  };
  return (
    <div class="range">
      <div class="presets" role="group" aria-label="Range">
        {PRESETS.map(([name]) => (
          <button type="button" aria-pressed={range.preset === name} onClick={() => choosePreset(name)}>
            {name}
          </button>
        ))}
      </div>
      <details class="typed">
        <summary>{range.preset ? "Other" : `${moment(range.since, utc, false)}, ${span(range.until - range.since)}`}</summary>
        <form onSubmit={submit}>
          <label>
            From
            <input value={since} onInput={(event) => setSince(event.currentTarget.value)} aria-invalid={bad} />
          </label>
          <label>
            To
            <input value={until} onInput={(event) => setUntil(event.currentTarget.value)} aria-invalid={bad} />
          </label>
          <button type="submit">Show</button>
          {bad && <p role="alert">Write both as 2026-01-31 12:00, From before To.</p>}
        </form>
      </details>
    </div>
  );
}

// A second range of the same length, drawn paler: so long before, or from any moment on.
function Compared({ context }: { context: Context }) {
  const { before, place, utc } = context;
  const named = BEFORE.find(([name]) => name === place.params.get("vs"))?.[0] ?? null;
  const [since, setSince] = useState("");
  const [bad, setBad] = useState(false);
  useEffect(() => {
    setSince(moment(before?.since ?? context.range.since - 86400, utc, false));
    setBad(false);
  }, [place.params.get("vs"), utc]);
  const submit = (event: Event) => {
    event.preventDefault();
    const from = parseMoment(since, utc);
    if (from === null || from <= 0) return setBad(true);
    change({ vs: String(from) });
  };
  return (
    <details class="typed">
      <summary>{before ? `vs ${named ? `${named} before` : moment(before.since, utc, false)}` : "Compare"}</summary>
      <form onSubmit={submit}>
        <div class="presets" role="group" aria-label="Compare with">
          <button type="button" aria-pressed={before === null} onClick={() => change({ vs: null })}>
            nothing
          </button>
          {BEFORE.map(([name]) => (
            <button type="button" aria-pressed={named === name} onClick={() => change({ vs: name })}>
              {name} before
            </button>
          ))}
        </div>
        <label>
          As long, from
          <input value={since} onInput={(event) => setSince(event.currentTarget.value)} aria-invalid={bad} />
        </label>
        <button type="submit">Compare</button>
        {bad && <p role="alert">Write it as 2026-01-31 12:00.</p>}
      </form>
    </details>
  );
}
