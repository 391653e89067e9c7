/** How long a run of a known cost may be without a sign of progress. Pure. */
import { peakOf, type Peak, type ProfileStatistics } from "./statistics.ts";

/** Times without a sign of progress that count as a stall. */
export interface StallLimits {
  readonly progressMs: number;
  /** Until the first sign of progress: models may still be loading. */
  readonly firstLoadMs: number;
}

/** The same, with what holds where the models are in memory already. */
export interface LeaseStall extends StallLimits {
  readonly warm?: StallLimits;
}

/** What is known of a run beside its profile. */
export interface StallFacts {
  /** As set, or by default. `isFixed`: set by an operator, it stays as it is whatever a profile says. */
  readonly set: StallLimits & {
    readonly isFixed: { readonly progress: boolean; readonly firstLoad: boolean };
  };
  /** Files of the caller go into it, whose sizes no profile knows. */
  readonly hasInputs: boolean;
  /** It was tried before, and may have been ended for a silence that a profile did not know. */
  readonly isTriedBefore: boolean;
}

/** Runs after which silences are believed to be known. */
export const STALL_MIN_RUNS = 10;
/** A silence of so many times the longest one that was seen is a stall. */
export const STALL_FACTOR = 3;
/** Never less: garbage collection, other programs on the machine, a slow disk. Outlasts F29 by far. */
export const STALL_FLOOR_MS = 30_000;
/** A profile raises a limit up to here. */
export const STALL_CEILING_MS = 15 * 60_000;

/**
 * The limits for a run with this profile. Everywhere they are only raised: what was seen of silences
 * with models in memory says nothing of a disk that is read for the first time. Lowered ones hold where
 * the agent knows that the process has the models in memory; agents that do not know of them go on with
 * the others.
 */
export function stallLimits(
  statistics: ProfileStatistics | undefined,
  { set, hasInputs, isTriedBefore }: StallFacts,
): LeaseStall {
  const { isFixed } = set;
  if (statistics === undefined) {
    return { progressMs: set.progressMs, firstLoadMs: set.firstLoadMs };
  }
  const { stepSilenceMs, warmLoadSilenceMs, coldLoadSilenceMs } = statistics;
  const general: StallLimits = {
    progressMs: isFixed.progress ? set.progressMs : raised(set.progressMs, [stepSilenceMs]),
    firstLoadMs: isFixed.firstLoad
      ? set.firstLoadMs
      : raised(set.firstLoadMs, [coldLoadSilenceMs, warmLoadSilenceMs]),
  };
  // Only what succeeds is learned of: a shape that has become slower would never come through.
  if (hasInputs || isTriedBefore || isFixed.progress) return general;
  const progressMs = lowered(general.progressMs, [stepSilenceMs]);
  // The first step may be as long as any other.
  const firstLoadMs = isFixed.firstLoad
    ? set.firstLoadMs
    : lowered(general.firstLoadMs, [warmLoadSilenceMs, stepSilenceMs]);
  const isLower = progressMs < general.progressMs || firstLoadMs < general.firstLoadMs;
  return isLower ? { ...general, warm: { progressMs, firstLoadMs } } : general;
}

/** Never under what is set: for what a profile has seen too little of. */
function raised(setMs: number, peaks: readonly Peak[]): number {
  return Math.max(setMs, Math.min(STALL_CEILING_MS, STALL_FACTOR * longest(peaks)));
}

function lowered(setMs: number, peaks: readonly Peak[]): number {
  if (peaks.some((peak) => peak.count < STALL_MIN_RUNS)) return setMs;
  return Math.min(setMs, Math.max(STALL_FLOOR_MS, Math.ceil(STALL_FACTOR * longest(peaks))));
}

function longest(peaks: readonly Peak[]): number {
  return Math.ceil(Math.max(0, ...peaks.map((peak) => peakOf(peak) ?? 0)));
}
