import { readFileSync } from "node:fs";
import { applyPatch, type Graph } from "@holdfast/comfyui/protocol";
import { seededRandom } from "@holdfast/runtime";
import { describe, expect, it } from "vitest";
import type { CustomVerdict } from "./error-class.ts";
import { EMPTY_RECIPE } from "./graph/recipe.ts";
import { decideRecovery, type ChangeFacts } from "./recover.ts";
import { RECOVERIES_MAX } from "./retry.ts";
import type { EarlierFailure, RetryFacts } from "./retry-model.ts";
import type { ErrorStrategy } from "./strategy.ts";

const GRAPH = JSON.parse(
  readFileSync(new URL("../../../examples/sd15-text-to-image.json", import.meta.url), "utf8"),
) as Graph;
const CHANGE: ChangeFacts = {
  graph: GRAPH,
  recipe: EMPTY_RECIPE,
  failedNodeId: "3",
  hasClass: () => true,
  maxLoss: "content",
  models: null,
  memory: null,
};
const OWN: CustomVerdict = {
  pattern: "upscaler",
  errorType: "upscaler_error",
  maxRetries: 2,
  adjustments: { cfg: { operation: "reduce", factor: 0.5 } },
};
const before = (customType: string | null = "upscaler_error"): EarlierFailure => ({
  outcome: "failed",
  class: "unknown",
  instanceId: "a",
  customType,
});
function decide(
  strategy: ErrorStrategy,
  over: Partial<RetryFacts> = {},
  custom: Partial<CustomVerdict> = {},
  change: ChangeFacts | null = CHANGE,
) {
  const facts: RetryFacts = {
    outcome: "failed",
    hasExecuted: true,
    error: {
      class: "unknown",
      subclass: null,
      confidence: 1,
      decidedBy: { kind: "pattern", rule: "custom.upscaler" },
      strategy,
      custom: { ...OWN, ...custom },
    },
    instanceId: "a",
    machineId: "m",
    card: { totalBytes: null },
    isInstanceAlive: true,
    wantedBytes: null,
    earlierFailures: [],
    freeReturns: 0,
    surplusReturns: 0,
    deathsOnInstances: [],
    others: [],
    time: { spentMs: 0, limitMs: 60_000, extendedMs: 0, attemptMs: 0, steadyPercent: null },
    canRestartInstance: false,
    isRecoveryEnabled: true,
    maxRetryAttempts: 3,
    ...over,
  };
  return decideRecovery(facts, change, seededRandom(1));
}

describe("an error that an operator described", () => {
  it("adjusts what its pattern says, in the graph as it ran, and says so", () => {
    const first = decide("REDUCE_PARAMS");
    expect(first.decision).toMatchObject({
      kind: "retry",
      rung: "adjust_params",
      delayMs: 0,
      explain: "Adjusted parameters for upscaler_error: 3.cfg 8 → 4",
    });
    if (first.change === null) throw new Error("nothing changed");
    expect(first.change.loss).toBe("content");
    expect(applyPatch(GRAPH, first.change.patch)["3"]?.inputs["cfg"]).toBe(4);
    const again = decide(
      "REDUCE_PARAMS",
      { earlierFailures: [before()] },
      {},
      {
        ...CHANGE,
        recipe: first.change.recipe,
      },
    );
    if (again.change === null) throw new Error("nothing changed");
    expect(applyPatch(GRAPH, again.change.patch)["3"]?.inputs["cfg"]).toBe(2);
  });

  it("is tried as often as its pattern says, whatever else went wrong", () => {
    expect(
      decide("RETRY", { earlierFailures: [before(), before(null)] }, { adjustments: {} }),
    ).toMatchObject({ decision: { kind: "retry", rung: "wait_and_retry" } });
    expect(decide("RETRY", { earlierFailures: [before(), before()] })).toMatchObject({
      decision: { kind: "fail", reason: "retries_used_up" },
    });
    expect(decide("RETRY", {}, { maxRetries: 0 })).toMatchObject({ decision: { kind: "fail" } });
    const many = Array.from({ length: RECOVERIES_MAX }, () => before(null));
    expect(decide("RETRY", { earlierFailures: many })).toMatchObject({
      decision: { reason: "recoveries_used_up" },
    });
  });

  it("without a number of its own goes by the job's", () => {
    const earlierFailures = [before(), before(), before()];
    const own = { maxRetries: null, adjustments: {} };
    expect(decide("RETRY", { earlierFailures, maxRetryAttempts: 4 }, own).decision.kind).toBe(
      "retry",
    );
    expect(decide("RETRY", { earlierFailures }, own).decision.kind).toBe("fail");
  });

  it.each([
    ["ABORT", {}, { kind: "fail", reason: "custom_pattern" }],
    ["REDUCE_PARAMS", { adjustments: {} }, { rung: "reduce_params" }],
    ["RETRY", { adjustments: {} }, { rung: "wait_and_retry", where: "anywhere" }],
    ["RETRY", {}, { rung: "adjust_params" }],
    ["RESUME_CHECKPOINT", { adjustments: {} }, { rung: "resume_same", where: "same" }],
    ["SWITCH_MODEL", {}, { kind: "fail", reason: "tried_enough" }],
  ] as const)("%s with %j comes to %j", (strategy, custom, expected) => {
    const graph = applyPatch(GRAPH, { set: [{ nodeId: "5", input: "width", value: 1024 }] });
    expect(decide(strategy, {}, custom, { ...CHANGE, graph }).decision).toMatchObject(expected);
  });

  it("changes nothing that the job's policy forbids, and says so", () => {
    const { decision } = decide("REDUCE_PARAMS", {}, {}, { ...CHANGE, maxLoss: "size" });
    expect(decision).toMatchObject({ kind: "fail" });
    expect(decision.explain).toContain("the job's policy allows size at most");
  });

  it("stands behind a death, the limit of time, and recovery that is switched off", () => {
    const died = decide("ABORT", { outcome: "instance_died" });
    expect(died.decision).toMatchObject({ kind: "retry", reason: "after_crash" });
    const late = { spentMs: 60_000, limitMs: 60_000, extendedMs: 0, attemptMs: 0 };
    expect(decide("RETRY", { time: { ...late, steadyPercent: null } }).decision.reason).toBe(
      "out_of_time",
    );
    expect(decide("RETRY", { isRecoveryEnabled: false }).decision.reason).toBe("recovery_disabled");
  });
});
