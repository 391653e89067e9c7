import type { Clock } from "@holdfast/runtime";

/** How many requests a caller may send: `burst` at once, `perSecond` for ever. */
export interface RateLimit {
  readonly perSecond: number;
  readonly burst: number;
}

/** What every caller may send unless a setting says otherwise. */
export const DEFAULT_RATE_LIMIT: RateLimit = { perSecond: 200, burst: 1000 };

/** Whether one more request goes through. */
export type RateDecision =
  { readonly kind: "allowed" } | { readonly kind: "limited"; readonly retryAfterSeconds: number };

/** Counts requests by name in memory: a replica limits what it sees itself. */
export interface RateLimiter {
  take(name: string): RateDecision;
}

interface Bucket {
  tokens: number;
  filledAt: number;
}

/** Names that a limiter remembers; the one used longest ago is forgotten, which refills it. */
const MAX_BUCKETS = 10_000;

/** A token bucket for each name. */
export function createRateLimiter(limit: RateLimit, clock: Pick<Clock, "elapsed">): RateLimiter {
  const buckets = new Map<string, Bucket>();
  return {
    take(name) {
      const now = clock.elapsed();
      const bucket = buckets.get(name) ?? { tokens: limit.burst, filledAt: now };
      // Taken out and put back: the map's order is then the order of last use.
      buckets.delete(name);
      buckets.set(name, bucket);
      if (buckets.size > MAX_BUCKETS) {
        const [oldest] = buckets.keys();
        if (oldest !== undefined) buckets.delete(oldest);
      }
      const gained = ((now - bucket.filledAt) / 1000) * limit.perSecond;
      bucket.tokens = Math.min(limit.burst, bucket.tokens + gained);
      bucket.filledAt = now;
      if (bucket.tokens >= 1) {
        bucket.tokens -= 1;
        return { kind: "allowed" };
      }
      const waitSeconds = (1 - bucket.tokens) / limit.perSecond;
      return { kind: "limited", retryAfterSeconds: Math.max(1, Math.ceil(waitSeconds)) };
    },
  };
}
