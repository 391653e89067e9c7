import type { BlobStored } from "@holdfast/contract";
import type { Clock, Random } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { createLoop, type Loop } from "../platform/loop.ts";
import { registerBlobs } from "./store.ts";

/** Bytes that the store has confirmed and whose rows in `blobs` are still to be written. */
export interface UnwrittenRows {
  /** Those of these blobs whose rows are still to be written. */
  unregistered(sha256s: readonly string[]): readonly BlobStored[];
  /** Their rows were written, with what names them. */
  noteRegistered(blobs: readonly BlobStored[]): void;
  /** Resolves when the rows of these are written. */
  register(sha256s: readonly string[]): Promise<void>;
}

/**
 * Rows of `blobs` that whoever names the bytes next (a report, a moment later) writes with what it
 * writes anyway; those that nobody named in time are written by the loop, so that the collector finds
 * them. A crash before that leaves bytes without a row: the next put of the same takes them up.
 */
export interface Registrar extends UnwrittenRows, Loop {
  /** Confirmed bytes where none were before: a collector cannot be at them (loop.ts). */
  add(blob: BlobStored): void;
}

/** How to make a {@link Registrar}. */
export interface RegistrarOptions {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** A blob that nobody named for so long gets its row by itself. */
const UNNAMED_MS = 2_000;
/** Rows that wait at most; over it they are written at once. */
const WAITING_MAX = 1_000;
const BATCH = 500;

/** Makes a {@link Registrar}. */
export function createRegistrar(options: RegistrarOptions): Registrar {
  const { db, clock } = options;
  const waiting = new Map<string, { readonly blob: BlobStored; readonly since: number }>();
  const noteRegistered = (blobs: readonly BlobStored[]): void => {
    for (const { sha256 } of blobs) waiting.delete(sha256);
  };
  const write = async (blobs: readonly BlobStored[]): Promise<void> => {
    if (blobs.length === 0) return;
    await registerBlobs(db, blobs);
    noteRegistered(blobs);
  };
  const writeOld = async (minAgeMs: number): Promise<"more" | "idle"> => {
    const before = clock.elapsed() - minAgeMs;
    const isFull = waiting.size > WAITING_MAX;
    const due = [...waiting.values()].filter(({ since }) => isFull || since <= before);
    await write(due.slice(0, BATCH).map(({ blob }) => blob));
    return due.length > BATCH ? "more" : "idle";
  };
  const loop = createLoop({
    ...options,
    name: "blob-registrar",
    everyMs: UNNAMED_MS / 2,
    tick: () => writeOld(UNNAMED_MS),
  });
  const unregistered = (sha256s: readonly string[]): BlobStored[] =>
    [...new Set(sha256s)].flatMap((hash) => waiting.get(hash)?.blob ?? []);
  return {
    ...loop,
    async stop() {
      await loop.stop();
      // The database may be gone by now; then these bytes wait for their next put.
      while ((await writeOld(0).catch(() => "idle")) === "more");
    },
    add(blob) {
      waiting.set(blob.sha256, { blob, since: clock.elapsed() });
      if (waiting.size > WAITING_MAX) loop.wake();
    },
    unregistered,
    noteRegistered,
    register: (sha256s) => write(unregistered(sha256s)),
  };
}
