import type { Clock, Random } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { createLoop, type Loop } from "../platform/loop.ts";
import { foldDeltas, tryLockFolding } from "./count-store.ts";
import { IDEMPOTENCY_KEPT_MS } from "./model.ts";
import { pruneKeys } from "./submit-store.ts";

/** What the jobs' background loops need. */
export interface JobsLoopDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Pause between foldings, and deltas folded at once. */
const FOLD_EVERY_MS = 1_000;
const FOLD_STEP = 5_000;
/** Pause between prunings, and keys forgotten at once. */
const PRUNE_EVERY_MS = 10 * 60 * 1000;
const PRUNE_STEP = 5_000;

/** Folds count deltas, so that reading counts takes the same time however many jobs changed. */
export function createFoldLoop(deps: JobsLoopDeps): Loop {
  return createLoop({
    ...deps,
    name: "jobs:fold-counts",
    everyMs: FOLD_EVERY_MS,
    tick: async () => {
      const folded = await deps.db.transaction(async (tx) =>
        (await tryLockFolding(tx)) ? await foldDeltas(tx, FOLD_STEP) : 0,
      );
      return folded === FOLD_STEP ? "more" : "idle";
    },
  });
}

/** Forgets idempotency keys after their time. */
export function createKeyPruneLoop(deps: JobsLoopDeps): Loop {
  return createLoop({
    ...deps,
    name: "jobs:prune-keys",
    everyMs: PRUNE_EVERY_MS,
    tick: async () =>
      (await pruneKeys(deps.db, IDEMPOTENCY_KEPT_MS, PRUNE_STEP)) === PRUNE_STEP ? "more" : "idle",
  });
}
