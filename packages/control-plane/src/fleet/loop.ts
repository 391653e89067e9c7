/** The loops of the fleet: who leads, the leader's rounds, and old machines forgotten. */
import type { Clock, Random, Service } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { createLoop, type Loop } from "../platform/loop.ts";
import { createLead } from "./lead-service.ts";
import { LeadLost } from "./model.ts";
import type { Reconciler } from "./reconcile-service.ts";
import { deleteOldMachines } from "./store.ts";

/** Between two rounds. */
const ROUND_EVERY_MS = 2_000;
/** Ended machines are listed for so long. */
const ENDED_KEPT_MS = 90 * 24 * 60 * 60_000;
const PRUNE_EVERY_MS = 60 * 60_000;
const PRUNE_STEP = 500;

/** What the loops need. */
export interface FleetLoopDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly holder: string;
  readonly reconciler: Reconciler;
}

/** Makes the loops, in the order in which they start. */
export function createFleetLoops(deps: FleetLoopDeps): readonly Service[] {
  const { db, clock, random, log, reconciler } = deps;
  const lead = createLead({
    ...deps,
    onTaken: () => {
      reconciler.reset();
      rounds.wake();
    },
  });
  const rounds: Loop = createLoop({
    clock,
    random,
    log,
    name: "fleet:rounds",
    everyMs: ROUND_EVERY_MS,
    tick: async (signal) => {
      const epoch = lead.epoch();
      if (epoch === null) return;
      try {
        const isLeading = (): boolean => lead.epoch() === epoch;
        await reconciler.round({ epoch, isLeading }, signal);
      } catch (err) {
        if (!(err instanceof LeadLost)) throw err;
        log.warn({ epoch }, "a round of the fleet was given up: another replica leads");
      }
    },
  });
  const prune = createLoop({
    clock,
    random,
    log,
    name: "fleet:old-machines",
    everyMs: PRUNE_EVERY_MS,
    tick: async () =>
      (await deleteOldMachines(db, ENDED_KEPT_MS, PRUNE_STEP)) === PRUNE_STEP ? "more" : "idle",
  });
  return [lead, rounds, prune];
}
