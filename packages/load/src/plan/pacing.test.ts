import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { paceArb } from "../../testing/pace-arbitrary.ts";
import { loopOf, type Pace } from "./pace.ts";
import { levelWindows, paceProfile } from "./profile.ts";
import {
  createPacing,
  DEFAULT_PACING_LIMITS,
  limitProblems,
  type PacingLimits,
  type PacingStep,
} from "./pacing.ts";
import { isWarmUp, NO_WARM_UP } from "./warm-up.ts";

const pacing = (pace: Pace, limits: Partial<PacingLimits> = {}, seed = 1) =>
  createPacing(pace, { ...DEFAULT_PACING_LIMITS, ...limits }, seed);
const open = (perSecond: number): Pace => ({ kind: "open", perSecond, arrivals: "constant" });
const steps = (
  loop: "closed" | "open",
  ...levels: readonly (readonly [number, number])[]
): Pace => ({
  kind: "step",
  loop,
  levels: levels.map(([value, forMs]) => ({ value, forMs })),
  arrivals: "constant",
});

/** Drives a pace against a target that takes `serviceMs(index)` for each job, until it is over. */
function drive(
  pace: Pace,
  limits: Partial<PacingLimits>,
  serviceMs: (index: number) => number,
  seed = 1,
) {
  const run = pacing(pace, limits, seed);
  const begun: { intendedMs: number; begunMs: number; level: number; inFlight: number }[] = [];
  let ends: number[] = [];
  let elapsedMs = 0;
  for (let asked = 0; asked < 100_000; asked += 1) {
    ends = ends.filter((end) => end > elapsedMs);
    const step = run.step({ elapsedMs, begun: begun.length, inFlight: ends.length });
    if (step.kind === "over") return { begun, over: step, atMs: elapsedMs };
    if (step.kind === "begin") {
      ends.push(elapsedMs + serviceMs(begun.length));
      begun.push({
        intendedMs: step.intendedAtMs,
        begunMs: elapsedMs,
        level: step.level,
        inFlight: ends.length,
      });
      continue;
    }
    const next = Math.min(
      step.untilMs ?? Number.POSITIVE_INFINITY,
      step.kind === "full" ? Math.min(...ends) : Number.POSITIVE_INFINITY,
    );
    expect(next).toBeGreaterThan(elapsedMs);
    expect(Number.isFinite(next)).toBe(true);
    elapsedMs = next;
  }
  throw new Error("a pace without an end");
}

describe("a closed loop", () => {
  it("keeps so many in flight, and asks again when one ends", () => {
    const run = pacing({ kind: "closed", inFlight: 2 });
    expect(run.step({ elapsedMs: 5, begun: 0, inFlight: 0 })).toEqual({
      kind: "begin",
      intendedAtMs: 5,
      level: 2,
    });
    expect(run.step({ elapsedMs: 5, begun: 2, inFlight: 2 })).toEqual({
      kind: "full",
      untilMs: null,
    });
  });

  it("ends with its jobs or with its time", () => {
    const run = pacing({ kind: "closed", inFlight: 2 }, { jobs: 3, forMs: 1_000 });
    expect(run.step({ elapsedMs: 5, begun: 3, inFlight: 1 })).toEqual({
      kind: "over",
      why: "jobs",
      neverBegun: 0,
    });
    expect(run.step({ elapsedMs: 1_000, begun: 2, inFlight: 0 })).toMatchObject({ why: "time" });
    expect(run.step({ elapsedMs: 10, begun: 2, inFlight: 2 })).toEqual({
      kind: "full",
      untilMs: 1_000,
    });
  });

  it("grows by whole jobs, and says when the next one is wanted", () => {
    const pace: Pace = {
      kind: "ramp",
      loop: "closed",
      from: 1,
      to: 5,
      overMs: 4_000,
      arrivals: "constant",
    };
    const run = pacing(pace);
    expect(run.step({ elapsedMs: 500, begun: 1, inFlight: 1 })).toEqual({
      kind: "full",
      untilMs: 1_000,
    });
    expect(run.step({ elapsedMs: 1_000, begun: 1, inFlight: 1 })).toMatchObject({
      kind: "begin",
      level: 2,
    });
    expect(run.step({ elapsedMs: 9_000, begun: 9, inFlight: 5 })).toMatchObject({ untilMs: null });
  });

  it("steps down without ending anybody, and is over with its last step", () => {
    const run = pacing(steps("closed", [4, 1_000], [1, 1_000]));
    expect(run.step({ elapsedMs: 1_500, begun: 8, inFlight: 3 })).toEqual({
      kind: "full",
      untilMs: 2_000,
    });
    expect(run.step({ elapsedMs: 2_000, begun: 8, inFlight: 0 })).toMatchObject({ why: "time" });
  });
});

