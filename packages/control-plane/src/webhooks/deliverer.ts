import { assertNever, type Clock, type Random } from "@holdfast/runtime";
import type { GuardedFetch } from "../access/guarded-fetch.ts";
import type { Deliverer } from "../platform/delivery-loop.ts";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { decideTry, targetHost } from "./logic.ts";
import {
  CLAIM_MS,
  MAX_TRIES_AT_ONCE,
  MAX_TRIES_PER_HOST,
  TRY_TIMEOUT_MS,
  type ClaimedDelivery,
  type DeliveryState,
  type TryDecision,
  type TryOutcome,
} from "./model.ts";
import { isSecret, newSecret, signedHeaders } from "./signing.ts";
import {
  claimDue,
  jobSecret,
  killPending,
  recordTry,
  releaseClaim,
  updateEndpoint,
} from "./store.ts";

/** What a deliverer needs. */
export interface DelivererOptions {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly fetch: GuardedFetch;
  /** Only tests: the instant that counts instead of the database's own. */
  readonly databaseNow?: () => number;
}

/** Most of an answer that is read; nothing in it is used. */
const MAX_ANSWER_BYTES = 64 * 1024;
const USER_AGENT = "holdfast-webhooks/1";

/** Makes a {@link Deliverer}: many tries at a time, and few to one host. */
export function createDeliverer(options: DelivererOptions): Deliverer {
  const { db, log } = options;
  const underWay = new Map<Promise<void>, string>();
  const secretOf = createSecrets(db);

  const tryOne = async (delivery: ClaimedDelivery, signal: AbortSignal): Promise<void> => {
    try {
      const outcome = await send(options, delivery, await secretOf(delivery), signal);
      await record(options, delivery, outcome);
    } catch (err) {
      if (signal.aborted) {
        await releaseClaim(db, delivery.id, delivery.attempt).catch(() => undefined);
        return;
      }
      // The database is away. The claim ends by itself, and the try is made again.
      log.warn({ err, deliveryId: delivery.id }, "webhook try not recorded");
    }
  };

  const fullHosts = (): string[] => {
    const counts = new Map<string, number>();
    for (const host of underWay.values()) counts.set(host, (counts.get(host) ?? 0) + 1);
    return [...counts].filter(([, count]) => count >= MAX_TRIES_PER_HOST).map(([host]) => host);
  };

  return {
    async startDue(signal, onSettled) {
      const limit = MAX_TRIES_AT_ONCE - underWay.size;
      if (limit <= 0) return 0;
      const claimed = await claimDue(db, {
        nowMs: databaseNow(options),
        fullHosts: fullHosts(),
        perHost: MAX_TRIES_PER_HOST,
        limit,
        claimMs: CLAIM_MS,
      });
      for (const delivery of claimed) {
        const running = tryOne(delivery, signal).finally(() => {
          underWay.delete(running);
          onSettled?.();
        });
        underWay.set(running, targetHost(delivery.url));
      }
      return claimed.length;
    },
    async idle() {
      while (underWay.size > 0) await Promise.all(underWay.keys());
    },
  };
}

function databaseNow(options: DelivererOptions): number | null {
  return options.databaseNow?.() ?? null;
}

/** The secret that signs a delivery: its endpoint's, its job's own, or the deployment's. */
function createSecrets(db: Db): (delivery: ClaimedDelivery) => Promise<string> {
  let deployment: Promise<string> | undefined;
  return async ({ secret }) => {
    if (secret !== null && isSecret(secret)) return secret;
    deployment ??= jobSecret(db, newSecret());
    try {
      return await deployment;
    } catch (error) {
      deployment = undefined; // Asked again at the next try.
      throw error;
    }
  };
}

async function send(
  options: DelivererOptions,
  delivery: ClaimedDelivery,
  secret: string,
  signal: AbortSignal,
): Promise<TryOutcome> {
  const body = JSON.stringify(delivery.payload);
  const timestampSeconds = Math.floor(options.clock.now() / 1000);
  const outcome = await options.fetch.fetch(delivery.url, {
    method: "POST",
    body,
    headers: {
      "content-type": "application/json",
      "user-agent": USER_AGENT,
      ...signedHeaders(secret, { id: delivery.eventId, body, timestampSeconds }),
    },
    timeoutMs: TRY_TIMEOUT_MS,
    maxBytes: MAX_ANSWER_BYTES,
    // A target that moved says so to its owner, not to us: a signed body goes nowhere else.
    maxRedirects: 0,
    signal,
  });
  if (outcome.kind !== "answered") return { kind: "failed", reason: outcome.reason };
  outcome.discard();
  return { kind: "answered", status: outcome.status };
}

async function record(
  options: DelivererOptions,
  delivery: ClaimedDelivery,
  outcome: TryOutcome,
): Promise<void> {
  const { endpointId } = delivery;
  const decision = decideTry(outcome, delivery.attempt, options.random);
  const status = outcome.kind === "answered" ? outcome.status : null;
  await options.db.transaction(async (tx) => {
    await recordTry(tx, {
      id: delivery.id,
      attempt: delivery.attempt,
      state: nextState(decision),
      status,
      error: decision.kind === "delivered" ? null : decision.error,
      delayMs: decision.kind === "retry" ? decision.delayMs : 0,
      nowMs: databaseNow(options),
    });
    if (decision.kind !== "unsubscribed" || endpointId === null) return;
    await updateEndpoint(tx, endpointId, null, { enabled: false });
    await killPending(tx, endpointId, "the endpoint answered 410 and was disabled");
  });
  logTry(options.log, delivery, status, decision);
}

function nextState(decision: TryDecision): DeliveryState {
  switch (decision.kind) {
    case "delivered":
      return "delivered";
    case "retry":
      return "pending";
    case "dead":
    case "unsubscribed":
      return "dead";
    default:
      return assertNever(decision);
  }
}

/** Names the host and never the URL, which may carry a secret (model.ts I4). */
function logTry(
  log: Log,
  delivery: ClaimedDelivery,
  status: number | null,
  decision: TryDecision,
): void {
  const { id: deliveryId, eventId, attempt } = delivery;
  const fields = { deliveryId, eventId, attempt, status, host: targetHost(delivery.url) };
  if (decision.kind === "delivered") {
    log.debug(fields, "webhook delivered");
  } else if (decision.kind === "retry") {
    const { error: reason, delayMs } = decision;
    log.warn({ ...fields, reason, delayMs }, "webhook not delivered, trying again");
  } else {
    log.error({ ...fields, reason: decision.error }, "webhook given up");
  }
}
