import type { Clock, Random } from "@holdfast/runtime";
import type { Log } from "../platform/log.ts";
import { createLoop, type Loop } from "../platform/loop.ts";
import { changeBatch, readDueBatches, readHasLiving } from "./batch-store.ts";
import { markRemoved, removeMarked } from "./removal-store.ts";
import { stepBatch, takeUpLost, type StepDeps, type Stepped } from "./step-service.ts";

/** What the loops of books need. */
export interface BatchLoopDeps extends StepDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** How often a lost wake is made up for. */
const LOOK_EVERY_MS = 1_000;
/** Ends of jobs that come within this time are settled together. */
const REST_MS = 20;
/** Batches looked up at once, and what was told of jobs that is looked through for more. */
const DUE_BATCHES = 20;
const DUE_TURNS = 1_000;
/** Batches that are worked on beside each other: each may hold a connection for a moment. */
const AT_ONCE = 4;
/** A batch whose step broke waits so long, so that it does not keep others from theirs. */
const BROKEN_WAIT_MS = 10_000;
const REMOVE_EVERY_MS = 10 * 60_000;
const REMOVED_PAGES = 500;
const MARKED_BOOKS = 100;

/** Brings books on, round by round. */
export interface BookRounds {
  /** One round over all books for which there is something to do; bounded. */
  round(signal: AbortSignal): Promise<"more" | "idle">;
  /** Whether any book was to be brought on when that was last looked at, a second ago at most. */
  hasLiving(): boolean;
}

/** Makes rounds. */
export function createBookRounds(deps: BatchLoopDeps): BookRounds {
  const { clock, log } = deps;
  let lookedAt = Number.NEGATIVE_INFINITY;
  let hasLiving = true;
  const onBroken = (batchId: string, err: unknown): void =>
    log.warn({ err, batchId }, "step of a book failed, trying again");
  const stepSafely = async (batchId: string): Promise<Stepped> => {
    try {
      return await stepBatch(deps, batchId);
    } catch (error) {
      onBroken(batchId, error);
      await changeBatch(deps.db, batchId, { wakeInMs: BROKEN_WAIT_MS });
      return "idle";
    }
  };
  return {
    hasLiving: () => hasLiving,
    async round(signal) {
      const due = await readDueBatches(deps.db, DUE_BATCHES, DUE_TURNS);
      let hasMore = false;
      hasLiving ||= due.length > 0;
      for (let from = 0; from < due.length && !signal.aborted; from += AT_ONCE) {
        const steps = await Promise.all(due.slice(from, from + AT_ONCE).map(stepSafely));
        hasMore ||= steps.includes("more");
        // There may be others behind these.
        hasMore ||= due.length >= DUE_BATCHES && steps.includes("idle");
      }
      if (clock.elapsed() - lookedAt >= LOOK_EVERY_MS) {
        lookedAt = clock.elapsed();
        hasLiving = await readHasLiving(deps.db);
        hasMore = (await takeUpLost(deps, onBroken)) === "more" || hasMore;
      }
      return hasMore ? "more" : "idle";
    },
  };
}

/** The loop of the rounds. Every replica may run it. */
export function createBookLoop(deps: BatchLoopDeps, rounds: BookRounds): Loop {
  return createLoop({
    ...deps,
    name: "batches:books",
    everyMs: LOOK_EVERY_MS,
    restMs: REST_MS,
    tick: (signal) => rounds.round(signal),
  });
}

/** Removes books some time after their end, and those that their callers removed, in short steps. */
export function createBookRemovalLoop(
  deps: Pick<BatchLoopDeps, "db" | "clock" | "random" | "log"> & {
    /** How long after its end a book is kept; 0: for ever. */
    readonly keptMs: number;
    readonly onRemoved: (rows: number) => void;
  },
): Loop {
  const { db, keptMs } = deps;
  return createLoop({
    ...deps,
    name: "batches:removal",
    everyMs: REMOVE_EVERY_MS,
    tick: async () => {
      const removed = await removeMarked(db, REMOVED_PAGES);
      deps.onRemoved(removed);
      if (removed > 0) return "more";
      const marked = keptMs === 0 ? 0 : await markRemoved(db, keptMs, MARKED_BOOKS);
      return marked > 0 ? "more" : "idle";
    },
  });
}
