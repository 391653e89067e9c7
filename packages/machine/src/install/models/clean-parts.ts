import type { Clock } from "@holdfast/runtime";
import { withFileLock } from "@holdfast/runtime/host";
import { findStaleParts, partPlace, removePart, type StalePart } from "./part-store.ts";

const HOUR_MS = 3_600_000;

/** A part that nobody wants, in words, and how it goes. */
export interface UnwantedPart {
  readonly what: string;
  readonly paths: readonly string[];
  /** Rejects when somebody is fetching it: then it stays. */
  readonly remove: () => Promise<void>;
}

/** Parts of downloads that no model wants any more. */
export async function unwantedParts(
  folder: string,
  wanted: ReadonlySet<string>,
  clock: Clock,
): Promise<readonly UnwantedPart[]> {
  return (await findStaleParts(folder, wanted)).map((stale) => {
    const place = partPlace(folder, stale.sha256);
    return {
      what: words(stale, clock.now()),
      paths: [place.part, place.record],
      // With the lock that a download holds: one of another manifest may be at work, or just begin.
      remove: () => withFileLock(place.lock, { clock, timeoutMs: 0 }, () => removePart(place)),
    };
  });
}

function words({ sha256, changedAt }: StalePart, now: number): string {
  const age =
    changedAt === null
      ? ""
      : `untouched for ${Math.max(0, Math.floor((now - changedAt) / HOUR_MS))} h, `;
  return `part of a download that no model wants (${age}sha256 ${sha256.slice(0, 12)})`;
}
