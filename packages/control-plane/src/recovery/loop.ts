import type { Clock, Random } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { createLoop, type Loop } from "../platform/loop.ts";
import { foldChanges, pruneCounts, tryLockFolding, vacuumChanges } from "./store.ts";

/** What the background loop of recovery needs. */
export interface RecoveryLoopDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Pause between foldings, and changes folded at once. */
const FOLD_EVERY_MS = 2_000;
const FOLD_STEP = 5_000;
/** After so many changes their room is given back at once: every reading looks through all of it. */
const VACUUM_EVERY = 20_000;
/** Pause between two prunings of the fine counts. */
const PRUNE_EVERY_MS = 10 * 60_000;

/** Counts what was told of errors, so that reading takes the same time however many there were. */
export function createErrorFoldLoop(deps: RecoveryLoopDeps): Loop {
  let sinceVacuum = 0;
  let prunedAt = Number.NEGATIVE_INFINITY;
  return createLoop({
    ...deps,
    name: "recovery:fold-errors",
    everyMs: FOLD_EVERY_MS,
    tick: async () => {
      const folded = await deps.db.transaction(async (tx) =>
        (await tryLockFolding(tx)) ? await foldChanges(tx, FOLD_STEP) : 0,
      );
      sinceVacuum += folded;
      if (folded === FOLD_STEP) return "more";
      if (sinceVacuum >= VACUUM_EVERY) {
        sinceVacuum = 0;
        await vacuumChanges(deps.db);
      }
      if (deps.clock.elapsed() - prunedAt >= PRUNE_EVERY_MS) {
        prunedAt = deps.clock.elapsed();
        await pruneCounts(deps.db);
      }
      return "idle";
    },
  });
}
