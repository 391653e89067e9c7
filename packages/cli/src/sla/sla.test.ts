import type { SlaStatus } from "@holdfast/contract";
import { DEFAULT_SLA, judgeSla, kneeOf, type LoadSummary, type SlaSearch } from "@holdfast/load";
import { describe, expect, it } from "vitest";
import { jobSample, summaryOf } from "../../../load/testing/sample-summary.ts";
import { liveSlaFacts, lostSince } from "./live-facts.ts";
import { searchFacts } from "./search-facts.ts";
import { liveLines, verdictLines } from "./sla-text.ts";

const COUNTS = { completed: 98, recovered: 3, failed: 1, timedOut: 1, cancelled: 5, outputs: 120 };
const status = (more: Partial<SlaStatus> = {}): SlaStatus => ({
  from: "2026-11-27T12:00:00.000Z",
  to: "2026-11-28T12:00:00.000Z",
  stepSeconds: 60,
  totals: { ...COUNTS, latencySeconds: { jobs: 98, p50: 10, p90: 20, p95: 46, p99: 60 } },
  points: [],
  budget: {
    failedPercentMax: 2,
    days: 30,
    ended: 1_000,
    failed: 10,
    leftShare: 0.5,
    windows: [
      {
        longMs: 3_600_000,
        shortMs: 300_000,
        burnRate: 14.4,
        urgency: "page",
        ended: 9,
        failed: 3,
        longBurn: 16.7,
        shortBurn: 20,
        isBurning: true,
      },
      {
        longMs: 259_200_000,
        shortMs: 21_600_000,
        burnRate: 1,
        urgency: "ticket",
        ended: 0,
        failed: 0,
        longBurn: null,
        shortBurn: null,
        isBurning: false,
      },
    ],
  },
  losses: [],
  ...more,
});

describe("what a Holdfast says of the time gone by", () => {
  it("is latency, failures without what was cancelled, and the longest loss", () => {
    const losses: SlaStatus["losses"] = [
      {
        kind: "instance",
        name: "gpu0",
        reason: null,
        lostAt: "2026-11-28T11:58:00.000Z",
        refilledAt: null,
        leftAt: null,
      },
      {
        kind: "instance",
        name: "gpu1",
        reason: null,
        lostAt: "2026-11-28T09:00:00.000Z",
        refilledAt: null,
        leftAt: "2026-11-28T09:00:30.000Z",
      },
      {
        kind: "machine",
        name: "a",
        reason: null,
        lostAt: "2026-11-28T10:00:00.000Z",
        refilledAt: "2026-11-28T10:01:30.000Z",
        leftAt: null,
      },
    ];
    const since = lostSince(status({ losses }), Date.parse("2026-11-28T09:30:00.000Z"));
    expect(since.losses.map(({ name }) => name)).toEqual(["gpu0", "a"]);
    expect(liveSlaFacts(status({ losses }))).toEqual({
      imagesPerMinute: null,
      simultaneousBooks: null,
      latencyP95Seconds: { value: 46, from: 98 },
      failedPercent: { value: 2, from: 100 },
      recoverySeconds: { value: 120, from: 3 },
    });
  });

  it("is nothing of nothing", () => {
    const totals = { ...COUNTS, completed: 0, failed: 0, timedOut: 0, latencySeconds: null };
    const facts = liveSlaFacts(status({ totals }));
    expect(Object.values(facts)).toEqual([null, null, null, null, null]);
    const verdict = judgeSla(DEFAULT_SLA.targets, facts);
    expect(verdict.state).toBe("incomplete");
    expect(verdictLines(verdict, 200)[0]).toBe("NOTHING MEASURED");
  });
});

describe("the verdict in lines", () => {
  it("begins with the state and what it is missed by", () => {
    const verdict = judgeSla(DEFAULT_SLA.targets, liveSlaFacts(status()));
    const [head, , ...table] = verdictLines(verdict, 200);
    expect(head).toBe("BREACHED by latency p95");
    expect(table).toContainEqual(
      expect.stringMatching(/^latency p95 +≤ 45 s +46 s \(of 98\) +breached$/),
    );
    expect(table).toContainEqual(
      expect.stringMatching(/^throughput +≥ 20 images\/min +not measured/),
    );
    expect(table).toContainEqual(
      expect.stringMatching(/^error budget .*met, too little to be sure$/),
    );
  });

  it("tells the budget, and what burns it", () => {
    const text = liveLines(status(), 300).join("\n");
    expect(text).toContain("50 % left of 2 % in 30 days (10 of 1000 failed)");
    expect(text).toContain("last 1 h 0 min: 16.7 times as fast as allowed");
    expect(text).toContain("BURNING (from 14.4: page)");
    expect(text).not.toContain("last 3 d");
    expect(text).toContain("no machine and no instance");
  });
});

describe("what a search says of the metrics", () => {
  const trial = (books: number, isBreached: boolean) => ({
    books,
    level: books,
    isBreached,
    throughputPerMinute: 10 * books,
    latencyP95Seconds: 10,
    failedPercent: 0,
    jobs: 24,
  });
  const summary = (): LoadSummary =>
    summaryOf(Array.from({ length: 24 }, (_, index) => jobSample({ index }))).summary;
  const stateOf = (why: SlaSearch["why"], trials: SlaSearch["trials"], targets = {}) => {
    const search = { trials, books: 2, why, knee: kneeOf(trials), window: 2 };
    const wanted = { ...DEFAULT_SLA.targets, imagesPerMinuteMin: 1e6, ...targets };
    const { metrics } = judgeSla(
      wanted,
      searchFacts(search, trials.map(summary), { recovery: null, targets: wanted }),
    );
    return metrics
      .filter(({ metric }) => metric === "simultaneousBooks" || metric === "imagesPerMinute")
      .map(({ state }) => state);
  };

  it("is a breach where more were tried in vain", () => {
    const trials = [trial(1, false), trial(2, false), trial(3, true), trial(3, true)];
    expect(stateOf("breach", trials)).toEqual(["breached", "breached"]);
  });

  it("is none where more were not tried: how many it could be nobody knows", () => {
    const trials = [trial(1, false), trial(2, false)];
    for (const why of ["max", "stopped"] as const) {
      expect(stateOf(why, trials)).toEqual(["not_measured", "not_measured"]);
      const low = { simultaneousBooksMin: 2, imagesPerMinuteMin: 1 };
      expect(stateOf(why, trials, low)).toEqual(["met", "met"]);
    }
  });

  it("says which trial a figure is of: the best throughput need not be of the books that are told", () => {
    const trials = [trial(1, false), trial(2, false), trial(3, true)];
    const summaries = [10, 30, 20].map((imagesPerMinute) => ({ ...summary(), imagesPerMinute }));
    const search = { trials, books: 2, why: "breach" as const, knee: kneeOf(trials), window: 2 };
    const of = (order: readonly number[]) =>
      searchFacts(
        search,
        order.map((at) => summaries[at] ?? summary()),
        {
          recovery: null,
          targets: DEFAULT_SLA.targets,
        },
      );
    expect(of([0, 2, 1])).toMatchObject({
      imagesPerMinute: { value: 30, books: 3 },
      latencyP95Seconds: { books: 2 },
      failedPercent: { books: 2 },
    });
    expect(verdictLines(judgeSla(DEFAULT_SLA.targets, of([1, 0, 2])), 120).join("\n")).toMatch(
      /^throughput .* 30 images\/min \(of \d+, 1 book\)/m,
    );
  });
});
