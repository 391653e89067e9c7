import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { SizedHead, WantingInstance } from "./model.ts";
import {
  AFFINITY_MAX_WAIT_MS,
  CARD_MAX_WAIT_MS,
  choosePlacements,
  IDLE_FIRST_MS,
  isTooSmall,
} from "./ranking.ts";

const head = (over: Partial<SizedHead> & { jobId: string }): SizedHead => ({
  requirementId: 1,
  priority: 0,
  rank: 1,
  ageMs: 0,
  avoidInstances: [],
  preferredInstance: null,
  costKey: null,
  wantedVramBytes: null,
  ...over,
});
const instance = (over: Partial<WantingInstance> = {}): WantingInstance => ({
  instanceId: "i1",
  wants: 1,
  servable: new Set([1, 2]),
  lastRequirementId: null,
  isIdle: true,
  vramTotalBytes: null,
  ...over,
});

describe("choosePlacements", () => {
  it("takes priority before rank, and rank before id", () => {
    const heads = [
      head({ jobId: "c", rank: 1 }),
      head({ jobId: "b", rank: 2, priority: 5 }),
      head({ jobId: "a", rank: 1 }),
    ];
    const order = choosePlacements(heads, [instance({ wants: 3 })]).map((one) => one.jobId);
    expect(order).toEqual(["b", "a", "c"]);
  });

  it("leaves a job that waits for an instance to that one", () => {
    const heads = [head({ jobId: "a", preferredInstance: "i2" }), head({ jobId: "b", rank: 2 })];
    expect(choosePlacements(heads, [instance()]).map(({ jobId }) => jobId)).toEqual(["b"]);
    const other = instance({ instanceId: "i2" });
    expect(choosePlacements(heads, [other]).map(({ jobId }) => jobId)).toEqual(["a"]);
  });

  it("prefers the job whose models are loaded", () => {
    const heads = [head({ jobId: "a" }), head({ jobId: "b", rank: 2, requirementId: 2 })];
    const [placement] = choosePlacements(heads, [instance({ lastRequirementId: 2 })]);
    expect(placement?.jobId).toBe("b");
  });

  it("lets nobody overtake a job that has waited too long", () => {
    const heads = [
      head({ jobId: "a", ageMs: AFFINITY_MAX_WAIT_MS + 1 }),
      head({ jobId: "b", rank: 2, requirementId: 2 }),
    ];
    const [placement] = choosePlacements(heads, [instance({ lastRequirementId: 2 })]);
    expect(placement?.jobId).toBe("a");
  });

  it("lets loaded models never outweigh priority", () => {
    const heads = [
      head({ jobId: "a", priority: 1 }),
      head({ jobId: "b", rank: 2, requirementId: 2 }),
    ];
    const [placement] = choosePlacements(heads, [instance({ lastRequirementId: 2 })]);
    expect(placement?.jobId).toBe("a");
  });

  it("spreads work over instances before it stages a second job on one", () => {
    const heads = [head({ jobId: "a" }), head({ jobId: "b", rank: 2 })];
    const placements = choosePlacements(heads, [
      instance({ wants: 2 }),
      instance({ instanceId: "i2", wants: 2 }),
    ]);
    expect(placements.map((one) => one.instanceId)).toEqual(["i1", "i2"]);
  });

  it("gives to an idle instance before it stages behind what runs on another", () => {
    const heads = [
      head({ jobId: "a" }),
      head({ jobId: "b", rank: 2 }),
      head({ jobId: "c", rank: 3 }),
    ];
    const instances = [instance({ isIdle: false }), instance({ instanceId: "i2", wants: 2 })];
    const placed = (count: number) =>
      choosePlacements(heads.slice(0, count), instances).map((one) => one.instanceId);
    expect(placed(1)).toEqual(["i2"]);
    expect(placed(3)).toEqual(["i2", "i1", "i2"]);
  });

  it("leaves a new job to an idle instance elsewhere, one each, before it stages it", () => {
    const heads = [head({ jobId: "a" }), head({ jobId: "b", rank: 2 })];
    const other = { instanceId: "i9", servable: new Set([1]), vramTotalBytes: null };
    const placed = (own: Partial<WantingInstance>, more: Partial<SizedHead> = {}) =>
      choosePlacements(
        heads.map((one) => ({ ...one, ...more })),
        [instance({ wants: 2, ...own })],
        [other],
      ).map((one) => one.jobId);
    expect(placed({ isIdle: false })).toEqual(["b"]);
    // An idle one takes its own first, and stages what nobody else takes.
    expect(placed({})).toEqual(["a"]);
    // Nobody has taken it for long: there is a reason.
    expect(placed({ isIdle: false }, { ageMs: IDLE_FIRST_MS })).toEqual(["a", "b"]);
    // The other one cannot have it.
    expect(placed({ isIdle: false }, { avoidInstances: ["i9"] })).toEqual(["a", "b"]);
    expect(placed({ isIdle: false }, { preferredInstance: "i1" })).toEqual(["a", "b"]);
    expect(placed({ isIdle: false }, { requirementId: 2 })).toEqual(["a", "b"]);
  });

  it("leaves a job to a card with the memory that it was measured to take, for a while", () => {
    const heads = [head({ jobId: "big", wantedVramBytes: 20 }), head({ jobId: "any", rank: 2 })];
    const placed = (vramTotalBytes: number | null, more: Partial<SizedHead> = {}) =>
      choosePlacements(
        heads.map((one) => ({ ...one, ...more })),
        [instance({ wants: 2, vramTotalBytes })],
      ).map((one) => one.jobId);
    expect(placed(12)).toEqual(["any"]);
    expect(placed(24)).toEqual(["big", "any"]);
    // It does not tell: nobody knows that it is too small.
    expect(placed(null)).toEqual(["big", "any"]);
    expect(placed(12, { ageMs: CARD_MAX_WAIT_MS })).toEqual(["big", "any"]);
    // An idle one that would not take it is no reason to leave it.
    const small = { instanceId: "i9", servable: new Set([1]), vramTotalBytes: 12 };
    const busy = instance({ isIdle: false, vramTotalBytes: 24 });
    const big = [head({ jobId: "big", wantedVramBytes: 20 })];
    expect(choosePlacements(big, [busy], [small])).toHaveLength(1);
  });

  it("never gives an instance what it cannot serve, what avoids it, or more than it wants, nor a job twice", () => {
    const heads = fc.uniqueArray(
      fc.record({
        jobId: fc.string({ minLength: 1, maxLength: 4 }),
        requirementId: fc.integer({ min: 1, max: 4 }),
        priority: fc.integer({ min: -2, max: 2 }),
        rank: fc.integer({ min: 0, max: 5 }),
        ageMs: fc.integer({ min: 0, max: 2 * AFFINITY_MAX_WAIT_MS }),
        preferredInstance: fc.constantFrom(null, null, "i1", "i2"),
        avoidInstances: fc.subarray(["i0", "i1", "i2"]),
        costKey: fc.constant(null),
        wantedVramBytes: fc.option(fc.integer({ min: 1, max: 4 })),
      }),
      { selector: (one) => one.jobId, maxLength: 12 },
    );
    const instances = fc
      .array(
        fc.record({
          wants: fc.integer({ min: 0, max: 2 }),
          servable: fc.subarray([1, 2, 3, 4]).map((ids) => new Set(ids)),
          lastRequirementId: fc.option(fc.integer({ min: 1, max: 4 })),
          isIdle: fc.boolean(),
          vramTotalBytes: fc.option(fc.integer({ min: 1, max: 4 })),
        }),
        { maxLength: 3 },
      )
      .map((all) => all.map((one, index) => ({ ...one, instanceId: `i${index}` })));
    fc.assert(
      fc.property(heads, instances, (queue, wanting) => {
        const placements = choosePlacements(queue, wanting);
        expect(new Set(placements.map((one) => one.jobId)).size).toBe(placements.length);
        for (const one of wanting) {
          const given = placements.filter((place) => place.instanceId === one.instanceId);
          expect(given.length).toBeLessThanOrEqual(one.wants);
          for (const place of given) {
            expect(one.servable.has(place.requirementId)).toBe(true);
            const job = queue.find((candidate) => candidate.jobId === place.jobId);
            expect(job?.avoidInstances).not.toContain(one.instanceId);
            expect([null, one.instanceId]).toContain(job?.preferredInstance);
          }
          // Work-conserving: room is left only where nothing fits.
          if (given.length < one.wants) {
            const taken = new Set(placements.map((place) => place.jobId));
            const fits = queue.some(
              (job) =>
                !taken.has(job.jobId) &&
                !isTooSmall(one, job) &&
                one.servable.has(job.requirementId) &&
                !job.avoidInstances.includes(one.instanceId) &&
                (job.preferredInstance ?? one.instanceId) === one.instanceId,
            );
            expect(fits).toBe(false);
          }
        }
      }),
    );
  });
});
