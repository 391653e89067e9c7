/**
 * How one state of the breaker follows the other. Pure.
 *
 * I1. `open` exactly while the failure rate is at or over the threshold with enough machines seen.
 * I2. What was open and is not any more is `half_open`: one machine at a time is tried, until one is
 *     healthy. Only then it is `closed`.
 * I3. A machine that is tried is seen itself, which may bring the rate over the threshold again until it
 *     is healthy: that proves as much, unless a machine fails afterwards.
 */
import type { CountStep } from "./counts.ts";

/** States of the breaker. */
export type BreakerState = "closed" | "open" | "half_open";

/** Where the breaker stands. */
export interface Standing {
  readonly state: BreakerState;
  /** Epoch ms of the last change of state; null for one that was never open. */
  readonly since: number | null;
  /** Since it was closed last; null while it is. */
  readonly trial: Trial | null;
}

/** What is known of machines that were tried. */
export interface Trial {
  /** Epoch ms when it was half-open for the first time; null: not yet. */
  readonly halfOpenedAt: number | null;
  /** A machine was healthy since, and none has failed after that. */
  readonly isProved: boolean;
  /** Machines that were started since, and failed. */
  readonly failedProbes: number;
  /** Epoch ms of the last of them; null without one. */
  readonly probeFailedAt: number | null;
}

const NEW_TRIAL: Trial = {
  halfOpenedAt: null,
  isProved: false,
  failedProbes: 0,
  probeFailedAt: null,
};

/** Where it stands after a step; `isOver`: the rate is at or over the threshold then. */
export function nextStanding(before: Standing, step: CountStep, isOver: boolean): Standing {
  const trial = before.trial === null ? null : afterTrial(before.trial, step);
  const enter = (state: BreakerState, next: Trial | null): Standing => ({
    state,
    since: state === before.state ? before.since : step.at,
    trial: next,
  });
  if (isOver) return enter("open", trial ?? NEW_TRIAL); // I1
  if (trial === null || trial.isProved) return enter("closed", null);
  return enter("half_open", { ...trial, halfOpenedAt: trial.halfOpenedAt ?? step.at }); // I2
}

function afterTrial(trial: Trial, { at, failedSpawns, isHealthy }: CountStep): Trial {
  const { halfOpenedAt } = trial;
  if (halfOpenedAt === null) return trial;
  const failed = failedSpawns.filter((spawnedAt) => spawnedAt >= halfOpenedAt).length;
  return {
    halfOpenedAt,
    isProved: isHealthy || (trial.isProved && failedSpawns.length === 0), // I3
    failedProbes: trial.failedProbes + failed,
    probeFailedAt: failed > 0 ? at : trial.probeFailedAt,
  };
}

/** Machines that were tried and failed before this instant are as if they had not been. */
export function withoutCleared(standing: Standing, clearedBefore: number | null): Standing {
  const { trial } = standing;
  if (trial === null || trial.probeFailedAt === null || clearedBefore === null) return standing;
  if (trial.probeFailedAt >= clearedBefore) return standing;
  return { ...standing, trial: { ...trial, failedProbes: 0, probeFailedAt: null } };
}

/** Longest pause between two probes. */
const PROBE_PAUSE_MS_MAX = 4 * 60 * 60_000;

/**
 * Epoch ms before which no machine is tried, because those before it failed; null: one may be tried now.
 * A window's length after the second that failed in a row, then twice as long each time: a trouble that
 * ends by itself is found to have ended soon, and a night with a broken image costs a handful of machines.
 */
export function probeAtOf(trial: Trial | null, windowMs: number, now: number): number | null {
  if (trial === null || trial.probeFailedAt === null || trial.failedProbes < 2) return null;
  const pauseMs = Math.min(PROBE_PAUSE_MS_MAX, windowMs * 2 ** (trial.failedProbes - 2));
  const at = trial.probeFailedAt + pauseMs;
  return at > now ? at : null;
}
