import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sampleArb } from "../../testing/sample-arbitrary.ts";
import { jobSample } from "../../testing/sample-summary.ts";
import type { GpuSample } from "../sample/gpu-sample.ts";
import {
  createStopRules,
  STOP_GPU_LOOKS,
  STOP_JOBS_WINDOW,
  stopLimitProblems,
} from "./stop-rules.ts";

const look = (utilisationPercent: number | null, gpu = 0): GpuSample => ({
  atMs: 0,
  gpu,
  utilisationPercent,
  memoryUsedMb: null,
  source: "nvidia-smi",
});
const completed = jobSample();
const failed = jobSample({ outcome: "failed", errorClass: "timeout" });

describe("a full card", () => {
  it("stops a run after ten looks, and says which", () => {
    const rules = createStopRules({ gpuPercent: 90, errorPercent: null });
    for (let at = 1; at < STOP_GPU_LOOKS; at += 1) rules.addGpu(look(95, 3));
    expect(rules.reason()).toBeNull();
    rules.addGpu(look(95, 3));
    expect(rules.reason()).toEqual({ kind: "gpu", gpu: 3, utilisationPercent: 95 });
  });

  it("is told by its mean: a gap between two pictures is no rest", () => {
    const rules = createStopRules({ gpuPercent: 90, errorPercent: null });
    for (let at = 0; at < STOP_GPU_LOOKS; at += 1) rules.addGpu(look(at === 4 ? 10 : 100));
    expect(rules.reason()).toMatchObject({ kind: "gpu", utilisationPercent: 91 });
  });

  it("is not made of two cards' looks, nor of unknown ones", () => {
    const rules = createStopRules({ gpuPercent: 90, errorPercent: null });
    for (let at = 1; at < STOP_GPU_LOOKS; at += 1) {
      rules.addGpu(look(100, 0));
      rules.addGpu(look(100, 1));
      rules.addGpu(look(null, 0));
    }
    expect(rules.reason()).toBeNull();
  });
});

describe("errors", () => {
  it("stop a run from the third one, over their share of the jobs that ended last", () => {
    const rules = createStopRules({ gpuPercent: null, errorPercent: 2 });
    rules.addJob(failed);
    rules.addJob(failed);
    expect(rules.reason()).toBeNull();
    rules.addJob(failed);
    expect(rules.reason()).toEqual({ kind: "errors", failed: 3, of: 3 });
  });

  it("are not hidden by a long good beginning", () => {
    const rules = createStopRules({ gpuPercent: null, errorPercent: 2 });
    for (let at = 0; at < 1_000; at += 1) rules.addJob(completed);
    for (let at = 0; at < 3; at += 1) rules.addJob(failed);
    expect(rules.reason()).toEqual({ kind: "errors", failed: 3, of: STOP_JOBS_WINDOW });
  });

  it("that were cancelled with the run are none", () => {
    const rules = createStopRules({ gpuPercent: null, errorPercent: 2 });
    for (let at = 0; at < 9; at += 1) rules.addJob(jobSample({ outcome: "cancelled" }));
    expect(rules.reason()).toBeNull();
  });
});

it("no rule stops anything, and a reason never changes", () => {
  fc.assert(
    fc.property(fc.array(sampleArb), fc.array(fc.nat(100)), (samples, uses) => {
      const none = createStopRules({ gpuPercent: null, errorPercent: null });
      const both = createStopRules({ gpuPercent: 50, errorPercent: 10 });
      let first = both.reason();
      for (let at = 0; at < Math.max(samples.length, uses.length); at += 1) {
        const [sample, use] = [samples[at], uses[at]];
        for (const rules of [none, both]) {
          if (sample !== undefined) rules.addJob(sample);
          if (use !== undefined) rules.addGpu(look(use));
        }
        if (first !== null) expect(both.reason()).toBe(first);
        first = both.reason();
      }
      expect(none.reason()).toBeNull();
      if (first?.kind === "errors") expect(first.failed / first.of).toBeGreaterThan(0.1);
      if (first?.kind === "gpu") expect(first.utilisationPercent).toBeGreaterThanOrEqual(50);
    }),
  );
});

it("limits out of their range are told", () => {
  expect(stopLimitProblems({ gpuPercent: 90, errorPercent: 2 })).toEqual([]);
  expect(stopLimitProblems({ gpuPercent: null, errorPercent: null })).toEqual([]);
  expect(stopLimitProblems({ gpuPercent: 0, errorPercent: -1 })).toHaveLength(2);
  expect(stopLimitProblems({ gpuPercent: 101, errorPercent: Number.NaN })).toHaveLength(2);
});
