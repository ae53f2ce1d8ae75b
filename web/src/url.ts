// What is shown is in the address after '#', and only there: a link reproduces the view, and the server never sees it.
import { useEffect, useState } from "preact/hooks";

export interface Place {
  page: string;
  city: string | null;
  params: URLSearchParams;
}

export function parse(hash: string): Place {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [page = "", city = ""] = path.split("/");
  return { page: page || "now", city: city ? decodeURIComponent(city) : null, params: new URLSearchParams(query) };
}

export function href(page: string, city: string | null, params: URLSearchParams): string {
  const query = params.toString();
  return `#/${page}${city ? `/${encodeURIComponent(city)}` : ""}${query ? `?${query}` : ""}`;
}

// Time and zone go along from page to page; filters belong to the page that has them.
const KEPT = ["range", "since", "until", "tz", "vs"];

export function link(place: Place, page: string, city: string | null): string {
  const kept = new URLSearchParams();
  for (const name of KEPT) {
    const value = place.params.get(name);
    if (value !== null) kept.set(name, value);
  }
  return href(page, city, kept);
}

// Null removes a parameter. `replace` leaves no step for the browser's back button.
export function change(changes: Record<string, string | null>, replace = false): void {
  const place = parse(location.hash);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) place.params.delete(name);
    else place.params.set(name, value);
  }
  const next = href(place.page, place.city, place.params);
  if (replace) {
    history.replaceState(null, "", next);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = next;
  }
}

export function usePlace(): Place {
  const [place, set] = useState(() => parse(location.hash));
  useEffect(() => {
    const changed = () => set(parse(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return place;
}
