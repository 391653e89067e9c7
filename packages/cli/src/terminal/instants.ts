import { parseInstant } from "@holdfast/fleet";
import { parseDuration } from "./durations.ts";

/**
 * Epoch ms of an instant as a person types it: so long ago (`2h`, `10min`), or a date with or without a
 * time, of this host's zone where it names none. Undefined for anything else, and for a day that its month
 * does not have. `now` is epoch ms.
 */
export function parseWhen(text: string, now: number): number | undefined {
  if (/^\d+(?:\.\d+)?\s*[a-z]+$/i.test(text.trim())) {
    const agoMs = parseDuration(text);
    return agoMs === undefined ? undefined : now - agoMs;
  }
  // `Date.parse` takes February 30 for March 2.
  const day = /^\d{4}-\d{2}-\d{2}/.exec(text)?.[0];
  if (day !== undefined && parseInstant(`${day}T00:00Z`) === undefined) return undefined;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : at;
}
