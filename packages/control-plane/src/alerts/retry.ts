import { assertNever, backoffMs, type Random } from "@holdfast/runtime";
import { MAX_ERROR_LENGTH, type NoticeCause, type SendOutcome } from "./model.ts";

/** What is to be done about a try. */
export type TryDecision =
  | { readonly kind: "delivered" }
  | { readonly kind: "retry"; readonly delayMs: number; readonly error: string }
  | { readonly kind: "dead"; readonly error: string };

/** An alert that comes late is of little use: soon again, and never much later. */
const BACKOFF = { initialMs: 5_000, factor: 2, maxMs: 60_000, jitter: 0.2 };
/** Some twenty minutes after the first. */
export const MAX_TRIES = 24;

/**
 * What to do about a try; `attempt` is its number, from 1. A test is tried once: whoever asked for it
 * waits for the outcome, and wants no test when the channel is mended.
 */
export function decideTry(
  outcome: SendOutcome,
  attempt: number,
  random: Random,
  cause: NoticeCause = "change",
): TryDecision {
  switch (outcome.kind) {
    case "sent":
      return { kind: "delivered" };
    case "refused":
      return { kind: "dead", error: outcome.reason.slice(0, MAX_ERROR_LENGTH) };
    case "failed":
    case "unknown": {
      const error = outcome.reason.slice(0, MAX_ERROR_LENGTH);
      if (attempt >= MAX_TRIES || cause === "test") return { kind: "dead", error };
      return { kind: "retry", delayMs: Math.round(backoffMs(BACKOFF, attempt, random)), error };
    }
    default:
      return assertNever(outcome);
  }
}
