import type { Clock, Random } from "@holdfast/runtime";
import type { Db } from "./db.ts";
import type { Log } from "./log.ts";
import { createLoop, type Loop } from "./loop.ts";
import { pruneEvents } from "./outbox.ts";

/** How to make the loop. */
export interface EventPruneOptions {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly retentionHours: number;
  readonly onRemoved: (events: number) => void;
}

const PRUNE_EVERY_MS = 10 * 60 * 1000;
const PRUNE_STEP = 10_000;
const MS_PER_HOUR = 3_600_000;

/** Removes events that are older than streams may resume from. */
export function createEventPruneLoop(options: EventPruneOptions): Loop {
  return createLoop({
    ...options,
    name: "events:prune",
    everyMs: PRUNE_EVERY_MS,
    tick: async () => {
      const removed = await pruneEvents(options.db, {
        olderThanMs: options.retentionHours * MS_PER_HOUR,
        limit: PRUNE_STEP,
      });
      options.onRemoved(removed);
      return removed === PRUNE_STEP ? "more" : "idle";
    },
  });
}
