import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { addRun, NO_STATISTICS, type ProfileStatistics } from "./statistics.ts";
import {
  STALL_CEILING_MS,
  STALL_FLOOR_MS,
  STALL_MIN_RUNS,
  stallLimits,
  type StallFacts,
} from "./stall-limits.ts";

const BY_DEFAULT: StallFacts = {
  set: {
    progressMs: 120_000,
    firstLoadMs: 300_000,
    isFixed: { progress: false, firstLoad: false },
  },
  hasInputs: false,
  isTriedBefore: false,
};
const SET = { progressMs: 120_000, firstLoadMs: 300_000 };
interface Run {
  readonly isCold: boolean;
  readonly loadSilenceMs: number;
  readonly stepSilenceMs: number;
}
const profileOf = (runs: readonly Run[]): ProfileStatistics =>
  runs.reduce((known, run) => addRun(known, { executeMs: 1, ...run }), NO_STATISTICS);
const warmRuns = (count: number, stepSilenceMs: number, loadSilenceMs = stepSilenceMs) =>
  Array.from({ length: count }, () => ({ isCold: false, loadSilenceMs, stepSilenceMs }));

const anyRun = fc.record({
  isCold: fc.boolean(),
  loadSilenceMs: fc.integer({ min: 0, max: 600_000 }),
  stepSilenceMs: fc.integer({ min: 0, max: 240_000 }),
});
const anyRuns = fc.array(anyRun, { maxLength: 40 });

describe("limits by a profile", () => {
  it("are those that are set until enough is known", () => {
    expect(stallLimits(undefined, BY_DEFAULT)).toEqual(SET);
    expect(stallLimits(profileOf(warmRuns(STALL_MIN_RUNS - 1, 100)), BY_DEFAULT)).toEqual(SET);
  });

  it("are shorter where the models are in memory, and nowhere else", () => {
    const known = profileOf(warmRuns(STALL_MIN_RUNS, 20_000));
    expect(stallLimits(known, BY_DEFAULT)).toEqual({
      ...SET,
      warm: { progressMs: 60_000, firstLoadMs: 60_000 },
    });
    const quick = profileOf(warmRuns(STALL_MIN_RUNS, 50));
    expect(stallLimits(quick, BY_DEFAULT).warm).toEqual({
      progressMs: STALL_FLOOR_MS,
      firstLoadMs: STALL_FLOOR_MS,
    });
  });

  it("are longer for a shape that is silent for long", () => {
    const slow = profileOf(warmRuns(1, 90_000));
    expect(stallLimits(slow, BY_DEFAULT)).toMatchObject({ progressMs: 270_000 });
    const endless = profileOf(warmRuns(1, 10_000_000));
    expect(stallLimits(endless, BY_DEFAULT).progressMs).toBe(STALL_CEILING_MS);
  });

  it("an operator has set stay as they are", () => {
    const known = profileOf([...warmRuns(20, 50), ...warmRuns(1, 500_000)]);
    const fixed = { ...BY_DEFAULT.set, isFixed: { progress: true, firstLoad: true } };
    expect(stallLimits(known, { ...BY_DEFAULT, set: fixed })).toEqual(SET);
  });

  it("are never shorter for a graph into which files go", () => {
    const known = profileOf(warmRuns(20, 50));
    expect(stallLimits(known, { ...BY_DEFAULT, hasInputs: true })).toEqual(SET);
  });

  it("never end a run that is no slower than three times what was seen", () => {
    fc.assert(
      fc.property(anyRuns, fc.double({ min: 0, max: 1, noNaN: true }), (runs, share) => {
        const statistics = profileOf(runs);
        const limits = stallLimits(statistics, BY_DEFAULT);
        // Where models have to be loaded nothing is ever shorter than set.
        expect(limits.progressMs).toBeGreaterThanOrEqual(SET.progressMs);
        expect(limits.firstLoadMs).toBeGreaterThanOrEqual(SET.firstLoadMs);
        const { warm = limits } = limits;
        const seen = Math.max(0, ...runs.map((run) => run.stepSilenceMs));
        const warmLoads = runs.filter((run) => !run.isCold).map((run) => run.loadSilenceMs);
        const healthyStepMs = Math.max(STALL_FLOOR_MS, 3 * seen) * share;
        const healthyLoadMs = Math.max(STALL_FLOOR_MS, 3 * Math.max(0, ...warmLoads)) * share;
        const atMost = (ms: number): number => Math.min(ms, STALL_CEILING_MS);
        expect(warm.progressMs).toBeGreaterThanOrEqual(atMost(healthyStepMs));
        expect(warm.firstLoadMs).toBeGreaterThanOrEqual(atMost(healthyLoadMs));
        expect(warm.progressMs).toBeGreaterThanOrEqual(STALL_FLOOR_MS);
        expect(warm.firstLoadMs).toBeGreaterThanOrEqual(STALL_FLOOR_MS);
        // And no run of those seen would have been ended, had it not been longer than the ceiling.
        for (const run of runs) {
          const own = run.isCold ? limits : warm;
          expect(own.progressMs).toBeGreaterThanOrEqual(run.stepSilenceMs);
          expect(own.firstLoadMs).toBeGreaterThanOrEqual(run.loadSilenceMs);
        }
      }),
    );
  });
});
