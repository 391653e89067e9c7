/**
 * The rolling failure rate. A machine is seen while it lives, and after its end for as long as the
 * window is; failed while it is seen and its end was a failure. It is out at exactly the window's length
 * after its end. All instants at which a count changes are known beforehand, so they are laid out as
 * steps once and walked through: neither a look nor a forecast counts every machine again.
 */
import type { Lifespan } from "../lifespan.ts";
import type { BreakerPolicy } from "./policy.ts";

/** Machines in the window at an instant. */
export interface FailureCounts {
  readonly seen: number;
  readonly failed: number;
  /** failed ÷ seen; 0 when nothing was seen. */
  readonly rate: number;
}

/** An instant at which something changes, with everything that changes then. */
export interface CountStep {
  /** Epoch ms. */
  readonly at: number;
  readonly seen: number;
  readonly failed: number;
  /** When the machines were started that fail at this instant. */
  readonly failedSpawns: readonly number[];
  /** A failure leaves the window. */
  readonly isFailureOut: boolean;
  /** A machine is healthy for the first time. */
  readonly isHealthy: boolean;
}

/** The counts at an instant, and the steps after it in their order, one an instant. */
export function countsAndSteps(
  lifespans: readonly Lifespan[],
  policy: Pick<BreakerPolicy, "windowMs" | "clearedBefore">,
  from: number,
): { readonly counts: FailureCounts; readonly steps: readonly CountStep[] } {
  let seen = 0;
  let failed = 0;
  const all: CountStep[] = [];
  for (const one of lifespans) {
    // Of thousands that just live, nothing but their number is needed.
    if (one.end === null && one.spawnedAt <= from && (one.healthyAt ?? from) <= from) {
      seen += 1;
      continue;
    }
    for (const step of stepsOf(one, policy)) {
      if (step.at > from) all.push(step);
      else {
        seen += step.seen;
        failed += step.failed;
      }
    }
  }
  return { counts: toCounts(seen, failed), steps: inOrder(all) };
}

function inOrder(unordered: readonly CountStep[]): readonly CountStep[] {
  const all = unordered.toSorted((one, other) => one.at - other.at);
  const steps: CountStep[] = [];
  for (const step of all) {
    const last = steps.at(-1);
    if (last?.at === step.at) steps[steps.length - 1] = together(last, step);
    else steps.push(step);
  }
  return steps;
}

/** Counts after a step. */
export function afterStep(counts: FailureCounts, step: CountStep): FailureCounts {
  return toCounts(counts.seen + step.seen, counts.failed + step.failed);
}

function toCounts(seen: number, failed: number): FailureCounts {
  return { seen, failed, rate: seen === 0 ? 0 : failed / seen };
}

/** At or over the threshold, with enough machines to tell. */
export function isOverThreshold(
  { seen, rate }: FailureCounts,
  { minimum, threshold }: Pick<BreakerPolicy, "minimum" | "threshold">,
): boolean {
  return seen >= minimum && rate >= threshold;
}

const NOTHING = { seen: 0, failed: 0, failedSpawns: [], isFailureOut: false, isHealthy: false };

/** A step at which nothing changes. */
export function nothingAt(at: number): CountStep {
  return { ...NOTHING, at };
}

function stepsOf(
  { spawnedAt, healthyAt, end }: Lifespan,
  { windowMs, clearedBefore }: Pick<BreakerPolicy, "windowMs" | "clearedBefore">,
): readonly CountStep[] {
  const steps: CountStep[] = [{ ...NOTHING, at: spawnedAt, seen: 1 }];
  if (healthyAt !== null) steps.push({ ...NOTHING, at: healthyAt, isHealthy: true });
  if (end === null) return steps;
  if (end.cause === "intended") {
    return [...steps, { ...NOTHING, at: end.at + windowMs, seen: -1 }];
  }
  // As if it had not been: from its end on neither seen nor failed.
  if (clearedBefore !== null && end.at < clearedBefore) {
    return [...steps, { ...NOTHING, at: end.at, seen: -1 }];
  }
  return [
    ...steps,
    { ...NOTHING, at: end.at, failed: 1, failedSpawns: [spawnedAt] },
    { ...NOTHING, at: end.at + windowMs, seen: -1, failed: -1, isFailureOut: true },
  ];
}

function together(one: CountStep, other: CountStep): CountStep {
  return {
    at: one.at,
    seen: one.seen + other.seen,
    failed: one.failed + other.failed,
    failedSpawns: [...one.failedSpawns, ...other.failedSpawns],
    isFailureOut: one.isFailureOut || other.isFailureOut,
    isHealthy: one.isHealthy || other.isHealthy,
  };
}
