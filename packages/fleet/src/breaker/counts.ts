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

/** Nothing seen. */
export const NO_COUNTS: FailureCounts = { seen: 0, failed: 0, rate: 0 };

/** The steps of these machines, in their order, one an instant. */
export function countSteps(
  lifespans: readonly Lifespan[],
  policy: Pick<BreakerPolicy, "windowMs" | "clearedBefore">,
): readonly CountStep[] {
  const all = lifespans
    .flatMap((one) => stepsOf(one, policy))
    .toSorted((one, other) => one.at - other.at);
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
  const seen = counts.seen + step.seen;
  const failed = counts.failed + step.failed;
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
