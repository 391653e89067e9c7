import { isHoldfastError, type ErrorCode } from "@holdfast/contract";
import { backoffMs, type Abortable, type Clock, type Random } from "@holdfast/runtime";
import type { AgentLimits } from "./limits.ts";

/** Codes that mean "try again"; so does everything that is no HoldfastError. */
const TRANSIENT: ReadonlySet<ErrorCode> = new Set([
  "database_unavailable",
  "internal",
  "overloaded",
  "rate_limited",
  "shutting_down",
  "store_unavailable",
]);

/** Whether a failed call to the control plane may succeed later. */
export function isTransient(error: unknown): boolean {
  return !isHoldfastError(error) || TRANSIENT.has(error.code);
}

/** What pauses between calls to the control plane are made of. */
export interface RetryDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: Pick<AgentLimits, "linkBackoffMs" | "linkBackoffMaxMs">;
}

/** The pause before try number `attempt` + 1. */
export function linkPauseMs(deps: RetryDeps, attempt: number): number {
  const { linkBackoffMs: initialMs, linkBackoffMaxMs: maxMs } = deps.limits;
  return backoffMs({ initialMs, maxMs, factor: 2, jitter: 0.3 }, attempt, deps.random);
}

/**
 * Repeats a call until it succeeds, fails for good (that is thrown) or the signal ends it.
 * `onTrouble` is told of every failure that is tried again.
 */
export async function untilAnswered<T>(
  deps: RetryDeps,
  signal: Abortable,
  call: () => Promise<T>,
  onTrouble: (error: unknown, attempt: number) => Promise<void> | void,
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await call();
    } catch (error) {
      if (signal.aborted || !isTransient(error)) throw error;
      await onTrouble(error, attempt);
    }
    await deps.clock.sleep(linkPauseMs(deps, attempt), signal);
  }
}
