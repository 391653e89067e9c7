import { describe, expect, it } from "vitest";
import { jobSample, summaryOf } from "../../testing/sample-summary.ts";
import { DEFAULT_SLA, readSla } from "./targets.ts";
import { judgeSla, NO_SLA_FACTS, slaFactsOf, type SlaFacts } from "./verdict.ts";

const read = (text: string) => {
  const reading = readSla(text);
  return reading.kind === "ok"
    ? reading.sla
    : reading.problems.map(({ line, path, message }) => `${line} ${path}: ${message}`);
};
const { targets } = DEFAULT_SLA;
const good: SlaFacts = {
  imagesPerMinute: { value: 25, from: 100 },
  simultaneousBooks: { value: 5, from: 60 },
  latencyP95Seconds: { value: 45, from: 100 },
  failedPercent: { value: 0, from: 500 },
  recoverySeconds: { value: 90, from: 3 },
};
const states = (facts: SlaFacts, of = targets) => {
  const { state, metrics } = judgeSla(of, facts);
  return [state, ...metrics.map((one) => `${one.metric} ${one.state}${one.isSure ? "" : "?"}`)];
};

describe("a file of targets", () => {
  it("has the starting targets where it says nothing", () => {
    expect(read("pagesPerBook: 12")).toEqual({
      targets: {
        imagesPerMinuteMin: 20,
        simultaneousBooksMin: 5,
        latencyP95SecondsMax: 45,
        failedPercentMax: 2,
        recoverySecondsMax: 120,
      },
      pagesPerBook: 12,
      budgetDays: 30,
    });
  });

  it("may leave a metric unjudged", () => {
    expect(read("targets: { imagesPerMinuteMin: null, latencyP95SecondsMax: 60 }")).toMatchObject({
      targets: { imagesPerMinuteMin: null, latencyP95SecondsMax: 60, failedPercentMax: 2 },
    });
  });

  it("says everything that is wrong, with its line", () => {
    const problems = read(
      "targets:\n  latencyP95Max: 45\n  failedPercentMax: 200\nbudgetDays: 1\n",
    );
    expect(problems).toHaveLength(3);
    expect(String(problems)).toContain("2 targets");
    expect(String(problems)).toContain("latencyP95SecondsMax");
    expect(String(problems)).toContain("3 targets.failedPercentMax: expected a number, 0 to 100");
    expect(String(problems)).toContain("4 budgetDays: expected a whole number, 3 to 366");
    expect(read("")).toEqual([
      "1 : the file is empty: expected `targets: { latencyP95SecondsMax: 45 }` or the like",
    ]);
  });
});

describe("the verdict on an SLA", () => {
  it("is met where every target is, at its very bound too", () => {
    expect(states(good)).toEqual([
      "met",
      "imagesPerMinute met",
      "simultaneousBooks met",
      "latencyP95Seconds met",
      "failedPercent met",
      "recoverySeconds met",
    ]);
  });

  it("is breached where one is missed, and says by what", () => {
    const verdict = judgeSla(targets, { ...good, latencyP95Seconds: { value: 46, from: 100 } });
    expect(verdict.state).toBe("breached");
    expect(verdict.metrics[2]).toEqual({
      metric: "latencyP95Seconds",
      bound: "max",
      target: 45,
      measured: { value: 46, from: 100 },
      state: "breached",
      isSure: true,
    });
  });

  it("is incomplete where something was not measured, and nothing at all says nothing", () => {
    expect(states({ ...good, recoverySeconds: null })).toContain("recoverySeconds not_measured?");
    expect(judgeSla(targets, { ...good, recoverySeconds: null }).state).toBe("incomplete");
    const none = {
      imagesPerMinuteMin: null,
      simultaneousBooksMin: null,
      latencyP95SecondsMax: null,
      failedPercentMax: null,
      recoverySecondsMax: null,
    };
    expect(judgeSla(none, NO_SLA_FACTS).state).toBe("incomplete");
    expect(judgeSla({ ...none, failedPercentMax: 2 }, good).state).toBe("met");
  });

  it("is unsure of few jobs", () => {
    const few = {
      ...good,
      imagesPerMinute: { value: 25, from: 9 },
      latencyP95Seconds: { value: 1, from: 19 },
      // A service that fails 2 % has twelve good jobs in three runs of four.
      failedPercent: { value: 0, from: 12 },
    };
    expect(states(few)).toEqual([
      "met",
      "imagesPerMinute met?",
      "simultaneousBooks met",
      "latencyP95Seconds met?",
      "failedPercent met?",
      "recoverySeconds met",
    ]);
    const breached = { value: (100 * 1) / 12, from: 12 };
    expect(states({ ...good, failedPercent: breached })[4]).toBe("failedPercent breached?");
    expect(states({ ...good, failedPercent: { value: 50, from: 12 } })[4]).toBe(
      "failedPercent breached",
    );
  });

  it("takes what a load run says", () => {
    const jobs = Array.from({ length: 49 }, (_, index) =>
      jobSample({ index, begunMs: index * 1_000, outputs: 1 }),
    );
    const ends = { begunMs: 49_000, outputs: 0 };
    const { summary } = summaryOf([
      ...jobs,
      jobSample({ ...ends, outcome: "failed", errorClass: "gpu_oom" }),
      jobSample({ ...ends, outcome: "cancelled" }),
    ]);
    const facts = slaFactsOf(summary);
    expect(facts.failedPercent?.value).toBeCloseTo(2, 9);
    expect(facts.failedPercent?.from).toBe(50);
    expect(facts.latencyP95Seconds).toEqual({ value: 1, from: 49 });
    expect(facts.imagesPerMinute?.value).toBeCloseTo(58.8, 1);
    expect(slaFactsOf(summaryOf([]).summary)).toEqual(NO_SLA_FACTS);
  });
});
