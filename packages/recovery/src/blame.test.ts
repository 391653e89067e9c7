import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BLAME_JOBS, decideBlame, isBlamable, type BlameFacts, type InstanceEnd } from "./blame.ts";
import { ERROR_CLASSES } from "./error-class.ts";

const MINUTE = 60_000;
const end = (jobId: string, over: Partial<InstanceEnd> = {}): InstanceEnd => ({
  jobId,
  class: "unknown",
  failedElsewhere: false,
  ...over,
});
const blame = (ends: readonly InstanceEnd[], over: Partial<BlameFacts> = {}) =>
  decideBlame({
    error: { class: "unknown", subclass: null, confidence: 1 },
    ends,
    quarantines: 0,
    hasOther: true,
    hasOtherMachine: true,
    ...over,
  });

describe("different jobs that fail on one instance", () => {
  it("are its fault from the third on", () => {
    expect(blame([end("c"), end("b")])).toEqual({ kind: "none" });
    expect(blame([end("c"), end("b"), end("a")])).toEqual({
      kind: "quarantine",
      scope: "instance",
      forMs: MINUTE,
      reason: "3 different jobs failed on it one after the other",
    });
  });

  it("are not when a job went well in between, or one of them fails everywhere", () => {
    expect(blame([end("c"), end("b"), end("x", { class: null }), end("a")]).kind).toBe("none");
    expect(blame([end("c"), end("b"), end("a", { failedElsewhere: true })]).kind).toBe("none");
  });

  it("are not when it is one job again and again, or when their graphs are at fault", () => {
    expect(blame([end("a"), end("a"), end("a")]).kind).toBe("none");
    expect(blame([end("c"), end("b", { class: "workflow_error" }), end("a")]).kind).toBe("none");
    expect(
      blame([end("c"), end("b"), end("a")], {
        error: { class: "workflow_error", subclass: null, confidence: 1 },
      }).kind,
    ).toBe("none");
  });

  it("leave the last instance that takes work alone", () => {
    expect(blame([end("c"), end("b"), end("a")], { hasOther: false }).kind).toBe("none");
  });

  it("set it aside longer each time, at the first failure after the last quarantine", () => {
    expect(blame([end("d")], { quarantines: 1 })).toMatchObject({ forMs: 2 * MINUTE });
    expect(blame([end("d")], { quarantines: 3 })).toMatchObject({ forMs: 8 * MINUTE });
    expect(blame([end("d")], { quarantines: 99 })).toMatchObject({ forMs: 30 * MINUTE });
  });
});

describe("what is known at the first failure", () => {
  it.each([
    ["gpu_fault", "hardware", "instance", 10],
    ["gpu_fault", "unsupported_card", "instance", 10],
    ["disk_full", null, "machine", 10],
    ["cuda_out_of_memory", "foreign_vram", "instance", 1],
    ["model_missing", "list_empty", "instance", 10],
  ] as const)(
    "%s (%s) sets the %s aside, but never the last",
    (errorClass, subclass, scope, minutes) => {
      const error = { class: errorClass, subclass, confidence: 0.95 };
      const ends = [end("a", { class: errorClass })];
      expect(isBlamable(error)).toBe(true);
      expect(blame(ends, { error })).toMatchObject({ scope, forMs: minutes * MINUTE });
      const last = scope === "machine" ? { hasOtherMachine: false } : { hasOther: false };
      expect(blame(ends, { error, ...last })).toEqual({ kind: "none" });
      expect(blame(ends, { error: { ...error, confidence: 0.6 } })).toEqual({ kind: "none" });
    },
  );

  it("somebody's quota is not the machine's disk", () => {
    expect(isBlamable({ class: "disk_full", subclass: "quota", confidence: 1 })).toBe(false);
  });

  it("a lack of memory or a faulty graph is nobody's but the job's", () => {
    for (const errorClass of ["cuda_out_of_memory", "workflow_error", "auth_error"] as const) {
      expect(isBlamable({ class: errorClass, subclass: null, confidence: 1 })).toBe(false);
    }
  });
});

it("on a suspicion nobody is blamed for fewer than three jobs, nor for longer than half an hour", () => {
  const anyEnd = fc.record({
    jobId: fc.constantFrom("a", "b", "c", "d"),
    class: fc.option(fc.constantFrom(...ERROR_CLASSES)),
    failedElsewhere: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.array(anyEnd, { maxLength: 12 }),
      fc.constantFrom(...ERROR_CLASSES),
      fc.nat({ max: 20 }),
      fc.boolean(),
      (ends, errorClass, quarantines, hasOther) => {
        const error = { class: errorClass, subclass: null, confidence: 0.8 };
        const facts = { error, ends, quarantines, hasOther, hasOtherMachine: hasOther };
        const decided = decideBlame(facts);
        if (decided.kind === "none") return;
        expect(decided.forMs).toBeLessThanOrEqual(30 * MINUTE);
        expect(hasOther).toBe(true);
        if (quarantines > 0) return;
        const failing = ends.filter((one) => one.class !== null && !one.failedElsewhere);
        expect(new Set(failing.map(({ jobId }) => jobId)).size).toBeGreaterThanOrEqual(BLAME_JOBS);
      },
    ),
  );
});
