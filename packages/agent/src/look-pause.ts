import type { AgentLimits } from "./limits.ts";

/** How an instance was at the last look. */
export interface LastLook {
  readonly isReady: boolean;
  /** Nothing listens where it should be. */
  readonly isGone: boolean;
  /** Looks in a row that got no answer, this one included. */
  readonly troubles: number;
}

/** Doublings after which the longest pause is reached under any limits. */
const MAX_DOUBLINGS = 10;

/** Milliseconds until the next look at an instance: soon while it is not well, longer each time. */
export function lookPauseMs(
  { isReady, isGone, troubles }: LastLook,
  limits: Pick<AgentLimits, "goneEveryMs" | "healthEveryMs" | "troubleEveryMs">,
): number {
  if (isReady) return limits.healthEveryMs;
  const growing = limits.troubleEveryMs * 2 ** Math.min(troubles, MAX_DOUBLINGS);
  return Math.min(growing, isGone ? limits.goneEveryMs : limits.healthEveryMs);
}
