import { seededRandom } from "@holdfast/runtime";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { classified, decide, decideError, earlier, facts, OTHERS } from "../testing/retry-facts.ts";
import { ERROR_CLASSES } from "./error-class.ts";
import { decideRetry, FREE_RETURNS_MAX, RECOVERIES_MAX } from "./retry.ts";
import type { EarlierFailure, RetryFacts, RetryOutcome } from "./retry-model.ts";

describe("free ends", () => {
  it.each(["drained", "released", "surplus", "lease_lost", "machine_died"] as const)(
    "%s costs no retry, even when the retries are used up",
    (outcome) => {
      const used = Array.from({ length: RECOVERIES_MAX }, () => earlier("unknown", "a"));
      const decision = decide({ outcome, earlierFailures: used, maxRetryAttempts: 0 });
      expect(decision).toMatchObject({ kind: "retry", isFree: true, delayMs: 0, reason: outcome });
    },
  );

  it("end the job when they never stop", () => {
    expect(decide({ outcome: "lease_lost", freeReturns: FREE_RETURNS_MAX })).toMatchObject({
      kind: "fail",
      reason: "too_many_free_returns",
    });
  });
});

describe("work that was staged too deep", () => {
  it("is queued again at once, and never ends the job", () => {
    const after = (surplusReturns: number) =>
      decide({ outcome: "surplus", surplusReturns, freeReturns: FREE_RETURNS_MAX });
    expect(after(19)).toMatchObject({ kind: "retry", isFree: true, delayMs: 0, reason: "surplus" });
    expect(after(10_000)).toMatchObject({ kind: "retry", isFree: true });
  });

  it("comes to wait when it is given back time and again", () => {
    const decision = decide({ outcome: "surplus", surplusReturns: 25 });
    expect(decision.kind === "retry" && decision.delayMs).toBeGreaterThan(1_000);
  });
});

describe("an outcome of a newer version", () => {
  it("is a bug here, never a guess", () => {
    const odd = "vanished" as "failed";
    expect(() => decide({ outcome: odd })).toThrow("unreachable");
    expect(() => decide({ earlierFailures: [earlier("unknown", "a", odd)] })).toThrow(
      "unreachable",
    );
  });
});

describe("poison", () => {
  it.each(["instance_died", "machine_died"] as const)(
    "sets a job aside when %s makes the second different instance",
    (outcome) => {
      expect(decide({ outcome, deathsOnInstances: ["a", "b"] })).toMatchObject({
        kind: "poison",
        reason: "two_instances_died",
      });
    },
  );

  it("does not blame a job for one instance that dies twice", () => {
    expect(decide({ outcome: "instance_died", deathsOnInstances: ["a", "a"] }).kind).toBe("retry");
  });

  it("does not blame a job for deaths when this attempt ended otherwise", () => {
    expect(decide({ outcome: "drained", deathsOnInstances: ["a", "b"] }).kind).toBe("retry");
  });
});

describe("time", () => {
  const time = { spentMs: 60_000, limitMs: 60_000, extendedMs: 0, attemptMs: 60_000 };
  const late = (more: Partial<RetryFacts["time"]>, over: Partial<RetryFacts> = {}) =>
    decideError("timeout", { time: { ...time, steadyPercent: 80, ...more }, ...over });

  it("that is used up ends the job", () => {
    expect(late({ steadyPercent: null })).toMatchObject({ kind: "fail", reason: "out_of_time" });
    expect(decideError("unknown", { time: { ...time, steadyPercent: 80 } })).toMatchObject({
      reason: "out_of_time",
    });
  });

  it("is extended once for a run that was getting there, where it had come", () => {
    expect(late({ attemptMs: 30_000 })).toMatchObject({
      kind: "retry",
      rung: "longer_limit",
      where: "same",
      extendMs: 46_875,
    });
    expect(late({ attemptMs: 30_000, spentMs: 61_000 })).toMatchObject({ extendMs: 47_875 });
    expect(late({ attemptMs: 30_000, extendedMs: 1 })).toMatchObject({ kind: "fail" });
  });

  it("is not extended for a run that would take twice as long", () => {
    expect(late({ steadyPercent: 40 })).toMatchObject({
      kind: "fail",
      explain: expect.stringContaining("40 %"),
    });
  });

  it("is not extended where nothing may be recovered", () => {
    expect(late({ attemptMs: 30_000 }, { maxRetryAttempts: 0 })).toMatchObject({ kind: "fail" });
    expect(late({ attemptMs: 30_000 }, { isRecoveryEnabled: false })).toMatchObject({
      kind: "fail",
    });
  });

  it("without a sign is answered where it was lost, as long as the instance answers", () => {
    const stalled = (over: Partial<RetryFacts>) =>
      decide({ outcome: "stalled", isInstanceAlive: true, ...over });
    expect(stalled({})).toMatchObject({ rung: "resume_same", where: "same" });
    const again = { earlierFailures: [earlier("timeout", "a", "stalled")] };
    expect(stalled(again)).toMatchObject({ rung: "resume_elsewhere", avoid: ["a"] });
    expect(stalled({ isInstanceAlive: false })).toMatchObject({ rung: "resume_elsewhere" });
  });
});

