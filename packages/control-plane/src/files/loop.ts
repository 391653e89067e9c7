import type { Clock, Random } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { createLoop, type Loop } from "../platform/loop.ts";
import type { BlobStore } from "./model.ts";
import {
  deleteUnnamedBlob,
  isRegistered,
  lockBlob,
  restoreBlob,
  selectJobInputs,
  selectUnnamedBlobs,
  touchBlobs,
  TOUCH_EVERY_MS,
} from "./store.ts";

/** What the collector needs. */
export interface CollectorOptions {
  readonly db: Db;
  readonly store: BlobStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** How long bytes that nothing names are kept; never less than {@link MIN_GRACE_MS}. */
  readonly graceMs: number;
}

/** A blob that was touched an hour ago must not be near its end. */
export const MIN_GRACE_MS = 2 * TOUCH_EVERY_MS;
/** Blobs that one tick looks at. */
export const COLLECT_BATCH = 100;
const COLLECT_EVERY_MS = 10 * 60 * 1000;

/** Removes the bytes that nothing has named for the grace period. */
export function createCollector(options: CollectorOptions): Loop {
  const { clock, random, log } = options;
  return createLoop({
    name: "blob-collector",
    everyMs: COLLECT_EVERY_MS,
    tick: () => collectOnce(options),
    clock,
    random,
    log,
  });
}

/** One tick: looks at the oldest unnamed blobs. `more` when there may be others. */
export async function collectOnce(
  options: Pick<CollectorOptions, "db" | "store" | "log" | "graceMs">,
): Promise<"more" | "idle"> {
  const { db, log } = options;
  const graceMs = Math.max(options.graceMs, MIN_GRACE_MS);
  const unnamed = await selectUnnamedBlobs(db, graceMs, COLLECT_BATCH);
  if (unnamed.length === 0) return "idle";
  const wanted = await selectJobInputs(db, unnamed);
  // Out of the way for a while, so that they do not hide others behind them.
  await touchBlobs(db, wanted);
  let removed = 0;
  for (const sha256 of unnamed) {
    if (wanted.includes(sha256)) continue;
    const outcome = await collectBlob(options, sha256, graceMs);
    if (outcome === "unavailable") return "idle";
    if (outcome === "removed") removed += 1;
  }
  if (removed > 0) log.info({ removed }, "unnamed blobs removed");
  return unnamed.length === COLLECT_BATCH ? "more" : "idle";
}

/**
 * The row goes first, so that nobody trusts it any more; then the bytes, under a lock that holds off
 * registrations, and only if nobody registered them in between. A crash between the two leaves bytes
 * without a row: they cost room, and the next upload of the same takes them up again. Bytes that were
 * not there before are not removed: whoever puts bytes where none were need fear no collector.
 */
async function collectBlob(
  options: Pick<CollectorOptions, "db" | "store" | "log">,
  sha256: string,
  graceMs: number,
): Promise<"removed" | "wanted" | "unavailable"> {
  const { db, store, log } = options;
  const before = await store.has(sha256);
  if (before.kind === "unavailable") return "unavailable";
  const sizeBytes = await deleteUnnamedBlob(db, sha256, graceMs);
  if (sizeBytes === undefined) return "wanted";
  if (before.kind === "missing") return "removed";
  return db.transaction(async (tx) => {
    await lockBlob(tx, sha256);
    if (await isRegistered(tx, sha256)) return "wanted";
    const result = await store.remove(sha256);
    if (result.kind === "removed") return "removed";
    log.warn({ sha256, reason: result.reason }, "blob not removed, trying again later");
    await restoreBlob(tx, { sha256, sizeBytes, ageMs: graceMs });
    return "unavailable";
  });
}