describe("an open loop", () => {
  it("intends its jobs at its rate, whatever became of those before", () => {
    const run = pacing(open(2));
    expect(run.step({ elapsedMs: 700, begun: 2, inFlight: 2 })).toEqual({
      kind: "wait",
      untilMs: 1_000,
    });
    expect(run.step({ elapsedMs: 9_000, begun: 2, inFlight: 2 })).toEqual({
      kind: "begin",
      intendedAtMs: 1_000,
      level: 2,
    });
  });

  it("does not leave out the jobs that a stall of the target held up", () => {
    // The target answers in 10 ms, but for one of two seconds; one in flight, so nobody gets past it.
    const { begun } = drive(open(100), { jobs: 500, inFlightMax: 1 }, (index) =>
      index === 50 ? 2_000 : 1,
    );
    expect(begun.map(({ intendedMs }) => Math.round(intendedMs))).toEqual(
      Array.from({ length: 500 }, (_, index) => index * 10),
    );
    const late = begun.filter(({ intendedMs, begunMs }) => begunMs - intendedMs > 100);
    expect(late.length).toBeGreaterThan(150);
  });

  it("is over when it is too far behind, and says how many never began", () => {
    const { over, begun, atMs } = drive(
      open(10),
      { inFlightMax: 1, lateMsMax: 5_000, forMs: 60_000 },
      () => 1_000,
    );
    expect(over.why).toBe("behind");
    expect(begun.length + over.neverBegun).toBe(Math.floor(atMs / 100) + 1);
  });

  it("intends nothing after its time", () => {
    const { over, begun } = drive(open(10), { forMs: 2_000 }, () => 1);
    expect(over).toEqual({ kind: "over", why: "time", neverBegun: 0 });
    expect(begun).toHaveLength(20);
  });

  it("grows from nothing", () => {
    const pace: Pace = {
      kind: "ramp",
      loop: "open",
      from: 0,
      to: 10,
      overMs: 10_000,
      arrivals: "constant",
    };
    const { begun } = drive(pace, { forMs: 20_000 }, () => 1);
    // Half of 10/s for ten seconds, then all of it.
    expect(begun.filter(({ intendedMs }) => intendedMs < 10_000)).toHaveLength(50);
    expect(begun).toHaveLength(150);
  });

  it("has as many arrivals by chance as its rate says, with the spread of chance", () => {
    const { begun } = drive(
      { kind: "open", perSecond: 50, arrivals: "poisson" },
      { jobs: 20_000, forMs: null },
      () => 0.001,
    );
    const gaps = begun.slice(1).map((job, n) => job.intendedMs - (begun[n]?.intendedMs ?? 0));
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const spread = Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length);
    expect(mean).toBeCloseTo(20, 0);
    expect(spread / mean).toBeCloseTo(1, 1);
  });

  it("gives the same arrivals to the same seed, also to who looks back", () => {
    const pace: Pace = { kind: "open", perSecond: 5, arrivals: "poisson" };
    const at = (run: ReturnType<typeof pacing>, begun: number): PacingStep =>
      run.step({ elapsedMs: 0, begun, inFlight: 0 });
    const one = pacing(pace, {}, 7);
    const later = at(one, 20);
    const earlier = at(one, 3);
    expect(at(pacing(pace, {}, 7), 3)).toEqual(earlier);
    expect(at(one, 20)).toEqual(later);
    expect(at(pacing(pace, {}, 8), 3)).not.toEqual(earlier);
  });
});

