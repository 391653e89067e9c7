/**
 * What each step of a pace came to. The first fifth of a step is left out: the queue that the step before
 * left is still being worked off, and the new one is not yet there.
 */
import type { LevelWindow } from "../plan/profile.ts";
import type { JobSample } from "../sample/job-sample.ts";
import { allOf, countOutcome, noCounts, successRateOf, type OutcomeCounts } from "./counts.ts";
import { createHistogram, type Histogram } from "./histogram.ts";
import type { LevelSummary } from "./model.ts";
import { hasLatency, percentilesOf, totalMicros } from "./phase-histograms.ts";

/** Share of a step's time that is left out at its beginning. */
export const SETTLE_SHARE = 0.2;
const MS_PER_SECOND = 1_000;
const MS_PER_MINUTE = 60_000;

/** What each step came to. */
export interface LevelCounts {
  add(sample: JobSample): void;
  /** Steps that were begun, by the end of the run's last job. `spanMs`: its pace was held until then. */
  list(lastEndMs: number, spanMs: number): readonly LevelSummary[];
}

interface Seen {
  readonly level: number;
  readonly fromMs: number;
  readonly untilMs: number;
  /** Of jobs that were meant to begin in it. */
  readonly begun: OutcomeCounts;
  readonly total: Histogram;
  /** That ended in it, whenever they began: that is what a throughput counts. */
  completed: number;
  outputs: number;
}

/** No job of these steps yet. */
export function createLevelCounts(windows: readonly LevelWindow[]): LevelCounts {
  const levels = windows.map(({ level, fromMs, untilMs }): Seen => ({
    level,
    fromMs: fromMs + (untilMs - fromMs) * SETTLE_SHARE,
    untilMs,
    begun: noCounts(),
    total: createHistogram(),
    completed: 0,
    outputs: 0,
  }));
  const at = (ms: number): Seen | undefined =>
    levels.find(({ fromMs, untilMs }) => ms >= fromMs && ms < untilMs);
  return {
    add(sample) {
      const own = at(sample.intendedMs);
      if (own !== undefined) {
        countOutcome(own.begun, sample.outcome);
        if (hasLatency(sample)) own.total.record(totalMicros(sample));
      }
      if (sample.outcome !== "completed") return;
      const ending = at(sample.endedMs);
      if (ending === undefined) return;
      ending.completed += 1;
      ending.outputs += sample.outputs;
    },
    list: (lastEndMs, spanMs) =>
      levels
        .filter(({ fromMs }) => fromMs < lastEndMs)
        .map((seen) => toSummary(seen, Math.max(lastEndMs, spanMs))),
  };
}

function toSummary(seen: Seen, lastMs: number): LevelSummary {
  const untilMs = Math.min(seen.untilMs, lastMs);
  const minutes = (untilMs - seen.fromMs) / MS_PER_MINUTE;
  return {
    level: seen.level,
    fromSeconds: seen.fromMs / MS_PER_SECOND,
    untilSeconds: untilMs / MS_PER_SECOND,
    jobs: allOf(seen.begun),
    completed: seen.begun.completed,
    successRate: successRateOf(seen.begun),
    throughputPerMinute: seen.completed / minutes,
    imagesPerMinute: seen.outputs / minutes,
    total: percentilesOf(seen.total),
  };
}
