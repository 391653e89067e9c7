import type { Clock, Random } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { createLoop, type Loop } from "../platform/loop.ts";
import { pruneOld } from "./minutes-store.ts";
import type { SlaService } from "./service.ts";

/** What the loop needs. */
export interface SlaLoopDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly sla: SlaService;
}

const COUNT_EVERY_MS = 10_000;
const PRUNE_EVERY_MS = 6 * 60 * 60_000;

/** Counts by the minute what was delivered, and forgets what is old. */
export function createSlaLoop(deps: SlaLoopDeps): Loop {
  let prunedAt = Number.NEGATIVE_INFINITY;
  return createLoop({
    ...deps,
    name: "sla:count-minutes",
    everyMs: COUNT_EVERY_MS,
    tick: async () => {
      if ((await deps.sla.count()) === "more") return "more";
      if (deps.clock.elapsed() - prunedAt >= PRUNE_EVERY_MS) {
        prunedAt = deps.clock.elapsed();
        await pruneOld(deps.db);
      }
      return "idle";
    },
  });
}
