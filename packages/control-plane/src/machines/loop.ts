import type { Clock, Random } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { createLoop, type Loop } from "../platform/loop.ts";
import { createSweepLoop, type SweptPart } from "../platform/sweep.ts";
import { deleteOldRuns } from "./report-store.ts";
import { lockDead, readDead, removeDead, type DeadKind } from "./retention-store.ts";

/** What the loops of machines need. */
export interface MachineLoopDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** How long machines and instances are kept of which nothing is heard; 0 for ever. */
  readonly keptMs: number;
  readonly onRemoved: (kind: DeadKind, count: number) => void;
}

/** Pause between two passes over a table, and rows looked at in one step. */
const SWEEP_EVERY_MS = 60 * 60 * 1000;
export const DEAD_STEP = 500;
/** An inventory that no instance has any more is kept this long: models and nodes come back. */
export const INVENTORY_KEPT_MS = 7 * 24 * 60 * 60 * 1000;

/** The loops that remove instances, then machines, of which nothing was heard for long, and inventories. */
export function createMachineLoops(deps: MachineLoopDeps): readonly Loop[] {
  const kinds: readonly DeadKind[] =
    deps.keptMs === 0 ? ["inventory"] : ["instance", "machine", "inventory"];
  return kinds.map((kind) =>
    createSweepLoop<string>({
      ...deps,
      name: `machines:dead-${kind}`,
      everyMs: SWEEP_EVERY_MS,
      step: (after) => removeDeadPart(deps, kind, after),
      onPass: (removed) => deps.log.info({ kind, removed }, "dead parts of the fleet removed"),
    }),
  );
}

/** Runs of machines are forgotten after this, but for the last of each machine. */
const RUN_KEPT_MS = 90 * 24 * 60 * 60 * 1000;

/** The loop that forgets old starts and installations of machines. */
export function createRunPruneLoop(
  deps: Pick<MachineLoopDeps, "db" | "clock" | "random" | "log"> & {
    readonly onRemoved: (count: number) => void;
  },
): Loop {
  return createLoop({
    ...deps,
    name: "machines:old-runs",
    everyMs: SWEEP_EVERY_MS,
    tick: async () => {
      const removed = await deleteOldRuns(deps.db, RUN_KEPT_MS, DEAD_STEP);
      deps.onRemoved(removed);
      return removed === DEAD_STEP ? "more" : "idle";
    },
  });
}

/** Looks at a part of a table for what is dead and named by nothing, and removes it. */
export async function removeDeadPart(
  deps: Pick<MachineLoopDeps, "db" | "keptMs" | "onRemoved">,
  kind: DeadKind,
  after: string | undefined,
): Promise<SweptPart<string>> {
  const { db } = deps;
  const afterMs = kind === "inventory" ? INVENTORY_KEPT_MS : deps.keptMs;
  const { ids, last } = await readDead(db, kind, { afterMs, after: after ?? "", limit: DEAD_STEP });
  const removed =
    ids.length === 0
      ? 0
      : await db.transaction(async (tx) => {
          const locked = await lockDead(tx, kind, afterMs, ids);
          return await removeDead(tx, kind, locked);
        });
  deps.onRemoved(kind, removed);
  return { removed, next: last };
}
