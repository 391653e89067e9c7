/** Pools that are asked for nothing for a while: no capacity, a refused key, a wrong request. */
import type { PoolDecision, ProviderTrouble } from "@holdfast/fleet";
import { backoffMs, type BackoffPolicy, type Random } from "@holdfast/runtime";
import type { StoredPool } from "./model.ts";

/** None of all that was asked for: asked again soon, then ever more seldom. */
const NO_CAPACITY: BackoffPolicy = { initialMs: 30_000, factor: 2, maxMs: 600_000, jitter: 0.2 };
/** Nothing helps but a person: asked again now and then, for the person may have been there. */
const REFUSED: BackoffPolicy = { initialMs: 60_000, factor: 2, maxMs: 900_000, jitter: 0.2 };

/** Which pools are blocked. Kept by the leader; written down, so that the next one knows. */
export interface PoolBlocks {
  /** Takes in why a machine was not made, with the place of the offer among all of its pool. */
  note(
    pool: string,
    trouble: ProviderTrouble,
    offerIndex: number,
    offerCount: number,
    now: number,
  ): void;
  /** A machine was made: what was in the way is gone. */
  noteMade(pool: string): void;
  /** Blocked pools with the reason. */
  at(now: number): ReadonlyMap<string, string>;
  /** As it is written down. */
  stored(decision: PoolDecision, now: number): StoredPool;
  /** Takes over what another leader wrote, of pools that nothing is known of here. */
  restore(pools: readonly StoredPool[]): void;
}

interface Block {
  readonly until: number;
  readonly reason: string;
  readonly failures: number;
}

/** Makes the {@link PoolBlocks}. */
export function createPoolBlocks(random: Random): PoolBlocks {
  const blocks = new Map<string, Block>();
  const block = (pool: string, policy: BackoffPolicy, reason: string, now: number): void => {
    const failures = (blocks.get(pool)?.failures ?? 0) + 1;
    blocks.set(pool, { until: now + backoffMs(policy, failures, random), reason, failures });
  };
  return {
    note(pool, { kind, message }, offerIndex, offerCount, now) {
      if (kind === "unauthorized" || kind === "invalid") {
        block(pool, REFUSED, `the provider refuses: ${message}`, now);
      } else if (kind === "unavailable") {
        block(pool, NO_CAPACITY, `the provider does not answer as it should: ${message}`, now);
      } else if (kind === "capacity" && offerIndex + 1 >= offerCount) {
        block(pool, NO_CAPACITY, `the provider has none now: ${message}`, now);
      }
    },
    noteMade: (pool) => void blocks.delete(pool),
    at(now) {
      const blocked = [...blocks].filter(([, { until }]) => until > now);
      return new Map(blocked.map(([pool, { reason }]) => [pool, reason]));
    },
    stored(decision, now) {
      const found = blocks.get(decision.pool);
      const isBlocked = found !== undefined && found.until > now;
      return {
        name: decision.pool,
        blockedUntil: isBlocked ? found.until : null,
        reason: isBlocked ? found.reason : null,
        failures: found?.failures ?? 0,
        decision,
      };
    },
    restore(pools) {
      for (const { name, blockedUntil: until, reason, failures } of pools) {
        if (blocks.has(name) || until === null || reason === null) continue;
        blocks.set(name, { until, reason, failures });
      }
    },
  };
}
