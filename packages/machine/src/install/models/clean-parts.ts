import type { Clock } from "@holdfast/runtime";
import { withFileLock } from "@holdfast/runtime/host";
import { bytesText } from "../disk-estimate.ts";
import { findStaleParts, partPlace, removePart, type StalePart } from "./part-store.ts";

const HOUR_MS = 3_600_000;
/**
 * A model root may be shared by several machines (NFS), and only this one's manifests are known here: a
 * part that another one keeps between two tries is touched again by then, and its lock names a process
 * of another host.
 */
const UNTOUCHED_MIN_MS = 24 * HOUR_MS;

/** What became of the parts that nobody wants, in words. */
export interface CleanedParts {
  readonly removed: readonly string[];
  readonly kept: readonly { readonly what: string; readonly reason: string }[];
}

/** Removes parts of downloads that no model wants any more; never one that somebody is at, or was lately. */
export async function cleanParts(
  folder: string,
  wanted: ReadonlySet<string>,
  clock: Clock,
): Promise<CleanedParts> {
  const removed: string[] = [];
  const kept: { what: string; reason: string }[] = [];
  for (const stale of await findStaleParts(folder, wanted)) {
    const place = partPlace(folder, stale.sha256);
    const ageMs = clock.now() - stale.changedAt;
    const what = words(stale, ageMs);
    if (ageMs < UNTOUCHED_MIN_MS) {
      const reason = `another machine may want it: removed once untouched for ${UNTOUCHED_MIN_MS / HOUR_MS} h`;
      kept.push({ what, reason });
      continue;
    }
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

function words({ sha256, sizeBytes }: StalePart, ageMs: number): string {
  const hours = Math.max(0, Math.floor(ageMs / HOUR_MS));
  return `part of a download that no model wants (${bytesText(sizeBytes)}, untouched for ${hours} h, sha256 ${sha256.slice(0, 12)})`;
}
