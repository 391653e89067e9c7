/** How many machines a fleet should have, and how many may be on their way. Pure. */
import type { Lifespan } from "../lifespan.ts";
import type { Demand, FleetPolicy } from "../reconcile/model.ts";

/** A job whose like never ran is thought to take this long. */
export const UNKNOWN_JOB_MS = 30_000;
/** A queue that is late already is worked off by at most so many times as many instances. */
const LATE_FACTOR_MAX = 2;

/**
 * Instances that bring every waiting job to its start within the target, by what jobs took lately; more
 * when the oldest has waited too long already. Never more than there are jobs.
 */
export function desiredInstances(
  { waitingJobs, runningJobs, jobMs, oldestWaitMs }: Demand,
  { targetWaitMs }: Pick<FleetPolicy, "targetWaitMs">,
): number {
  const jobs = waitingJobs + runningJobs;
  if (jobs === 0) return 0;
  const oneMs = jobMs ?? UNKNOWN_JOB_MS;
  // What runs now is half done, as far as anybody knows.
  const workMs = waitingJobs * oneMs + (runningJobs * oneMs) / 2;
  const late = Math.min(LATE_FACTOR_MAX, Math.max(1, (oldestWaitMs ?? 0) / targetWaitMs));
  // Jobs longer than the target need an instance each.
  const needed = Math.ceil((workMs * late) / Math.max(targetWaitMs, oneMs));
  return Math.min(jobs, Math.max(1, needed));
}

/**
 * Machines that may be started and not yet healthy at once: `startAtOnce` to begin with, more for each
 * that came up, so that a wave of them is `growth` times the one before (1, 2, 4, 8 for a growth of 2);
 * divided by `growth` for each that never did. One that worked and died says nothing about starts.
 */
export function startAllowance(
  lifespans: readonly Lifespan[],
  { startAtOnce, growth }: Pick<FleetPolicy, "startAtOnce" | "growth">,
): number {
  const starts = lifespans
    .flatMap(({ healthyAt, end }) => {
      if (healthyAt !== null) return { at: healthyAt, cameUp: true };
      return end?.cause === "failed" ? { at: end.at, cameUp: false } : [];
    })
    .toSorted((one, other) => one.at - other.at);
  const allowed = starts.reduce(
    (before, { cameUp }) =>
      cameUp ? before + (growth - 1) : Math.max(startAtOnce, Math.floor(before / growth)),
    startAtOnce,
  );
  return Math.max(1, Math.floor(allowed));
}
