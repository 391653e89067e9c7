import type { IdSource } from "@holdfast/runtime";
import { createDeliveryLoop } from "../platform/delivery-loop.ts";
import { createEventReader, type EventLoopOptions } from "../platform/event-reader.ts";
import { createLoop, type Loop } from "../platform/loop.ts";
import { createDeliverer, type DelivererOptions } from "./deliverer.ts";
import { fanOut, WEBHOOKS_CONSUMER } from "./fan-out.ts";
import { KEEP_ENDED_MS } from "./model.ts";
import { pruneDeliveries } from "./store.ts";

/** What the loops of webhooks need. */
export interface WebhookLoopOptions extends DelivererOptions, EventLoopOptions {
  readonly ids: IdSource;
  readonly onRemoved: (deliveries: number) => void;
}

/** Due deliveries are looked for at least this often. */
const DELIVER_EVERY_MS = 1_000;
/** A transaction is made for each batch of events: under load they are taken so many a second. */
const FAN_OUT_REST_MS = 200;
const PRUNE_EVERY_MS = 60 * 60 * 1000;
const PRUNE_BATCH = 1_000;

/** The loops of webhooks, in the order in which they start. */
export interface WebhookLoops {
  /** Makes deliveries of new events. */
  readonly fanOut: Loop;
  /** Tries deliveries that are due. Wake it when one was made or replayed. */
  readonly deliver: Loop;
  /** Forgets deliveries that ended long ago. */
  readonly prune: Loop;
}

/** Makes the loops; see {@link WebhookLoops}. Replicas may all run them. */
export function createWebhookLoops(options: WebhookLoopOptions): WebhookLoops {
  const { clock, random, log, db } = options;
  const deliver = createDeliveryLoop({
    name: "webhook-deliver",
    everyMs: DELIVER_EVERY_MS,
    deliverer: createDeliverer(options),
    clock,
    random,
    log,
  });
  const reader = createEventReader({
    restMs: FAN_OUT_REST_MS,
    ...options,
    consumer: WEBHOOKS_CONSUMER,
    // Nobody had asked for what was told before webhooks first ran.
    from: "now",
    handle: (events, tx) => fanOut(tx, events, options.ids, options.databaseNow?.() ?? null),
  });
  const prune = createLoop({
    name: "webhook-prune",
    everyMs: PRUNE_EVERY_MS,
    async tick() {
      const now = options.databaseNow?.() ?? null;
      const count = await pruneDeliveries(db, KEEP_ENDED_MS, PRUNE_BATCH, now);
      options.onRemoved(count);
      // Some of the oldest may have been sent again: those behind them are looked at next.
      return count > 0 ? "more" : "idle";
    },
    clock,
    random,
    log,
  });
  return { fanOut: reader, deliver, prune };
}
