import { seededRandom } from "@holdfast/runtime";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { ERROR_CLASSES, type ClassifiedError, type ErrorClass } from "./error-class.ts";
import { decideRetry, FILE_LOCK_WAIT_MS, FREE_RETURNS_MAX, RECOVERIES_MAX } from "./retry.ts";
import type { EarlierFailure, RetryFacts, RetryOutcome } from "./retry-model.ts";

function classified(errorClass: ErrorClass, subclass: string | null = null): ClassifiedError {
  return {
    class: errorClass,
    subclass,
    confidence: 0.9,
    decidedBy: { kind: "pattern", rule: "test" },
    strategy: "RETRY",
  };
}

function facts(changes: Partial<RetryFacts> = {}): RetryFacts {
  return {
    outcome: "failed",
    error: classified("unknown"),
    instanceId: "a",
    earlierFailures: [],
    freeReturns: 0,
    surplusReturns: 0,
    deathsOnInstances: [],
    otherInstancesCanServe: true,
    canRestartInstance: true,
    maxRetryAttempts: 5,
    ...changes,
  };
}

function earlier(
  errorClass: ErrorClass,
  instanceId: string,
  outcome: EarlierFailure["outcome"] = "failed",
): EarlierFailure {
  return { outcome, class: errorClass, instanceId };
}

const decide = (changes: Partial<RetryFacts> = {}) => decideRetry(facts(changes), seededRandom(1));
const decideError = (
  errorClass: ErrorClass,
  changes: Partial<RetryFacts> = {},
  subclass: string | null = null,
) => decide({ error: classified(errorClass, subclass), ...changes });

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

describe("what no retry can cure", () => {
  it("fails a faulty graph at once", () => {
    expect(decideError("workflow_error")).toMatchObject({
      kind: "fail",
      reason: "same_graph_fails_everywhere",
    });
  });

  it("uploads a missing input once more, then fails", () => {
    expect(decideError("workflow_error", {}, "missing_input")).toMatchObject({
      where: "same",
      reason: "upload_input_again",
    });
    const again = { earlierFailures: [earlier("workflow_error", "a")] };
    expect(decideError("workflow_error", again, "missing_input").kind).toBe("fail");
  });

  it("fails a refused credential at once", () => {
    expect(decideError("auth_error")).toMatchObject({
      kind: "fail",
      reason: "credential_refused",
    });
  });

  it("fails a whole model file that does not fit", () => {
    expect(decideError("corrupt_model", {}, "weights_mismatch").kind).toBe("fail");
  });
});

describe("what another machine may have", () => {
  const CLASSES = [
    "model_missing",
    "node_missing",
    "dependency_error",
    "disk_full",
    "corrupt_model",
    "permission_error",
  ] as const;

  it.each(CLASSES)("%s goes elsewhere once", (errorClass) => {
    expect(decideError(errorClass)).toMatchObject({ kind: "retry", where: "elsewhere" });
    expect(decideError(errorClass, { earlierFailures: [earlier(errorClass, "b")] })).toMatchObject({
      kind: "fail",
      reason: "tried_enough",
    });
  });

  it.each(CLASSES)("%s fails where there is no elsewhere", (errorClass) => {
    expect(decideError(errorClass, { otherInstancesCanServe: false })).toMatchObject({
      kind: "fail",
      reason: "nobody_else_can_serve",
    });
  });

  it("waits for another program's lock once, then goes elsewhere no more than once", () => {
    expect(decideError("permission_error", {}, "file_in_use")).toMatchObject({
      where: "same",
      delayMs: FILE_LOCK_WAIT_MS,
    });
    const again = { earlierFailures: [earlier("permission_error", "a")] };
    expect(decideError("permission_error", again, "file_in_use").kind).toBe("fail");
  });
});

