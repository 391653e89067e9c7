/** Sends what is due: claim, send, write what came of it (A3, A4). */
import { assertNever, type Random } from "@holdfast/runtime";
import type { Deliverer } from "../platform/delivery-loop.ts";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import {
  claimDue,
  forgetTold,
  markChannel,
  markTold,
  recordTry,
  releaseClaim,
  type ClaimedDelivery,
} from "./delivery-store.ts";
import {
  CLAIM_MS,
  MAX_TRIES_AT_ONCE,
  PAUSE_MS,
  type AlertChannel,
  type SendOutcome,
} from "./model.ts";
import { decideTry, type TryDecision } from "./retry.ts";

/** What sending needs. */
export interface DelivererDeps {
  readonly db: Db;
  readonly random: Random;
  readonly log: Log;
  readonly channels: readonly AlertChannel[];
  /** Only tests: the instant that counts instead of the database's own. */
  readonly databaseNow?: (() => number) | undefined;
}

/** Makes a {@link Deliverer}. */
export function createDeliverer(deps: DelivererDeps): Deliverer {
  const { db, log } = deps;
  const byName = new Map(deps.channels.map((channel) => [channel.settings.name, channel]));
  const underWay = new Set<Promise<void>>();

  const tryOne = async (delivery: ClaimedDelivery, signal: AbortSignal): Promise<void> => {
    const channel = byName.get(delivery.channel);
    if (channel === undefined) return;
    try {
      const outcome = await channel.send(delivery, signal);
      await record(deps, channel, delivery, outcome);
    } catch (err) {
      if (signal.aborted) {
        await releaseClaim(db, delivery.id, delivery.attempt).catch(() => undefined);
        return;
      }
      // The database is away, or we are wrong. The claim ends by itself, and the try is made again.
      log.warn({ err, deliveryId: delivery.id }, "try of an alert's notification not recorded");
    }
  };

  return {
    async startDue(signal, onSettled) {
      const limit = MAX_TRIES_AT_ONCE - underWay.size;
      if (limit <= 0 || byName.size === 0) return 0;
      const claimed = await claimDue(db, {
        channels: [...byName.keys()],
        limit,
        claimMs: CLAIM_MS,
        nowMs: deps.databaseNow?.() ?? null,
      });
      for (const delivery of claimed) {
        const running = tryOne(delivery, signal).finally(() => {
          underWay.delete(running);
          onSettled?.();
        });
        underWay.add(running);
      }
      return claimed.length;
    },
    async idle() {
      while (underWay.size > 0) await Promise.all(underWay);
    },
  };
}

async function record(
  deps: DelivererDeps,
  channel: AlertChannel,
  delivery: ClaimedDelivery,
  outcome: SendOutcome,
): Promise<void> {
  const decision = decideTry(outcome, delivery.attempt, deps.random, delivery.cause);
  const nowMs = deps.databaseNow?.() ?? null;
  const mayHaveArrived = delivery.mayHaveArrived || outcome.kind === "unknown";
  await deps.db.transaction(async (tx) => {
    const isOurs = await recordTry(tx, {
      id: delivery.id,
      attempt: delivery.attempt,
      state: stateAfter(decision),
      error: decision.kind === "delivered" ? null : decision.error,
      mayHaveArrived,
      delayMs: decision.kind === "retry" ? decision.delayMs : 0,
      nowMs,
    });
    if (!isOurs) return;
    if (delivery.cause === "test") {
      // Who mended a channel tries it: what is waiting goes now, and nobody is alerted of it any more.
      if (decision.kind === "delivered") await markChannel(tx, delivery.channel, null, 0, nowMs);
      return;
    }
    const firing = idsOf(delivery, "firing");
    if (decision.kind === "delivered") {
      await markTold(tx, delivery.channel, firing, "yes", nowMs);
      await forgetTold(tx, delivery.channel, idsOf(delivery, "resolved"));
      await markChannel(tx, delivery.channel, null, 0, nowMs);
    } else if (decision.kind === "dead") {
      // Told that it is resolved in any case: somebody may have seen that it fires.
      if (mayHaveArrived) await markTold(tx, delivery.channel, firing, "maybe", nowMs);
      await markChannel(tx, delivery.channel, decision.error, PAUSE_MS, nowMs);
    }
  });
  logTry(deps.log, channel, delivery, decision);
}

function idsOf(delivery: ClaimedDelivery, status: "firing" | "resolved"): string[] {
  return delivery.alerts.filter((alert) => alert.status === status).map(({ id }) => id);
}

function stateAfter(decision: TryDecision): "delivered" | "pending" | "dead" {
  switch (decision.kind) {
    case "delivered":
      return "delivered";
    case "retry":
      return "pending";
    case "dead":
      return "dead";
    default:
      return assertNever(decision);
  }
}

/** Names the host and never the address, which may be a secret (A5). */
function logTry(
  log: Log,
  channel: AlertChannel,
  delivery: ClaimedDelivery,
  decision: TryDecision,
): void {
  const { id: deliveryId, attempt, cause } = delivery;
  const fields = {
    deliveryId,
    attempt,
    cause,
    channel: channel.settings.name,
    host: channel.target,
    alerts: delivery.alerts.length,
  };
  if (decision.kind === "delivered") {
    log.info(fields, "alerts delivered");
  } else if (decision.kind === "retry") {
    const { error: reason, delayMs } = decision;
    log.warn({ ...fields, reason, delayMs }, "alerts not delivered, trying again");
  } else {
    log.error({ ...fields, reason: decision.error }, "alerts could not be delivered");
  }
}
