/**
 * Whose turn it is for a planned restart (release, settings, take-over, recycling): one instance of
 * the machine at a time, and the next only when the one before serves again. Pure.
 */

/** An instance, as far as it matters for turns. */
export interface RollFacts {
  readonly name: string;
  /** What it should be started anew for; null for nothing. */
  readonly needs: "change" | "unmanaged" | "memory_growth" | null;
  /** For long enough not to be the last breath of one that dies at its first job. */
  readonly isHealthy: boolean;
  readonly isBusy: boolean;
  /** Its process was started from what is wanted now. */
  readonly isOnWanted: boolean;
  /** Monotonic instant at which its process was started; null when none runs. */
  readonly startedAt: number | null;
  readonly startTimeoutMs: number;
  readonly isLooping: boolean;
  /** Another instance, whose turn has not come yet, still has the port that it is to have. */
  readonly waitsForOther: boolean;
  /** Its card is ill, or its card or port are somebody's: it cannot run, whatever it is started from. */
  readonly isHindered: boolean;
  /** Why it does not serve, for the message. */
  readonly trouble: string | null;
}

/** State between two decisions. */
export interface Rollout {
  readonly turn: {
    readonly name: string;
    /** It was for another release or other settings. */
    readonly isChange: boolean;
    /** Its restart was seen; null before. */
    readonly restartedAt: number | null;
  } | null;
  /** Set when an instance did not become healthy on what is wanted now: no more of them are touched. */
  readonly failure: { readonly name: string; readonly reason: string } | null;
  /** An instance has become healthy on what is wanted now. */
  readonly isProven: boolean;
}

/** Before anything was changed. */
export const NEW_ROLLOUT: Rollout = { turn: null, failure: null, isProven: false };

/** The state after what is seen now. */
export function nextRollout(
  before: Rollout,
  instances: readonly RollFacts[],
  now: number,
): Rollout {
  const isProven = before.isProven || instances.some((one) => one.isOnWanted && one.isHealthy);
  const failure = stillFailed(before.failure, instances);
  const rollout = { ...before, isProven, failure };
  const turn = continueTurn(rollout, instances, now);
  if (turn === null || turn.kind === "over") {
    // While it has failed, no further instance is risked, not for a lesser cause either: whichever is
    // started anew now might not come back.
    return { ...rollout, turn: failure === null ? nextTurn(instances) : null };
  }
  if (turn.kind === "failed") return { ...rollout, turn: null, failure: turn.failure };
  return { ...rollout, turn: turn.turn };
}

/** A failure is over when the instance serves after all, on what is wanted; is gone, or cannot run. */
function stillFailed(
  failure: Rollout["failure"],
  instances: readonly RollFacts[],
): Rollout["failure"] {
  const one = instances.find(({ name }) => name === failure?.name);
  return one === undefined || one.isHindered || (one.isOnWanted && one.isHealthy) ? null : failure;
}

type TurnNow =
  | { readonly kind: "goes_on"; readonly turn: NonNullable<Rollout["turn"]> }
  | { readonly kind: "over" }
  | { readonly kind: "failed"; readonly failure: NonNullable<Rollout["failure"]> };

function continueTurn(
  { turn }: Rollout,
  instances: readonly RollFacts[],
  now: number,
): TurnNow | null {
  if (turn === null) return null;
  const one = instances.find(({ name }) => name === turn.name);
  if (one === undefined || one.waitsForOther || one.isHindered) return { kind: "over" };
  // Not started anew yet: it is drained, or about to be. Without a need the cause went away.
  if (one.isOnWanted && one.isHealthy && one.needs === null) return { kind: "over" };
  if (one.needs !== null) return { kind: "goes_on", turn };
  const restartedAt = turn.restartedAt ?? one.startedAt ?? now;
  const isLate = now - restartedAt >= one.startTimeoutMs;
  if (!isLate && !one.isLooping) return { kind: "goes_on", turn: { ...turn, restartedAt } };
  if (!turn.isChange) return { kind: "over" };
  const reason = one.isLooping
    ? `${one.name} ends again and again`
    : `${one.name} was not healthy ${one.startTimeoutMs / 1_000} s after its start`;
  return {
    kind: "failed",
    failure: {
      name: one.name,
      reason: one.trouble === null ? reason : `${reason}: ${one.trouble}`,
    },
  };
}

const ORDER = ["change", "unmanaged", "memory_growth"] as const;

/** Whoever costs least goes first: one that does not serve anyway, then one without a job. */
function nextTurn(instances: readonly RollFacts[]): Rollout["turn"] {
  const cost = (one: RollFacts): number =>
    (one.needs === null ? 0 : ORDER.indexOf(one.needs)) * 4 +
    (one.isHealthy ? 2 : 0) +
    (one.isBusy ? 1 : 0);
  const first = instances
    .filter(({ needs, isHindered }) => needs !== null && !isHindered)
    .reduce<RollFacts | null>(
      (best, one) => (best === null || cost(one) < cost(best) ? one : best),
      null,
    );
  if (first === null) return null;
  return { name: first.name, isChange: first.needs === "change", restartedAt: null };
}
