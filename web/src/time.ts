// Ranges of time and how moments and spans are written.
import { change, type Place } from "./url";

export const PRESETS: [string, number][] = [
  ["15m", 900],
  ["1h", 3600],
  ["6h", 21600],
  ["24h", 86400],
  ["7d", 604800],
  ["30d", 2592000],
];

export interface Range {
  since: number;
  until: number;
  // The preset that keeps up with the present; null: a fixed stretch.
  preset: string | null;
}

export function rangeOf(place: Place, now: number): Range {
  const since = Number(place.params.get("since"));
  const until = Number(place.params.get("until"));
  if (since > 0 && until > since) return { since, until, preset: null };
  const preset = PRESETS.find(([name]) => name === place.params.get("range")) ?? PRESETS[1]!;
  return { since: now - preset[1], until: now, preset: preset[0] };
}

// So long before the range, by name; or the moment, in seconds, at which the compared range begins.
export const BEFORE: [string, number][] = [
  ["1h", 3600],
  ["24h", 86400],
  ["7d", 604800],
];

// The second range, as long as the first; null: none is asked for.
export function beforeOf(place: Place, range: Range): Range | null {
  const asked = place.params.get("vs");
  if (!asked) return null;
  const length = range.until - range.since;
  const named = BEFORE.find(([name]) => name === asked);
  const since = named ? range.since - named[1] : Number(asked);
  return since > 0 ? { since, until: since + length, preset: null } : null;
}

export const choosePreset = (name: string) => change({ range: name, since: null, until: null });
export const chooseRange = (since: number, until: number) =>
  change({ since: String(Math.floor(since)), until: String(Math.ceil(until)), range: null });

export const isUtc = (place: Place) => place.params.get("tz") !== "local";

const pad = (n: number) => String(n).padStart(2, "0");

// 2026-01-31 12:00:00, in UTC or in the browser's zone.
export function moment(seconds: number, utc: boolean, withSeconds = true): string {
  const d = new Date(seconds * 1000);
  const [y, mo, da, h, mi, s] = utc
    ? [d.getUTCFullYear(), d.getUTCMonth(), d.getUTCDate(), d.getUTCHours(), d.getUTCMinutes(), d.getUTCSeconds()]
    : [d.getFullYear(), d.getMonth(), d.getDate(), d.getHours(), d.getMinutes(), d.getSeconds()];
  return `${y}-${pad(mo! + 1)}-${pad(da!)} ${pad(h!)}:${pad(mi!)}${withSeconds ? `:${pad(s!)}` : ""}`;
}

// `2026-01-31 12:00`, also with T and Z; null where it is none.
export function parseMoment(text: string, utc: boolean): number | null {
  const plain = text.trim().replace(" ", "T").replace(/Z$/, "");
  if (!/^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?)?$/.test(plain)) return null;
  const full = plain.includes("T") ? plain : `${plain}T00:00`;
  const ms = Date.parse(utc ? `${full}Z` : full);
  return Number.isNaN(ms) ? null : Math.floor(ms / 1000);
}

export function span(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function ms(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return `${value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3)} ms`;
}

export function percent(part: number, whole: number): string {
  if (whole === 0) return "–";
  const share = (100 * part) / whole;
  return `${share === 0 ? "0" : share < 1 ? share.toFixed(2) : share.toFixed(1)} %`;
}

export function bytes(n: number): string {
  if (n >= 1e9) return `${(n / 1e9).toFixed(1)} GB`;
  if (n >= 1e6) return `${(n / 1e6).toFixed(1)} MB`;
  return `${(n / 1e3).toFixed(0)} kB`;
}
