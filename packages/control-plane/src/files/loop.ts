import type { Clock, Random } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import type { Loop } from "../platform/loop.ts";
import { createSweepLoop, type SweptPart } from "../platform/sweep.ts";
import type { BlobStore } from "./model.ts";
import {
  deleteUnnamedBlob,
  deleteUnusedFiles,
  isRegistered,
  lockBlob,
  noteUnnamed,
  restoreBlob,
  selectJobInputs,
  selectUnnamedBlobs,
  selectUnusedFiles,
  touchBlobs,
  TOUCH_EVERY_MS,
  type BlobPlace,
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
  readonly onRemoved: (blobs: number) => void;
}

/** A blob that was touched an hour ago must not be near its end. */
export const MIN_GRACE_MS = 2 * TOUCH_EVERY_MS;
/** Old blobs that one step looks at, named or not. */
export const COLLECT_BATCH = 500;
/** Pause between two passes over the old blobs. */
const COLLECT_EVERY_MS = 60 * 60 * 1000;

/** Removes the bytes that nothing has named for the grace period. */
export function createCollector(options: CollectorOptions): Loop {
  return createSweepLoop<BlobPlace>({
    ...options,
    name: "blob-collector",
    everyMs: COLLECT_EVERY_MS,
    step: (after) => collectPart(options, after),
    onPass: (removed) => options.log.info({ removed }, "unnamed blobs removed"),
  });
}

/**
 * One step: looks at the next old blobs, notes those that nothing names, and removes those that were
 * noted before the grace period: bytes outlive the last row that named them, so that a copy of the
 * store that is made after one of the database has all that the database names. While the store is
 * down the pass ends: the next one begins at the oldest again.
 */
export async function collectPart(
  options: Pick<CollectorOptions, "db" | "store" | "log" | "graceMs" | "onRemoved">,
  after: BlobPlace | undefined,
): Promise<SweptPart<BlobPlace>> {
  const { db } = options;
  const graceMs = Math.max(options.graceMs, MIN_GRACE_MS);
  const seen = await selectUnnamedBlobs(db, graceMs, after, COLLECT_BATCH);
  const { over, last } = seen;
  if (seen.found.length + seen.named.length > 0) await noteUnnamed(db, seen);
  if (over.length === 0) return { removed: 0, next: last };
  const wanted = new Set(await selectJobInputs(db, over));
  // Out of the way for a while: they need not be asked about at every pass.
  await touchBlobs(db, [...wanted]);
  let removed = 0;
  for (const sha256 of over) {
    if (wanted.has(sha256)) continue;
    const outcome = await collectBlob(options, sha256, graceMs);
    if (outcome === "removed") removed += 1;
    if (outcome === "unavailable") {
      options.onRemoved(removed);
      return { removed, next: undefined };
    }
  }
  options.onRemoved(removed);
  return { removed, next: last };
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

/** What forgetting unused files needs. */
export interface UnusedFilesOptions {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** How long an input file is kept that no submit reads. */
  readonly keptMs: number;
  readonly onRemoved: (files: number) => void;
}

const UNUSED_EVERY_MS = 60 * 60 * 1000;
/** Files that one step looks at. */
export const UNUSED_STEP = 500;

/** Forgets input files that nobody uploaded again, and no submit read, for long. */
export function createUnusedFilesLoop(options: UnusedFilesOptions): Loop {
  return createSweepLoop<string>({
    ...options,
    name: "files:unused",
    everyMs: UNUSED_EVERY_MS,
    step: (after) => forgetUnusedPart(options, after),
    onPass: (removed) => options.log.info({ removed }, "unused input files forgotten"),
  });
}

/** Looks at a part of the files for those that are not used any more, and forgets them. */
export async function forgetUnusedPart(
  options: Pick<UnusedFilesOptions, "db" | "keptMs" | "onRemoved">,
  after: string | undefined,
): Promise<SweptPart<string>> {
  const { db, keptMs } = options;
  const { ids, last } = await selectUnusedFiles(db, keptMs, after ?? "", UNUSED_STEP);
  const removed = ids.length === 0 ? 0 : await deleteUnusedFiles(db, keptMs, ids);
  options.onRemoved(removed);
  return { removed, next: last };
}
