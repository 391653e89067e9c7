import type { Clock } from "@holdfast/runtime";
import { withFileLock } from "@holdfast/runtime/host";
import { findStaleParts, partPlace, removePart, type StalePart } from "./part-store.ts";

const HOUR_MS = 3_600_000;
/**
 * A model root may be shared by several machines (NFS), and only this one's manifests are known here: a
 * part that another one keeps between two tries is touched again by then, and its lock names a process
 * of another host.
 */
const UNTOUCHED_MIN_MS = 24 * HOUR_MS;

/** A part that nobody wants, in words, and how it goes. */
export interface UnwantedPart {
  readonly what: string;
  /** Why it stays for now; null: it goes. */
  readonly keptReason: string | null;
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
    const ageMs = clock.now() - stale.changedAt;
    return {
      what: words(stale, ageMs),
      keptReason:
        ageMs < UNTOUCHED_MIN_MS
          ? `another machine may want it: removed once untouched for ${UNTOUCHED_MIN_MS / HOUR_MS} h`
          : null,
      paths: [place.part, place.record],
      // With the lock that a download holds: one of another manifest may be at work, or just begin.
      remove: () => withFileLock(place.lock, { clock, timeoutMs: 0 }, () => removePart(place)),
    };
  });
}

function words({ sha256 }: StalePart, ageMs: number): string {
  const hours = Math.max(0, Math.floor(ageMs / HOUR_MS));
  return `part of a download that no model wants (untouched for ${hours} h, sha256 ${sha256.slice(0, 12)})`;
}
