import { assertNever, type Random } from "@holdfast/runtime";
import type { TryDecision, TryOutcome } from "./model.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/**
 * Delays before the second try, the third, …: fast for a target that restarts, then long enough for
 * somebody to notice and mend it. The last try is some 40 hours after the first.
 */
export const RETRY_DELAYS_MS: readonly number[] = [
  5 * SECOND,
  30 * SECOND,
  2 * MINUTE,
  10 * MINUTE,
  30 * MINUTE,
  HOUR,
  2 * HOUR,
  4 * HOUR,
  8 * HOUR,
  12 * HOUR,
  12 * HOUR,
];

/** Share of a delay that chance adds, so that what failed together is not tried together. */
const JITTER = 0.2;
const MAX_ERROR_LENGTH = 500;

/** What to do about a try. `attempt` is its number, from 1. */
export function decideTry(outcome: TryOutcome, attempt: number, random: Random): TryDecision {
  switch (outcome.kind) {
    case "answered": {
      if (outcome.status >= 200 && outcome.status < 300) return { kind: "delivered" };
      const error = `the target answered ${outcome.status}`;
      return outcome.status === 410
        ? { kind: "unsubscribed", error }
        : decideRetry(error, attempt, random);
    }
    case "failed":
      return decideRetry(outcome.reason.slice(0, MAX_ERROR_LENGTH), attempt, random);
    default:
      return assertNever(outcome);
  }
}

function decideRetry(error: string, attempt: number, random: Random): TryDecision {
  const delayMs = RETRY_DELAYS_MS[attempt - 1];
  if (delayMs === undefined) return { kind: "dead", error };
  return { kind: "retry", delayMs: Math.round(delayMs * (1 + JITTER * random.next())), error };
}

/** The host of a target, as tries are counted by; the same expression stands in `store.ts`. */
export function targetHost(url: string): string {
  return /^[a-z]+:\/\/([^/?#]+)/i.exec(url)?.[1]?.toLowerCase() ?? "";
}
