/** Pools that are asked for nothing for a while: no capacity, a refused key, a wrong request, no answer. */
import type { PoolBlockKind } from "@holdfast/contract";
import type { PoolDecision, Provided, ProviderTrouble } from "@holdfast/fleet";
import { backoffMs, type BackoffPolicy, type Random } from "@holdfast/runtime";
import type { StoredPool } from "./model.ts";

/** None of all that was asked for: asked again soon, then ever more seldom. */
const NO_CAPACITY: BackoffPolicy = { initialMs: 30_000, factor: 2, maxMs: 600_000, jitter: 0.2 };
/** Nothing helps but a person: asked again now and then, for the person may have been there. */
const REFUSED: BackoffPolicy = { initialMs: 60_000, factor: 2, maxMs: 900_000, jitter: 0.2 };
/** It may be back at once. */
const AWAY: BackoffPolicy = { initialMs: 5_000, factor: 2, maxMs: 600_000, jitter: 0.2 };

/** How the reason of each kind of block begins, and when the pool is asked again. */
const KINDS: Readonly<
  Record<PoolBlockKind, { readonly policy: BackoffPolicy; readonly words: string }>
> = {
  refused: { policy: REFUSED, words: "the provider refuses" },
  away: { policy: AWAY, words: "the provider does not answer as it should" },
  no_capacity: { policy: NO_CAPACITY, words: "the provider has none now" },
};

const BLOCKING: Readonly<Partial<Record<ProviderTrouble["kind"], PoolBlockKind>>> = {
  unauthorized: "refused",
  invalid: "refused",
  unavailable: "away",
  capacity: "no_capacity",
};

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
  /**
   * Takes in what came of asking for the pool's machines: where that is refused, or not answered, nothing
   * is asked for; where it is answered again, what only this had shown is gone.
   */
  noteListed(pool: string, answer: Provided<unknown>, now: number): void;
  /** A machine was made: what was in the way is gone. */
  noteMade(pool: string): void;
  /** Blocked pools with the reason. */
  at(now: number): ReadonlyMap<string, string>;
  /** As it is written down. */
  stored(decision: PoolDecision, now: number): StoredPool;
  /** Takes over what another leader wrote: once, of pools that nothing is known of here. */
  restore(pools: readonly StoredPool[]): void;
  /** Forgets what an earlier lead saw. */
  reset(): void;
}

interface Block {
  readonly until: number;
  readonly reason: string;
  readonly kind: PoolBlockKind;
  readonly failures: number;
  /** Over as soon as the provider tells its machines. */
  readonly endsByList: boolean;
}

/** Makes the {@link PoolBlocks}. */
export function createPoolBlocks(random: Random): PoolBlocks {
  const blocks = new Map<string, Block>();
  /** Pools whose machines were not told when they were asked for last. */
  const unlisted = new Set<string>();
  /** Pools of which more is known here than was written down. */
  const known = new Set<string>();
  const block = (
    pool: string,
    { kind: trouble, message, retryAfterMs }: ProviderTrouble,
    { now, endsByList }: { readonly now: number; readonly endsByList: boolean },
  ): void => {
    const kind = BLOCKING[trouble];
    if (kind === undefined) return;
    const { policy, words } = KINDS[kind];
    known.add(pool);
    const failures = (blocks.get(pool)?.failures ?? 0) + 1;
    const pauseMs = retryAfterMs ?? backoffMs(policy, failures, random);
    const until = now + Math.min(policy.maxMs, pauseMs);
    blocks.set(pool, { until, reason: `${words}: ${message}`, kind, failures, endsByList });
  };
  return {
    note(pool, trouble, offerIndex, offerCount, now) {
      if (trouble.kind === "capacity" && offerIndex + 1 < offerCount) return;
      block(pool, trouble, { now, endsByList: unlisted.has(pool) });
    },
    noteListed(pool, answer, now) {
      const found = blocks.get(pool);
      if (answer.kind === "ok") {
        unlisted.delete(pool);
        if (found?.endsByList === true) blocks.delete(pool);
        return;
      }
      unlisted.add(pool);
      if (found === undefined || found.until <= now) {
        block(pool, answer.trouble, { now, endsByList: true });
      } else if (found.kind !== "no_capacity") {
        // A request showed it first: it is the same trouble.
        blocks.set(pool, { ...found, endsByList: true });
      }
    },
    noteMade(pool) {
      known.add(pool);
      blocks.delete(pool);
    },
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
        blockKind: isBlocked ? found.kind : null,
        failures: found?.failures ?? 0,
        decision,
      };
    },
    restore(pools) {
      for (const { name, blockedUntil: until, reason, blockKind, failures } of pools) {
        if (known.has(name)) continue;
        known.add(name);
        if (until === null || reason === null) continue;
        // What it came of is not written down; a person who restarts has mended something.
        const kind = blockKind ?? "away";
        blocks.set(name, { until, reason, kind, failures, endsByList: kind !== "no_capacity" });
      }
    },
    reset() {
      for (const all of [blocks, unlisted, known]) all.clear();
    },
  };
}
