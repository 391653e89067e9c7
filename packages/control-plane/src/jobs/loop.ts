import type { Clock, Random } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { createLoop, type Loop } from "../platform/loop.ts";
import { createSweepLoop } from "../platform/sweep.ts";
import {
  foldTransitions,
  pruneEndCounts,
  tryLockFolding,
  vacuumTransitions,
} from "./count-store.ts";
import type { HoldService } from "./hold-service.ts";
import { IDEMPOTENCY_KEPT_MS } from "./model.ts";
import type { Retention } from "./retention-service.ts";
import type { SharedTable } from "./retention-store.ts";
import { removalRules, type JobRetention } from "./retention.ts";
import { pruneKeys } from "./submit-store.ts";

/** What the jobs' background loops need. */
export interface JobsLoopDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Pause between foldings, and transitions folded at once. */
const FOLD_EVERY_MS = 1_000;
const FOLD_STEP = 5_000;
/**
 * After so many folded transitions their room is given back at once: every count reads the whole
 * table, and a Postgres with usual settings would look at it once a minute.
 */
const VACUUM_EVERY = 20_000;
/** Pause between two prunings of the counts by minute. */
const PRUNE_COUNTS_EVERY_MS = 60_000;
/** Pause between prunings, and keys forgotten at once. */
const PRUNE_EVERY_MS = 10 * 60 * 1000;
const PRUNE_STEP = 5_000;
/** Pause between looks for ended jobs whose time is over. */
const REMOVE_EVERY_MS = 10 * 60 * 1000;
/** Pause between looks whether an emergency stop, or its release, has left something undone. */
const HOLD_EVERY_MS = 2_000;
/** Pause between passes over templates and requirements. */
const SWEEP_EVERY_MS = 60 * 60 * 1000;

/** Folds transitions, so that reading counts takes the same time however many jobs changed. */
export function createFoldLoop(deps: JobsLoopDeps): Loop {
  let sinceVacuum = 0;
  let prunedAt = Number.NEGATIVE_INFINITY;
  return createLoop({
    ...deps,
    name: "jobs:fold-counts",
    everyMs: FOLD_EVERY_MS,
    tick: async () => {
      const folded = await deps.db.transaction(async (tx) =>
        (await tryLockFolding(tx)) ? await foldTransitions(tx, FOLD_STEP) : 0,
      );
      sinceVacuum += folded;
      if (folded === FOLD_STEP) return "more";
      if (sinceVacuum >= VACUUM_EVERY) {
        sinceVacuum = 0;
        await vacuumTransitions(deps.db);
      }
      if (deps.clock.elapsed() - prunedAt >= PRUNE_COUNTS_EVERY_MS) {
        prunedAt = deps.clock.elapsed();
        await pruneEndCounts(deps.db);
      }
      return "idle";
    },
  });
}

/** Forgets idempotency keys after their time; `onRemoved` is told how many. */
export function createKeyPruneLoop(
  deps: JobsLoopDeps & { readonly onRemoved: (keys: number) => void },
): Loop {
  return createLoop({
    ...deps,
    name: "jobs:prune-keys",
    everyMs: PRUNE_EVERY_MS,
    tick: async () => {
      const removed = await pruneKeys(deps.db, IDEMPOTENCY_KEPT_MS, PRUNE_STEP);
      deps.onRemoved(removed);
      return removed === PRUNE_STEP ? "more" : "idle";
    },
  });
}

/** Brings to its end what was left of an emergency stop, or of its release. */
export function createHoldLoop(deps: JobsLoopDeps & { readonly hold: HoldService }): Loop {
  return createLoop({
    ...deps,
    name: "jobs:hold",
    everyMs: HOLD_EVERY_MS,
    tick: () => deps.hold.keepHold(),
  });
}

/** What the loops of retention need. */
export interface RetentionLoopDeps extends JobsLoopDeps {
  readonly retention: Retention;
  readonly kept: JobRetention;
}

/** Removes ended jobs when their time is over. */
export function createRetentionLoop(deps: RetentionLoopDeps): Loop {
  const rules = removalRules(deps.kept);
  return createLoop({
    ...deps,
    name: "jobs:retention",
    everyMs: REMOVE_EVERY_MS,
    tick: async (signal) => void (await deps.retention.removeEnded(rules, signal)),
  });
}

/** Removes templates, or requirements, that no job names any more. */
export function createUnnamedLoop(deps: RetentionLoopDeps, table: SharedTable): Loop {
  return createSweepLoop<number>({
    ...deps,
    name: `jobs:unnamed-${table}`,
    everyMs: SWEEP_EVERY_MS,
    step: (after) => deps.retention.removeUnnamed(table, after),
    onPass: (removed) => deps.log.info({ table, removed }, "rows removed that no job names"),
  });
}
