import type { Clock, Random } from "@holdfast/runtime";
import type { GuardedFetch } from "../access/guarded-fetch.ts";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { decideTry, targetHost } from "./logic.ts";
import {
  CLAIM_MS,
  MAX_TRIES_AT_ONCE,
  MAX_TRIES_PER_HOST,
  TRY_TIMEOUT_MS,
  type ClaimedDelivery,
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

/** Tries due deliveries, many at a time and few to one host. */
export interface Deliverer {
  /**
   * Claims what is due, as far as there is room, and starts its tries. Returns how many;
   * `onSettled` is called after each.
   */
  startDue(signal: AbortSignal, onSettled?: () => void): Promise<number>;
  /** Resolves when no try is under way. */
  idle(): Promise<void>;
}

/** Most of an answer that is read; nothing in it is used. */
const MAX_ANSWER_BYTES = 64 * 1024;
const USER_AGENT = "holdfast-webhooks/1";

/** Makes a {@link Deliverer}. */
export function createDeliverer(options: DelivererOptions): Deliverer {
  const { db, clock, log } = options;
  const nowMs = (): number | null => options.databaseNow?.() ?? null;
  const underWay = new Map<Promise<void>, string>();
  let ownSecret: Promise<string> | undefined;

  const secretOf = async (delivery: ClaimedDelivery): Promise<string> => {
    if (delivery.secret !== null && isSecret(delivery.secret)) return delivery.secret;
    ownSecret ??= jobSecret(db, newSecret());
    try {
      return await ownSecret;
    } catch (error) {
      ownSecret = undefined;
      throw error;
    }
  };

  const send = async (delivery: ClaimedDelivery, signal: AbortSignal): Promise<TryOutcome> => {
    const body = JSON.stringify(delivery.payload);
    const outcome = await options.fetch.fetch(delivery.url, {
      method: "POST",
      body,
      headers: {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        ...signedHeaders(await secretOf(delivery), {
          id: delivery.eventId,
          body,
          timestampSeconds: Math.floor(clock.now() / 1000),
        }),
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
  };

  const record = async (
    delivery: ClaimedDelivery,
    outcome: TryOutcome,
    decision: TryDecision,
  ): Promise<void> => {
    const isRetry = decision.kind === "retry";
    const result = {
      id: delivery.id,
      attempt: delivery.attempt,
      state: isRetry
        ? ("pending" as const)
        : decision.kind === "delivered"
          ? decision.kind
          : "dead",
      status: outcome.kind === "answered" ? outcome.status : null,
      error: decision.kind === "delivered" ? null : decision.error,
      delayMs: isRetry ? decision.delayMs : 0,
      nowMs: nowMs(),
    } as const;
    const { endpointId } = delivery;
    await db.transaction(async (tx) => {
      await recordTry(tx, result);
      if (decision.kind !== "unsubscribed" || endpointId === null) return;
      await updateEndpoint(tx, endpointId, null, { enabled: false });
      await killPending(tx, endpointId, "the endpoint answered 410 and was disabled");
    });
    const fields = {
      deliveryId: delivery.id,
      eventId: delivery.eventId,
      host: targetHost(delivery.url),
      attempt: delivery.attempt,
      status: result.status,
    };
    if (decision.kind === "delivered") log.debug(fields, "webhook delivered");
    else if (isRetry) {
      log.warn(
        { ...fields, reason: decision.error, delayMs: decision.delayMs },
        "webhook not delivered, trying again",
      );
    } else log.error({ ...fields, reason: decision.error }, "webhook given up");
  };

  const tryOne = async (delivery: ClaimedDelivery, signal: AbortSignal): Promise<void> => {
    try {
      const outcome = await send(delivery, signal);
      await record(delivery, outcome, decideTry(outcome, delivery.attempt, options.random));
    } catch (err) {
      // The database is away, or we stop. The claim ends by itself, and the try is made again.
      if (signal.aborted)
        await releaseClaim(db, delivery.id, delivery.attempt).catch(() => undefined);
      else log.warn({ err, deliveryId: delivery.id }, "webhook try not recorded");
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
        nowMs: nowMs(),
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