describe("any pace", () => {
  it("never goes back, begins nothing early, and stays below what may be in flight", () => {
    fc.assert(
      fc.property(
        paceArb,
        fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 10 }),
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 1, max: 300 }),
        (pace, service, inFlightMax, jobs) => {
          const limits = { jobs, inFlightMax, lateMsMax: 2_000, forMs: 100_000 };
          const { begun, over } = drive(pace, limits, (n) => service[n % service.length] ?? 1);
          const isClosed = loopOf(pace) === "closed";
          let before = 0;
          for (const one of begun) {
            expect(one.intendedMs).toBeGreaterThanOrEqual(before);
            expect(one.begunMs).toBeGreaterThanOrEqual(one.intendedMs);
            expect(one.begunMs - one.intendedMs).toBeLessThanOrEqual(isClosed ? 0 : 2_000.001);
            expect(one.inFlight).toBeLessThanOrEqual(isClosed ? one.level : inFlightMax);
            before = one.intendedMs;
          }
          expect(begun.length).toBeLessThanOrEqual(jobs);
          if (over.why === "jobs") expect(begun).toHaveLength(jobs);
          if (over.why !== "behind") expect(over.neverBegun).toBe(0);
        },
      ),
      { numRuns: 150 },
    );
  });

  it("has by each instant as many jobs due as lie below its rates", () => {
    fc.assert(
      fc.property(paceArb, fc.double({ min: 0, max: 1_000, noNaN: true }), (pace, jobs) => {
        const profile = paceProfile(pace);
        const at = profile.dueAt(jobs);
        if (!Number.isFinite(at)) return;
        // The sum in a thousand slices.
        let sum = 0;
        for (let n = 0; n < 1_000; n += 1)
          sum += (profile.valueAt((at * (n + 0.5)) / 1_000) * at) / 1e6;
        expect(Math.abs(sum - jobs)).toBeLessThan(0.01 * jobs + 0.01);
      }),
    );
  });

  it("tells its steps", () => {
    expect(levelWindows(steps("open", [1, 500], [2, 700]))).toEqual([
      { level: 1, fromMs: 0, untilMs: 500 },
      { level: 2, fromMs: 500, untilMs: 1_200 },
    ]);
    expect(levelWindows({ kind: "closed", inFlight: 1 })).toEqual([]);
  });

  it("refuses limits that are none", () => {
    expect(limitProblems({ jobs: 0, forMs: 0, inFlightMax: 0.5, lateMsMax: -1 })).toEqual([
      "jobs: expected a whole number from 1 to 10000000, found 0",
      "time: expected more than 0 ms, found 0 ms",
      "most in flight: expected a whole number from 1 to 10000, found 0.5",
      "how late a job may be: expected more than 0 ms, found -1 ms",
    ]);
    expect(limitProblems(DEFAULT_PACING_LIMITS)).toEqual([]);
  });
});

describe("the warm-up", () => {
  it("is the first jobs and the first time", () => {
    const rule = { jobs: 2, forMs: 1_000 };
    expect(isWarmUp(rule, { index: 1, intendedMs: 5_000 })).toBe(true);
    expect(isWarmUp(rule, { index: 9, intendedMs: 999 })).toBe(true);
    expect(isWarmUp(rule, { index: 9, intendedMs: 1_000 })).toBe(false);
    expect(isWarmUp(NO_WARM_UP, { index: 0, intendedMs: 0 })).toBe(false);
  });
});
