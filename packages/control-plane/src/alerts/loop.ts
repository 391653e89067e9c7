import { createDeliveryLoop } from "../platform/delivery-loop.ts";
import { createLoop, type Loop } from "../platform/loop.ts";
import { pruneAlerts } from "./alert-store.ts";
import { createDeliverer, type DelivererDeps } from "./delivery-service.ts";
import { killOrphans, pruneDeliveries } from "./delivery-store.ts";
import { evaluateOnce, type EvaluationDeps } from "./evaluation-service.ts";
import { EVALUATE_EVERY_MS, KEEP_ENDED_MS, ORPHAN_MS } from "./model.ts";
import { pruneSilences } from "./silence-store.ts";
import type { Clock } from "@holdfast/runtime";

/** What the loops of alerts need. */
export interface AlertLoopDeps extends Omit<EvaluationDeps, "channels" | "onDue">, DelivererDeps {
  readonly clock: Clock;
  readonly onRemoved: (kind: "alert" | "alert_delivery", count: number) => void;
}

/** Due notifications are looked for at least this often; what is made here wakes the loop. */
const DELIVER_EVERY_MS = 5_000;
const PRUNE_EVERY_MS = 60 * 60 * 1_000;
const PRUNE_BATCH = 1_000;

/** The loops of alerts. Replicas may all run them. */
export interface AlertLoops {
  readonly evaluate: Loop;
  readonly deliver: Loop;
  readonly prune: Loop;
}

/** Makes the loops. */
export function createAlertLoops(deps: AlertLoopDeps): AlertLoops {
  const { clock, random, log, db } = deps;
  const deliver = createDeliveryLoop({
    name: "alerts:deliver",
    everyMs: DELIVER_EVERY_MS,
    deliverer: createDeliverer(deps),
    clock,
    random,
    log,
  });
  const evaluate = createLoop({
    name: "alerts:evaluate",
    everyMs: EVALUATE_EVERY_MS,
    tick: async () => {
      await evaluateOnce({
        ...deps,
        channels: deps.channels.map(({ settings }) => settings),
        onDue: () => deliver.wake(),
      });
      return "idle";
    },
    clock,
    random,
    log,
  });
  const prune = createLoop({
    name: "alerts:prune",
    everyMs: PRUNE_EVERY_MS,
    tick: async () => {
      const now = deps.databaseNow?.() ?? null;
      await killOrphans(db, ORPHAN_MS, now);
      await pruneSilences(db, KEEP_ENDED_MS, now);
      const alerts = await pruneAlerts(db, KEEP_ENDED_MS, PRUNE_BATCH, now);
      const deliveries = await pruneDeliveries(db, KEEP_ENDED_MS, PRUNE_BATCH, now);
      deps.onRemoved("alert", alerts);
      deps.onRemoved("alert_delivery", deliveries);
      return alerts + deliveries > 0 ? "more" : "idle";
    },
    clock,
    random,
    log,
  });
  return { evaluate, deliver, prune };
}
