/**
 * Whether new machines may be started. Pure: machines and an instant in, a state and a forecast out.
 *
 * How one state follows the other is in `standing.ts`. It is walked through all instants at which a
 * count changes, however seldom it is looked at: the state does not depend on when somebody looked.
 */
import { FAILURE_KINDS, type FailureKind, type Lifespan } from "../lifespan.ts";
import {
  afterStep,
  countsAndSteps,
  isOverThreshold,
  nothingAt,
  type CountStep,
  type FailureCounts,
} from "./counts.ts";
import type { BreakerPolicy } from "./policy.ts";
import {
  nextStanding,
  probeAtOf,
  withoutCleared,
  type BreakerState,
  type Standing,
} from "./standing.ts";

/** What has to be kept between two looks, where not all machines that ever were are known. */
export interface BreakerMemory extends Standing {
  /** Epoch ms of the last look. */
  readonly lookedAt: number;
}

/** How the rate goes on: after a failure has left the window. */
export interface RatePoint {
  /** Epoch ms. */
  readonly at: number;
  readonly rate: number;
}

/** The breaker at an instant. */
export interface BreakerView extends FailureCounts {
  readonly state: BreakerState;
  /** Epoch ms of the last change of state; null for one that was never open. */
  readonly since: number | null;
  /** Enough machines are in the window for a check. */
  readonly isChecked: boolean;
  /** Epoch ms at which machines may be started again, if nothing else fails; null unless open. */
  readonly resumesAt: number | null;
  /**
   * Half-open: epoch ms before which no machine is tried, for those before it failed; null when one may
   * be tried now. `resumesAt` knows nothing of it: the rate alone decides about that.
   */
  readonly probeAt: number | null;
  /** When each failure leaves the window, and the rate then, if nothing else happens. */
  readonly timeline: readonly RatePoint[];
  /** Failures in the window by kind, every kind named; those of no known kind are in none. */
  readonly causes: Readonly<Record<FailureKind, number>>;
}

/** One that was never looked at. */
export const NEW_BREAKER: BreakerMemory = {
  state: "closed",
  since: null,
  trial: null,
  lookedAt: -Infinity,
};

/** The breaker at an instant (epoch ms), and what to keep for the next look. */
export function lookAtBreaker(
  lifespans: readonly Lifespan[],
  policy: BreakerPolicy,
  now: number,
  memory: BreakerMemory = NEW_BREAKER,
): { readonly view: BreakerView; readonly memory: BreakerMemory } {
  // What is going to end after `now` has not ended yet, and what has not been started is not there.
  const known = lifespans.filter(({ spawnedAt }) => spawnedAt <= now).map((one) => asOf(one, now));
  const from = Math.min(memory.lookedAt, now);
  const { counts: before, steps } = countsAndSteps(known, policy, from);
  const past = steps.filter(({ at }) => at <= now);
  const ahead = steps.slice(past.length);
  let counts = before;
  let standing: Standing = withoutCleared(memory, policy.clearedBefore);
  for (const step of past) {
    counts = afterStep(counts, step);
    if (step.at > memory.lookedAt) {
      standing = nextStanding(standing, step, isOverThreshold(counts, policy));
    }
  }
  // A changed policy holds from now on, at an instant at which no machine changes.
  standing = nextStanding(standing, nothingAt(now), isOverThreshold(counts, policy));
  const { state, since, trial } = standing;
  const forecast = forecastOf(counts, ahead, policy);
  return {
    memory: { state, since, trial, lookedAt: now },
    view: {
      ...counts,
      state,
      since,
      isChecked: counts.seen >= policy.minimum,
      resumesAt: state === "open" ? forecast.resumesAt : null,
      probeAt: state === "half_open" ? probeAtOf(trial, policy.windowMs, now) : null,
      timeline: forecast.timeline,
      causes: causesOf(known, policy, now),
    },
  };
}

/**
 * How many machines may be started now, as far as the breaker goes; `starting` is how many were started
 * and have not been healthy yet.
 */
export function spawnAllowance(
  { state, probeAt }: Pick<BreakerView, "state" | "probeAt">,
  starting: number,
): number {
  if (state === "closed") return Infinity;
  return state === "half_open" && starting === 0 && probeAt === null ? 1 : 0;
}

function asOf(one: Lifespan, now: number): Lifespan {
  const { healthyAt, end } = one;
  if ((end === null || end.at <= now) && (healthyAt === null || healthyAt <= now)) return one;
  return {
    ...one,
    healthyAt: healthyAt !== null && healthyAt <= now ? healthyAt : null,
    end: end !== null && end.at <= now ? end : null,
  };
}

function forecastOf(
  counts: FailureCounts,
  ahead: readonly CountStep[],
  policy: BreakerPolicy,
): { readonly resumesAt: number | null; readonly timeline: readonly RatePoint[] } {
  const timeline: RatePoint[] = [];
  let resumesAt: number | null = null;
  let later = counts;
  for (const step of ahead) {
    later = afterStep(later, step);
    if (step.isFailureOut) timeline.push({ at: step.at, rate: later.rate });
    if (resumesAt === null && !isOverThreshold(later, policy)) resumesAt = step.at;
  }
  return { resumesAt, timeline };
}

function causesOf(
  known: readonly Lifespan[],
  { windowMs, clearedBefore }: BreakerPolicy,
  now: number,
): Readonly<Record<FailureKind, number>> {
  const causes = Object.fromEntries(FAILURE_KINDS.map((kind) => [kind, 0]));
  for (const { end } of known) {
    if (end?.cause !== "failed" || end.kind === null || now - end.at >= windowMs) continue;
    if (clearedBefore !== null && end.at < clearedBefore) continue;
    causes[end.kind] = (causes[end.kind] ?? 0) + 1;
  }
  return causes as Readonly<Record<FailureKind, number>>;
}
