/** How many jobs ended how. */
import { assertNever } from "@holdfast/runtime";
import type { SampleOutcome } from "../sample/job-sample.ts";

/** Jobs by how they ended. */
export interface OutcomeCounts {
  completed: number;
  failed: number;
  timedOut: number;
  cancelled: number;
  refused: number;
}

/** None. */
export function noCounts(): OutcomeCounts {
  return { completed: 0, failed: 0, timedOut: 0, cancelled: 0, refused: 0 };
}

/** Counts one more. */
export function countOutcome(counts: OutcomeCounts, outcome: SampleOutcome): void {
  switch (outcome) {
    case "completed":
    case "failed":
    case "cancelled":
    case "refused":
      counts[outcome] += 1;
      return;
    case "timed_out":
      counts.timedOut += 1;
      return;
    default:
      assertNever(outcome);
  }
}

/** All that are counted. */
export function allOf(counts: OutcomeCounts): number {
  return counts.completed + counts.failed + counts.timedOut + counts.cancelled + counts.refused;
}

/** Those that ended by themselves. */
export function endedOf(counts: OutcomeCounts): number {
  return allOf(counts) - counts.cancelled;
}

/** The share that completed, of those that ended by themselves; null where none did. */
export function successRateOf(counts: OutcomeCounts): number | null {
  const ended = endedOf(counts);
  return ended === 0 ? null : counts.completed / ended;
}
