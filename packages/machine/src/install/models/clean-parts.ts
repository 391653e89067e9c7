import type { Clock } from "@holdfast/runtime";
import { withFileLock } from "@holdfast/runtime/host";
import { bytesText } from "../disk-estimate.ts";
import { findStaleParts, partPlace, removePart, type StalePart } from "./part-store.ts";

const HOUR_MS = 3_600_000;

/** What became of the parts that nobody wants, in words. */
export interface CleanedParts {
  readonly removed: readonly string[];
  readonly kept: readonly { readonly what: string; readonly reason: string }[];
}

/** Removes parts of downloads that no model wants any more; never one that somebody is fetching. */
export async function cleanParts(
  folder: string,
  wanted: ReadonlySet<string>,
  clock: Clock,
): Promise<CleanedParts> {
  const removed: string[] = [];
  const kept: { what: string; reason: string }[] = [];
  for (const stale of await findStaleParts(folder, wanted)) {
    const place = partPlace(folder, stale.sha256);
    const what = words(stale, clock.now());
    try {
      // With the lock that a download holds: one of another manifest may be at work, or just begin.
      await withFileLock(place.lock, { clock, timeoutMs: 0 }, () => removePart(place));
      removed.push(what);
    } catch (error) {
      kept.push({ what, reason: (error as Error).message });
    }
  }
  return { removed, kept };
}

function words({ sha256, sizeBytes, changedAt }: StalePart, now: number): string {
  const age =
    changedAt === null
      ? ""
      : `, untouched for ${Math.max(0, Math.floor((now - changedAt) / HOUR_MS))} h`;
  return `part of a download that no model wants (${bytesText(sizeBytes)}${age}, sha256 ${sha256.slice(0, 12)})`;
}
