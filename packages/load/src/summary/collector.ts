/**
 * Sums up the samples of a run as they come, in flat memory: a million of them take no more than the first
 * thousand. So a summary can be had while the run goes on.
 */
import type { LevelWindow } from "../plan/profile.ts";
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

/** Nothing collected yet. `levels`: the steps of the run's pace, if it has any. */
export function createLoadCollector(levels: readonly LevelWindow[] = []): LoadCollector {
  const all = noCounts();
  const steady = createSteadyCounts();
  const errors = createErrorCounts();
  const gpus = createGpuCounts();
  const steps = createLevelCounts(levels);
  const timeline = createTimeline();
  const sums = { retries: 0, changedByRecovery: 0, outputs: 0, bytes: 0 };
  let lastEndMs = 0;

  return {
    add(sample, message = "") {
      countOutcome(all, sample.outcome);
      lastEndMs = Math.max(lastEndMs, sample.endedMs);
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
      byLevel: [...steps.list(lastEndMs)],
      errors: errors.list(),
      gpu: gpus.list(),
    }),
    timeline: () => timeline.list(),
  };
}
