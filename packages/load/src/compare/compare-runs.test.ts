import { seededRandom } from "@holdfast/runtime";
import { describe, expect, it } from "vitest";
import { jobSample, RUN_FACTS, summaryOf } from "../../testing/sample-summary.ts";
import type { JobSample } from "../sample/job-sample.ts";
import { collectedPace, createLoadCollector } from "../summary/collector.ts";
import { toLoadSummary, type RunFacts } from "../summary/load-summary.ts";
import { BOOTSTRAP_SAMPLES_MAX } from "./bootstrap.ts";
import {
  compareLoads,
  DEFAULT_COMPARISON_POLICY,
  type ComparedFigure,
  type ComparedLoad,
  type Comparison,
} from "./compare-runs.ts";
import { createKeptSamples } from "./kept-samples.ts";

interface LoadShape {
  readonly factor?: number;
  readonly failing?: number;
  readonly facts?: Partial<RunFacts>;
}

/** One job after the other; each takes 3 s and up to 2 s more by chance, times `factor`. */
function load(
  count: number,
  seed: number,
  { factor = 1, failing = 0, facts = {} }: LoadShape = {},
): ComparedLoad {
  const random = seededRandom(seed);
  let atMs = 0;
  const samples = Array.from({ length: count }, (_, index): JobSample => {
    const begunMs = atMs;
    atMs += (3_000 + 2_000 * random.next()) * factor;
    const isFailed = random.next() < failing;
    return jobSample({
      index,
      begunMs,
      endedMs: atMs,
      outcome: isFailed ? "failed" : "completed",
      errorClass: isFailed ? "gpu_oom" : null,
    });
  });
  return of(samples, facts);
}

function of(samples: readonly JobSample[], facts: Partial<RunFacts> = {}): ComparedLoad {
  const kept = createKeptSamples();
  for (const sample of samples) kept.add(sample);
  return { summary: summaryOf(samples, facts).summary, kept: kept.facts() };
}

const figure = (comparison: Comparison, name: ComparedFigure) => {
  if (comparison.kind === "refused") throw new Error(comparison.differences.join());
  const found = comparison.figures.find((one) => one.figure === name);
  if (found === undefined) throw new Error(`no ${name}`);
  return found;
};
const verdicts = (comparison: Comparison) =>
  comparison.kind === "compared"
    ? comparison.figures.map((one) => `${one.figure} ${one.verdict} ${one.reason}`)
    : [];

const other = (facts: Partial<RunFacts>, force = false) =>
  compareLoads(load(50, 1), load(50, 2, { facts }), { ...DEFAULT_COMPARISON_POLICY, force });

describe("a run against one before it", () => {
  it("is worse where it is a third slower, by about a third", () => {
    const comparison = compareLoads(load(300, 1), load(300, 2, { factor: 4 / 3 }));
    expect(comparison).toMatchObject({ kind: "compared", verdict: "worse" });
    const p95 = figure(comparison, "p95");
    expect(p95).toMatchObject({ verdict: "worse", reason: "clear" });
    expect(p95.interval?.low).toBeLessThan(1 / 3);
    expect(p95.interval?.high).toBeGreaterThan(1 / 3 - 0.03);
    expect(figure(comparison, "throughput").change).toBeCloseTo(-0.25, 1);
    expect(figure(comparison, "success_rate")).toMatchObject({ verdict: "no_clear_difference" });
  });

  it("turns round with the runs", () => {
    const comparison = compareLoads(load(300, 2, { factor: 4 / 3 }), load(300, 1));
    expect(comparison).toMatchObject({ kind: "compared", verdict: "better" });
  });

  it("is the same against itself, whatever the seed", () => {
    for (let seed = 0; seed < 5; seed += 1) {
      const one = load(200, seed);
      const comparison = compareLoads(one, one, { ...DEFAULT_COMPARISON_POLICY, seed });
      // Two hundred jobs cannot tell a success rate within a point.
      expect(comparison).toMatchObject({ verdict: "uncertain" });
      expect(figure(comparison, "throughput")).toMatchObject({ change: 0, reason: "same" });
    }
  });

  it("is seldom taken for another by chance", () => {
    let wrong = 0;
    for (let seed = 0; seed < 40; seed += 1) {
      const policy = { ...DEFAULT_COMPARISON_POLICY, smallestChange: 0 };
      const comparison = compareLoads(load(120, seed), load(120, 1_000 + seed), policy);
      if (figure(comparison, "p50").reason === "clear") wrong += 1;
      if (figure(comparison, "throughput").reason === "clear") wrong += 1;
    }
    // 5 % of 80 are four; more than ten come once in some five hundred such tests.
    expect(wrong).toBeLessThanOrEqual(10);
  });

  it("says that a change is there and does not matter", () => {
    const comparison = compareLoads(load(5_000, 1), load(5_000, 2, { factor: 1.03 }));
    expect(figure(comparison, "throughput")).toMatchObject({
      verdict: "no_clear_difference",
      reason: "same",
    });
    const fine = { ...DEFAULT_COMPARISON_POLICY, smallestChange: 0.02 };
    expect(
      figure(compareLoads(load(5_000, 1), load(5_000, 2, { factor: 1.03 }), fine), "throughput"),
    ).toMatchObject({ verdict: "worse", reason: "clear" });
  });

  it("says nothing of a percentile that too few jobs lie beyond", () => {
    const comparison = compareLoads(load(12, 1), load(12, 2, { factor: 3 }));
    expect(verdicts(comparison)).toEqual([
      "throughput worse clear",
      "p50 worse clear",
      "p95 no_clear_difference too_few",
      "p99 no_clear_difference too_few",
      "success_rate no_clear_difference uncertain",
    ]);
    expect(figure(comparison, "p99").jobs).toEqual({ before: 12, now: 12, needed: 100 });
  });

  it("as a whole goes by what could be judged, and is no good sign where nothing could", () => {
    const verdict = (before: ComparedLoad, now: ComparedLoad) => {
      const comparison = compareLoads(before, now);
      return comparison.kind === "compared" ? comparison.verdict : "refused";
    };
    expect(verdict(load(9, 1), load(9, 2, { factor: 30 }))).toBe("too_few");
    expect(verdict(load(12, 1), load(12, 1))).toBe("uncertain");
    expect(verdict(load(5_000, 1), load(5_000, 1))).toBe("same");
    expect(verdict(load(12, 1), load(12, 2, { factor: 3 }))).toBe("worse");
  });

  it("has nothing to say of runs without jobs", () => {
    expect(verdicts(compareLoads(of([]), of([])))).toEqual(
      ["throughput", "p50", "p95", "p99", "success_rate"].map(
        (name) => `${name} no_clear_difference too_few`,
      ),
    );
  });

  it("is worse where more jobs fail", () => {
    const comparison = compareLoads(load(500, 1), load(500, 2, { failing: 0.05 }));
    expect(figure(comparison, "success_rate")).toMatchObject({ verdict: "worse" });
  });

  it("gives the same intervals to the same runs", () => {
    const [before, now] = [load(100, 1), load(100, 2)];
    expect(compareLoads(before, now)).toEqual(compareLoads(before, now));
  });

  it("draws from no more samples than its limit, and still tells them apart", () => {
    const count = BOOTSTRAP_SAMPLES_MAX + 500;
    const comparison = compareLoads(load(count, 1), load(count, 2, { factor: 1.2 }));
    expect(figure(comparison, "p99")).toMatchObject({ verdict: "worse" });
    expect(figure(comparison, "throughput").change).toBeCloseTo(-1 / 6, 1);
  });
});

