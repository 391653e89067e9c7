import type { Clock, Random } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { createLoop, type Loop } from "../platform/loop.ts";
import { deleteOldCheckpoints } from "./checkpoint-store.ts";

/** How to make the loop. */
export interface CheckpointLoopOptions {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** `CHECKPOINT_RETENTION_HOURS`. */
  readonly retentionHours: number;
  readonly onRemoved: (checkpoints: number) => void;
}

const LOOK_EVERY_MS = 6 * 60 * 60 * 1000;
const REMOVE_STEP = 1_000;
const MS_PER_HOUR = 3_600_000;

/** Removes checkpoints whose time is over, and those of jobs that completed or were cancelled. */
export function createCheckpointLoop(options: CheckpointLoopOptions): Loop {
  const keptMs = options.retentionHours * MS_PER_HOUR;
  return createLoop({
    ...options,
    name: "scheduler.checkpoints",
    everyMs: LOOK_EVERY_MS,
    tick: async () => {
      const removed = await deleteOldCheckpoints(options.db, keptMs, REMOVE_STEP);
      options.onRemoved(removed);
      return removed === REMOVE_STEP ? "more" : "idle";
    },
  });
}
