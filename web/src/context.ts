// What every page is given.
import type { Schemas } from "./api/client";
import type { Range } from "./time";
import type { Place } from "./url";

export interface Context {
  place: Place;
  state: Schemas["State"];
  range: Range;
  // What the range is compared with, as long as it; null: nothing.
  before: Range | null;
  utc: boolean;
  // Rises when to ask again.
  tick: number;
}

// Whole minutes: a range that keeps up with the present then asks the same question until there is a new answer.
export const asked = (range: Range) => ({ since: Math.floor(range.since), until: Math.ceil(range.until) });
export const city = (context: Context) => context.place.city ?? context.state.workers[0] ?? "";