describe("runs that did other work", () => {
  const plan = RUN_FACTS.plan;

  it("are refused, and it is said in what they differ", () => {
    expect(
      other({
        target: { ...RUN_FACTS.target, kind: "holdfast" },
        scenario: "network-blip",
        plan: { ...plan, pace: "closed:4", workflows: [{ name: "small", hash: "x", weight: 1 }] },
      }),
    ).toEqual({
      kind: "refused",
      differences: [
        "kind of target: comfyui before, holdfast now",
        "pace: closed:1 before, closed:4 now",
        "scenario: none before, network-blip now",
        "workflows: small (abc, 100 %) before, small (x, 100 %) now",
      ],
    });
  });

  it("are compared by force, with the differences", () => {
    expect(other({ plan: { ...plan, pace: "closed:4" } }, true)).toMatchObject({
      kind: "compared",
      differences: ["pace: closed:1 before, closed:4 now"],
    });
  });

  it("may have other names, addresses, seeds and weights of one workflow", () => {
    expect(
      other({
        target: { ...RUN_FACTS.target, url: "http://elsewhere", version: "9" },
        plan: { ...plan, seed: 9, workflows: [{ name: "other", hash: "abc", weight: 7 }] },
      }).kind,
    ).toBe("compared");
  });
});

it("tells the throughput that the summaries tell", () => {
  const rate = { kind: "open", perSecond: 1, arrivals: "constant" } as const;
  const collector = createLoadCollector(collectedPace(rate, 1));
  const kept = createKeptSamples();
  for (let index = 0; index < 12; index += 1) {
    const sample = jobSample({ index, begunMs: index * 1_000, endedMs: index * 1_000 + 200 });
    collector.add(sample);
    kept.add(sample);
  }
  const run = { summary: toLoadSummary(RUN_FACTS, collector.measured()), kept: kept.facts() };
  const { before, now } = figure(compareLoads(run, run), "throughput");
  expect([before, now]).toEqual([60, 60]);
});

describe("what is kept of samples", () => {
  it("is of the steady state, in the order of time", () => {
    const kept = createKeptSamples();
    kept.add(jobSample({ begunMs: 2_000, endedMs: 5_000 }));
    kept.add(jobSample({ warmUp: true }));
    kept.add(jobSample({ begunMs: 1_000, endedMs: 2_000 }));
    kept.add(jobSample({ begunMs: 1_500, endedMs: 9_000, outcome: "timed_out" }));
    kept.add(jobSample({ begunMs: 1_500, outcome: "cancelled" }));
    kept.add(jobSample({ begunMs: 1_500, outcome: "refused" }));
    const { latenciesMs, gapsMs, ...counts } = kept.facts();
    expect([...latenciesMs]).toEqual([1_000, 3_000, 7_500]);
    expect([...gapsMs]).toEqual([1_000, 3_000]);
    expect(counts).toEqual({ completed: 2, ended: 4 });
  });
});