it("without recovery the first failure ends a job, and what is free stays free", () => {
  for (const errorClass of ERROR_CLASSES) {
    expect(decideError(errorClass, { isRecoveryEnabled: false })).toMatchObject({ kind: "fail" });
  }
  expect(decide({ outcome: "lease_lost", isRecoveryEnabled: false })).toMatchObject({
    isFree: true,
  });
});

const OUTCOMES: readonly RetryOutcome[] = [
  "failed",
  "stalled",
  "instance_died",
  "machine_died",
  "lease_lost",
  "drained",
  "released",
];
const arbitraryError = fc
  .record({
    class: fc.constantFrom(...ERROR_CLASSES),
    subclass: fc.constantFrom(null, "missing_input", "foreign_vram", "device_assert", "hardware"),
  })
  .map((error) => classified(error.class, error.subclass));
const arbitraryCard = fc.record({
  totalBytes: fc.option(fc.nat({ max: 100 })),
});
const arbitraryFacts: fc.Arbitrary<RetryFacts> = fc.record({
  outcome: fc.constantFrom(...OUTCOMES),
  error: arbitraryError,
  instanceId: fc.constantFrom(null, "a", "b"),
  earlierFailures: fc.array(
    fc.record({
      outcome: fc.constantFrom("failed" as const, "stalled" as const, "instance_died" as const),
      class: fc.constantFrom(...ERROR_CLASSES),
      instanceId: fc.constantFrom(null, "a", "b"),
    }),
    { maxLength: 14 },
  ),
  freeReturns: fc.integer({ min: 0, max: 80 }),
  surplusReturns: fc.integer({ min: 0, max: 200 }),
  deathsOnInstances: fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 4 }),
  machineId: fc.constantFrom("m1", "m2"),
  card: arbitraryCard,
  isInstanceAlive: fc.boolean(),
  wantedBytes: fc.option(fc.nat({ max: 100 })),
  others: fc.array(
    fc.record({
      id: fc.constantFrom("x", "y"),
      machineId: fc.constantFrom("m1", "m2"),
      card: arbitraryCard,
    }),
    { maxLength: 3 },
  ),
  time: fc.record({
    spentMs: fc.nat({ max: 200 }),
    limitMs: fc.integer({ min: 1, max: 150 }),
    extendedMs: fc.constantFrom(0, 10),
    attemptMs: fc.nat({ max: 100 }),
    steadyPercent: fc.option(fc.integer({ min: 0, max: 100 })),
  }),
  isRecoveryEnabled: fc.boolean(),
  canRestartInstance: fc.boolean(),
  hasExecuted: fc.boolean(),
  maxRetryAttempts: fc.integer({ min: -1, max: 6 }),
});

describe("invariants", () => {
  it("never retries past a cap, and always says why in a sentence", () => {
    fc.assert(
      fc.property(arbitraryFacts, fc.integer(), (given, seed) => {
        const decision = decideRetry(given, seededRandom(seed));
        expect(decision.explain).toMatch(/\.$/);
        const plan = decision.kind === "retry" ? decision : null;
        const isPastCap = plan?.isFree
          ? given.outcome !== "surplus" && given.freeReturns >= FREE_RETURNS_MAX
          : given.earlierFailures.length >= RECOVERIES_MAX;
        expect(plan !== null && isPastCap).toBe(false);
        expect(plan?.delayMs ?? 0).toBeGreaterThanOrEqual(0);
        expect(plan?.delayMs ?? 0).toBeLessThanOrEqual(30_000);
        expect(plan?.where === "elsewhere" && given.others.length === 0).toBe(false);
      }),
    );
  });

  it("ends every job whose every attempt fails, whatever the class", () => {
    fc.assert(
      fc.property(arbitraryError, fc.boolean(), (error, hasOther) => {
        const failures: EarlierFailure[] = [];
        let instanceId = "a";
        for (;;) {
          const decision = decideRetry(
            facts({
              error,
              instanceId,
              earlierFailures: failures,
              others: hasOther ? OTHERS : [],
            }),
            seededRandom(7),
          );
          if (decision.kind !== "retry") break;
          failures.push(earlier(error.class, instanceId));
          if (decision.where === "elsewhere") instanceId = instanceId === "a" ? "b" : "a";
        }
        expect(failures.length).toBeLessThanOrEqual(RECOVERIES_MAX);
      }),
    );
  });

  it("gives the same decision for the same facts and seed", () => {
    fc.assert(
      fc.property(arbitraryFacts, fc.integer(), (given, seed) => {
        expect(decideRetry(given, seededRandom(seed))).toEqual(
          decideRetry(given, seededRandom(seed)),
        );
      }),
    );
  });
});
