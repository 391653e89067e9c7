import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createJobPlan, mixProblems, WORKFLOWS_MAX, type Mix } from "./mix.ts";

const mixArb: fc.Arbitrary<Mix> = fc
  .record({
    weights: fc.array(fc.double({ min: 0.1, max: 50, noNaN: true }), {
      minLength: 1,
      maxLength: 6,
    }),
    seed: fc.maxSafeNat(),
  })
  .map(({ weights, seed }) => ({
    workflows: weights.map((weight, n) => ({ name: `w${n}`, weight })),
    seed,
  }));

const firstJob = (seed: number) =>
  createJobPlan({ workflows: [{ name: "a", weight: 1 }], seed })(0);

describe("the mix of a run", () => {
  it("gives the same job for the same index, whatever was asked before", () => {
    fc.assert(
      fc.property(mixArb, fc.array(fc.nat(100_000), { maxLength: 20 }), (mix, indices) => {
        const once = createJobPlan(mix);
        for (const index of indices) expect(createJobPlan(mix)(index)).toEqual(once(index));
      }),
    );
  });

  it("gives each workflow its share after any number of jobs", () => {
    fc.assert(
      fc.property(mixArb, fc.integer({ min: 1, max: 3_000 }), (mix, count) => {
        const job = createJobPlan(mix);
        const sum = mix.workflows.reduce((total, { weight }) => total + weight, 0);
        const seen = new Map<string, number>();
        for (let index = 0; index < count; index += 1) {
          const { workflow } = job(index);
          seen.set(workflow, (seen.get(workflow) ?? 0) + 1);
        }
        for (const { name, weight } of mix.workflows) {
          expect(Math.abs((seen.get(name) ?? 0) - (count * weight) / sum)).toBeLessThan(5);
        }
      }),
    );
  });

  it("gives no seed twice, and none that JSON would bend", () => {
    fc.assert(
      fc.property(mixArb, (mix) => {
        const job = createJobPlan(mix);
        const seeds = Array.from({ length: 500 }, (_, index) => job(index).seed);
        expect(new Set(seeds).size).toBe(500);
        expect(seeds.every((seed) => Number.isSafeInteger(seed) && seed >= 0)).toBe(true);
      }),
    );
  });

  it("begins another run elsewhere, also where the seeds differ above 32 bits alone", () => {
    expect(firstJob(7).seed).not.toBe(firstJob(8).seed);
    expect(firstJob(7).seed).not.toBe(firstJob(7 + 2 ** 40).seed);
  });

  it("counts from the first seed it is told", () => {
    const job = createJobPlan({
      workflows: [{ name: "a", weight: 1 }],
      seed: 1,
      firstJobSeed: 1000,
    });
    expect([job(0).seed, job(11).seed]).toEqual([1000, 1011]);
  });

  it("says everything that is wrong", () => {
    const many = Array.from({ length: WORKFLOWS_MAX + 1 }, (_, n) => ({ name: `${n}`, weight: 1 }));
    expect(mixProblems({ workflows: many, seed: 1 })).toEqual([
      "expected 1 to 100 workflows, found 101",
    ]);
    expect(
      mixProblems({
        workflows: [
          { name: "a", weight: 0 },
          { name: "a", weight: 1 },
          { name: "", weight: Number.NaN },
        ],
        seed: -1,
        firstJobSeed: 0.5,
      }),
    ).toEqual([
      'weight of "a": expected over 0 to 1000000, found 0',
      'two workflows are called "a": give one another name',
      "a workflow's name: expected 1 to 200 characters",
      'weight of "": expected over 0 to 1000000, found NaN',
      "seed: expected a whole number from 0, found -1",
      "first job's seed: expected a whole number from 0 to 2^52 - 1, found 0.5",
    ]);
  });
});