describe("waits", () => {
  it("doubles the wait for a connection up to half a minute", () => {
    const delays = [0, 1, 2, 3, 4, 5].map((count) => {
      const before = Array.from({ length: count }, () => earlier("network_error", "a"));
      const error = classified("network_error");
      const decision = decideRetry(facts({ error, earlierFailures: before }), { next: () => 0 });
      return decision.kind === "retry" ? decision.delayMs : -1;
    });
    expect(delays).toEqual([2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  });

  it("names a jittered wait with one decimal", () => {
    const decision = decideRetry(facts({ error: classified("network_error") }), {
      next: () => 0.5,
    });
    expect(decision.explain).toContain("1.8 s");
  });

  it("does not spend the retry budget on waits", () => {
    expect(decideError("network_error", { maxRetryAttempts: 0 }).kind).toBe("retry");
    const waits = Array.from({ length: 4 }, () => earlier("network_error", "a"));
    expect(
      decideError("cuda_out_of_memory", { earlierFailures: waits, maxRetryAttempts: 1 }).kind,
    ).toBe("retry");
  });

  it("ends after ten recoveries", () => {
    const waits = Array.from({ length: RECOVERIES_MAX }, () => earlier("network_error", "a"));
    expect(decideError("network_error", { earlierFailures: waits })).toMatchObject({
      kind: "fail",
      reason: "recoveries_used_up",
    });
  });

  it("moves a stalled job elsewhere, or tries it again where there is no elsewhere", () => {
    expect(decide({ outcome: "stalled" })).toMatchObject({
      where: "elsewhere",
      reason: "after_stall",
    });
    expect(decide({ outcome: "stalled", otherInstancesCanServe: false })).toMatchObject({
      where: "anywhere",
    });
  });

  it("moves a job off a dead instance at once, or waits for it to come back", () => {
    expect(decide({ outcome: "instance_died" })).toMatchObject({ where: "elsewhere", delayMs: 0 });
    const alone = decide({ outcome: "instance_died", otherInstancesCanServe: false });
    expect(alone).toMatchObject({ where: "anywhere", reason: "after_crash" });
    expect(alone.kind === "retry" && alone.delayMs > 1_000).toBe(true);
  });

  it("treats a killed process as a crash, whatever its exit code suggests", () => {
    const before = [earlier("host_out_of_memory", "a", "instance_died")];
    const decision = decideError("host_out_of_memory", {
      outcome: "instance_died",
      earlierFailures: before,
      maxRetryAttempts: 0,
      otherInstancesCanServe: false,
    });
    expect(decision).toMatchObject({ kind: "retry", reason: "after_crash" });
  });
});

describe("GPU and memory", () => {
  it("frees memory, then goes elsewhere, frees there, then gives up", () => {
    const oom = "cuda_out_of_memory";
    expect(decideError(oom)).toMatchObject({ where: "same", before: "free_memory" });
    expect(decideError(oom, { earlierFailures: [earlier(oom, "a")] })).toMatchObject({
      where: "elsewhere",
    });
    const twice = [earlier(oom, "a"), earlier(oom, "a")];
    expect(decideError(oom, { instanceId: "b", earlierFailures: twice })).toMatchObject({
      where: "same",
      before: "free_memory",
    });
    const onB = [...twice, earlier(oom, "b")];
    expect(decideError(oom, { instanceId: "b", earlierFailures: onB })).toMatchObject({
      kind: "fail",
      reason: "tried_enough",
    });
  });

  it("does not free what another process holds, unless there is nowhere to go", () => {
    expect(decideError("cuda_out_of_memory", {}, "foreign_vram")).toMatchObject({
      where: "elsewhere",
    });
    expect(
      decideError("cuda_out_of_memory", { otherInstancesCanServe: false }, "foreign_vram"),
    ).toMatchObject({ where: "same" });
  });

  it("restarts for host memory and for a poisoned GPU context", () => {
    for (const errorClass of ["host_out_of_memory", "gpu_fault"] as const) {
      expect(decideError(errorClass)).toMatchObject({
        where: "same",
        before: "restart_instance",
      });
    }
  });

  it("leaves a broken card at once", () => {
    expect(decideError("gpu_fault", {}, "hardware")).toMatchObject({ where: "elsewhere" });
  });

  it("blames the job for a second device assertion", () => {
    expect(decideError("gpu_fault", {}, "device_assert").kind).toBe("retry");
    const again = { earlierFailures: [earlier("gpu_fault", "a")] };
    expect(decideError("gpu_fault", again, "device_assert")).toMatchObject({ kind: "fail" });
  });
});

describe("what nobody understands", () => {
  it("is tried the same, then elsewhere, then kept as evidence", () => {
    expect(decideError("unknown")).toMatchObject({ where: "same", before: "nothing" });
    const once = [earlier("unknown", "a")];
    expect(decideError("unknown", { earlierFailures: once })).toMatchObject({ where: "elsewhere" });
    const twice = [...once, earlier("unknown", "a")];
    expect(decideError("unknown", { earlierFailures: twice })).toMatchObject({ kind: "fail" });
  });

  it("obeys an interrupt from outside the second time", () => {
    expect(decideError("interrupted")).toMatchObject({ where: "same" });
    const again = { earlierFailures: [earlier("interrupted", "a")] };
    expect(decideError("interrupted", again)).toMatchObject({ kind: "fail" });
  });

  it("counts stalls as timeouts against the retry budget", () => {
    const stalls = [earlier("unknown", "a", "stalled"), earlier("unknown", "b", "stalled")];
    expect(
      decide({ outcome: "stalled", earlierFailures: stalls, maxRetryAttempts: 2 }),
    ).toMatchObject({ kind: "fail", reason: "retries_used_up" });
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
  otherInstancesCanServe: fc.boolean(),
  canRestartInstance: fc.boolean(),
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
        expect(plan?.where === "elsewhere" && !given.otherInstancesCanServe).toBe(false);
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
              otherInstancesCanServe: hasOther,
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
