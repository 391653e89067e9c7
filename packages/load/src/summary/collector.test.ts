import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sampleArb } from "../../testing/sample-arbitrary.ts";
import { jobSample, RUN_FACTS } from "../../testing/sample-summary.ts";
import { levelWindows } from "../plan/profile.ts";
import type { JobSample } from "../sample/job-sample.ts";
import { collectedPace, createLoadCollector } from "./collector.ts";
import { ERROR_CLASSES_MAX } from "./errors.ts";
import { toLoadSummary } from "./load-summary.ts";
import { loadSummarySchema } from "./model.ts";
import { TIMELINE_BUCKETS_MAX } from "./timeline.ts";

const collected = (samples: readonly JobSample[]) => {
  const collector = createLoadCollector();
  for (const one of samples) collector.add(one);
  return collector.measured();
};
/** One of which nothing is known in between. */
const quickJob = (index: number, begunMs: number, endedMs: number): JobSample =>
  jobSample({ index, begunMs, endedMs, acceptedMs: null, startedMs: null, executedMs: null });

describe("what samples come to", () => {
  it("counts rates from the first steady begin to the last steady end", () => {
    const measured = collected([
      jobSample({ warmUp: true, endedMs: 60_000 }),
      jobSample({ begunMs: 60_000, endedMs: 90_000 }),
      jobSample({ begunMs: 90_000, endedMs: 120_000 }),
    ]);
    expect(measured).toMatchObject({
      durationSeconds: 120,
      steady: { jobs: 2, fromSeconds: 60, untilSeconds: 120 },
      throughputPerMinute: 2,
      imagesPerMinute: 4,
      successRate: 1,
      jobs: { begun: 3, completed: 3, warmUp: 1 },
      outputs: 6,
    });
    expect(measured.phases.total?.count).toBe(2);
  });

  it("counts an open loop to when its next job is due, so that a short one reads no higher than its rate", () => {
    const rate = { kind: "open", perSecond: 1, arrivals: "constant" } as const;
    const collector = createLoadCollector(collectedPace(rate, 1));
    for (let index = 0; index < 5; index += 1) {
      collector.add(quickJob(index, index * 1_000, index * 1_000 + 80));
    }
    expect(collector.measured()).toMatchObject({
      throughputPerMinute: 60,
      steady: { fromSeconds: 0, untilSeconds: 5 },
      durationSeconds: 4.08,
    });
  });

  it("counts no open loop that keeps up higher than its rate, and one that does not to its last end", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.double({ min: 0.1, max: 20, noNaN: true }),
        fc.integer({ min: 1, max: 100_000 }),
        (jobs, perSecond, tookMs) => {
          const rate = { kind: "open", perSecond, arrivals: "constant" } as const;
          const collector = createLoadCollector(collectedPace(rate, 1));
          let lastEndMs = 0;
          for (let index = 0; index < jobs; index += 1) {
            const begunMs = (index * 1_000) / perSecond;
            lastEndMs = begunMs + tookMs;
            collector.add(quickJob(index, begunMs, lastEndMs));
          }
          const { throughputPerMinute, steady } = collector.measured();
          expect(throughputPerMinute).toBeLessThanOrEqual(perSecond * 60 + 1e-6);
          expect((steady?.untilSeconds ?? 0) * 1_000).toBeGreaterThanOrEqual(lastEndMs - 1e-6);
        },
      ),
    );
  });

  it("counts the last step of an open loop to its end", () => {
    const steps = {
      kind: "step",
      loop: "open",
      levels: [{ value: 1, forMs: 10_000 }],
      arrivals: "constant",
    } as const;
    const collector = createLoadCollector(collectedPace(steps, 1));
    for (let index = 0; index < 10; index += 1) {
      collector.add(quickJob(index, index * 1_000, index * 1_000 + 80));
    }
    const { byLevel, throughputPerMinute } = collector.measured();
    expect(throughputPerMinute).toBe(60);
    expect(byLevel[0]).toMatchObject({ untilSeconds: 10, throughputPerMinute: 60 });
  });

  it("has no rate of a single instant, and no percentile of nothing", () => {
    const measured = collected([]);
    expect(measured).toMatchObject({
      steady: null,
      successRate: null,
      throughputPerMinute: null,
      imagesPerMinute: null,
    });
    expect(measured.phases.total).toBeNull();
  });

  it("leaves cancelled jobs out of the success rate", () => {
    const measured = collected([
      jobSample(),
      jobSample({ outcome: "failed", errorClass: "gpu_oom" }),
      jobSample({ outcome: "cancelled", errorClass: "cancelled" }),
      jobSample({ outcome: "refused", errorClass: "queue_full" }),
      jobSample({ outcome: "timed_out", errorClass: "timeout" }),
    ]);
    expect(measured.successRate).toBe(0.25);
    expect(measured.errors.map((one) => one.class)).toEqual(["gpu_oom", "queue_full", "timeout"]);
  });

  it("does not look better when more jobs time out", () => {
    const good = Array.from({ length: 90 }, () => jobSample());
    const timedOut = Array.from({ length: 10 }, () =>
      jobSample({ outcome: "timed_out", errorClass: "timeout", endedMs: 420_000 }),
    );
    const { phases } = collected([...good, ...timedOut]);
    expect(phases.total?.p95).toBe(420_000);
    expect(phases.execute?.count).toBe(90);
  });

  it("keeps few classes of errors, whatever a target invents", () => {
    const collector = createLoadCollector();
    for (let n = 0; n < 500; n += 1) {
      collector.add(jobSample({ outcome: "failed", errorClass: `class_${n}` }), "x".repeat(1_000));
    }
    const { errors } = collector.measured();
    expect(errors).toHaveLength(ERROR_CLASSES_MAX + 1);
    expect(errors[0]).toMatchObject({ class: "other", count: 450 });
    expect(errors[0]?.example).toHaveLength(300);
  });

  it("tells each step without its beginning", () => {
    const levels = levelWindows({
      kind: "step",
      loop: "closed",
      levels: [1, 2].map((value) => ({ value, forMs: 100_000 })),
      arrivals: "constant",
    });
    const collector = createLoadCollector({ levels });
    for (let second = 0; second < 160; second += 1) {
      // One a second, then two a second; the run is stopped in the middle of the second step.
      const one = jobSample({ begunMs: second * 1_000, outputs: 1 });
      collector.add(one);
      if (second >= 100) collector.add(one);
    }
    const [first, second] = collector.measured().byLevel;
    expect(first).toMatchObject({ level: 1, fromSeconds: 20, untilSeconds: 100, jobs: 80 });
    expect(first?.throughputPerMinute).toBeCloseTo(60, 5);
    expect(second).toMatchObject({ level: 2, fromSeconds: 120, untilSeconds: 160, jobs: 80 });
    expect(second?.throughputPerMinute).toBeCloseTo(120, -1);
    expect(second?.total?.p95).toBe(1_000);
  });

  it("says of cards only what was seen", () => {
    const collector = createLoadCollector();
    for (const [n, utilisationPercent] of [0, 50, 100, null].entries()) {
      const memoryUsedMb = n === 1 ? 8_000 : null;
      collector.addGpu({ atMs: n, gpu: 0, utilisationPercent, memoryUsedMb, source: "nvidia-smi" });
    }
    const look = { atMs: 1, gpu: 1, utilisationPercent: null, memoryUsedMb: null };
    collector.addGpu({ ...look, source: "system_stats" });
    expect(collector.measured().gpu).toEqual([
      {
        gpu: 0,
        samples: 4,
        utilisationPercent: { p50: 50, p95: 100, max: 100 },
        memoryPeakMb: 8_000,
      },
      { gpu: 1, samples: 1, utilisationPercent: null, memoryPeakMb: null },
    ]);
    expect(collector.timeline().buckets[0]?.gpu[0]).toEqual({
      gpu: 0,
      utilisationPercent: 50,
      memoryMb: 8_000,
    });
  });

  it("sums up any samples in any order to a summary that can be read again", () => {
    fc.assert(
      fc.property(fc.array(sampleArb, { maxLength: 60 }), (samples) => {
        const measured = collected(samples);
        expect(collected([...samples].reverse())).toEqual(measured);
        const summary = toLoadSummary(RUN_FACTS, measured);
        expect(loadSummarySchema.parse(JSON.parse(JSON.stringify(summary)))).toEqual(summary);
        const { jobs } = summary;
        expect(jobs.completed + jobs.failed + jobs.timedOut + jobs.cancelled + jobs.refused).toBe(
          samples.length,
        );
      }),
    );
  });
});

