/**
 * Sums up the samples of a run as they come, in flat memory: a million of them take no more than the first
 * thousand. So a summary can be had while the run goes on.
 */
import { spanOf } from "../plan/arrivals.ts";
import type { Pace } from "../plan/pace.ts";
import { levelWindows, type LevelWindow } from "../plan/profile.ts";
import type { GpuSample } from "../sample/gpu-sample.ts";
import type { JobSample } from "../sample/job-sample.ts";
import { allOf, countOutcome, noCounts } from "./counts.ts";
import { createErrorCounts } from "./errors.ts";
import { createGpuCounts } from "./gpus.ts";
import { createLevelCounts } from "./levels.ts";
import type { LoadSummary } from "./model.ts";
import { createSteadyCounts, type SteadyLoad } from "./steady.ts";
import type { LoadTimeline } from "./timeline-model.ts";
import { createTimeline } from "./timeline.ts";

/** What samples alone say of a run. */
export type MeasuredLoad = SteadyLoad &
  Pick<
    LoadSummary,
    | "durationSeconds"
    | "byLevel"
    | "errors"
    | "retries"
    | "changedByRecovery"
    | "outputs"
    | "bytes"
    | "gpu"
  > & {
    readonly jobs: Omit<LoadSummary["jobs"], "asked" | "neverBegun">;
  };

/** Takes samples, in the order in which their jobs ended or in any other. */
export interface LoadCollector {
  /** `message`: of the error, for an example of its class. */
  add(sample: JobSample, message?: string): void;
  addGpu(sample: GpuSample): void;
  measured(): MeasuredLoad;
  timeline(): LoadTimeline;
}

const MS_PER_SECOND = 1_000;

/** What of a run's pace its figures go by. */
export interface CollectedPace {
  /** Its steps, if it has any. */
  readonly levels: readonly LevelWindow[];
  /** Of an open loop: until when the jobs up to an index stand for its pace. */
  readonly span: ((lastIndex: number) => number) | null;
}

/** What the figures of a pace go by. */
export function collectedPace(pace: Pace, seed: number): CollectedPace {
  return { levels: levelWindows(pace), span: spanOf(pace, seed) };
}

/** Nothing collected yet. */
export function createLoadCollector({
  levels = [],
  span = null,
}: Partial<CollectedPace> = {}): LoadCollector {
  const all = noCounts();
  const steady = createSteadyCounts(span);
  const errors = createErrorCounts();
  const gpus = createGpuCounts();
  const steps = createLevelCounts(levels);
  const timeline = createTimeline();
  const sums = { retries: 0, changedByRecovery: 0, outputs: 0, bytes: 0 };
  let lastEndMs = 0;
  let lastIndex = -1;

  return {
    add(sample, message = "") {
      countOutcome(all, sample.outcome);
      lastEndMs = Math.max(lastEndMs, sample.endedMs);
      lastIndex = Math.max(lastIndex, sample.index);
      sums.retries += sample.retries;
      sums.changedByRecovery += sample.changed ? 1 : 0;
      sums.outputs += sample.outputs;
      sums.bytes += sample.bytes;
      if (sample.outcome !== "completed" && sample.outcome !== "cancelled") {
        errors.add(sample.errorClass ?? "unknown", message);
      }
      timeline.add(sample);
      if (sample.warmUp) return;
      steady.add(sample);
      steps.add(sample);
    },
    addGpu(sample) {
      gpus.add(sample);
      timeline.addGpu(sample);
    },
    measured: () => ({
      durationSeconds: lastEndMs / MS_PER_SECOND,
      jobs: { begun: allOf(all), ...all, warmUp: allOf(all) - steady.jobs() },
      ...steady.measured(),
      ...sums,
      byLevel: [...steps.list(lastEndMs, span?.(lastIndex) ?? 0)],
      errors: errors.list(),
      gpu: gpus.list(),
    }),
    timeline: () => timeline.list(),
  };
}