describe("a run over time", () => {
  it("has every job begun and ended once, in few stretches", () => {
    fc.assert(
      fc.property(fc.array(sampleArb, { minLength: 1, maxLength: 60 }), (samples) => {
        const collector = createLoadCollector();
        for (const one of samples) collector.add(one);
        const { buckets } = collector.timeline();
        const sum = (of: (bucket: (typeof buckets)[number]) => number): number =>
          buckets.reduce((all, bucket) => all + of(bucket), 0);
        expect(sum(({ begun }) => begun)).toBe(samples.length);
        expect(sum(({ completed, failed }) => completed + failed)).toBe(samples.length);
        expect(buckets.at(-1)?.inFlight).toBe(0);
        expect(buckets.every(({ inFlight }) => inFlight >= 0)).toBe(true);
      }),
    );
  });

  it("keeps its bounds over a week", () => {
    const collector = createLoadCollector();
    for (let hour = 0; hour < 168; hour += 1) {
      collector.add(jobSample({ begunMs: hour * 3_600_000 }));
    }
    const { buckets, bucketSeconds } = collector.timeline();
    expect(buckets.length).toBeLessThanOrEqual(TIMELINE_BUCKETS_MAX);
    expect(bucketSeconds).toBe(1_024);
  });
});

describe("a summary", () => {
  it("has what the run cost, warm-up included", () => {
    const measured = collected([jobSample({ warmUp: true }), jobSample({ endedMs: 10_000 })]);
    expect(toLoadSummary(RUN_FACTS, measured).cost).toEqual({
      currency: "USD",
      total: 10,
      perImage: 2.5,
    });
    expect(toLoadSummary({ ...RUN_FACTS, price: null }, measured).cost).toBeNull();
  });

  it("says how late the harness was", () => {
    const late = jobSample({ intendedMs: 0, begunMs: 500 });
    expect(toLoadSummary(RUN_FACTS, collected([late])).harness).toEqual({
      lateP99Ms: 500,
      eventLoopP99Ms: 12,
    });
  });
});
