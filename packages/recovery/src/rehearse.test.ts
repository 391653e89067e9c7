import { readFileSync } from "node:fs";
import { applyPatch, type Graph } from "@holdfast/comfyui/protocol";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ERROR_CLASSES, type ErrorClass } from "./error-class.ts";
import { EMPTY_RECIPE } from "./graph/recipe.ts";
import type { ChangeFacts } from "./recover.ts";
import { rehearse, type RehearsalFacts } from "./rehearse.ts";
import { RECOVERIES_MAX } from "./retry.ts";

const GRAPH = applyPatch(
  JSON.parse(
    readFileSync(new URL("../../../examples/sd15-text-to-image.json", import.meta.url), "utf8"),
  ) as Graph,
  { set: [{ nodeId: "5", input: "batch_size", value: 4 }] },
);
const CARD = { totalBytes: 8e9 };
const CHANGE: ChangeFacts = {
  graph: GRAPH,
  recipe: EMPTY_RECIPE,
  failedNodeId: "8",
  hasClass: () => true,
  maxLoss: "content",
  models: null,
  memory: null,
};
const facts = (errorClass: ErrorClass, over: Partial<RehearsalFacts> = {}): RehearsalFacts => ({
  outcome: "failed",
  retry: {
    error: {
      class: errorClass,
      subclass: null,
      confidence: 1,
      decidedBy: { kind: "none", rule: "test" },
      strategy: "RETRY",
    },
    instanceId: "a",
    machineId: "m1",
    card: CARD,
    isInstanceAlive: true,
    wantedBytes: null,
    freeReturns: 0,
    surplusReturns: 0,
    deathsOnInstances: [],
    time: { spentMs: 0, limitMs: 60_000, extendedMs: 0, attemptMs: 0, steadyPercent: null },
    canRestartInstance: false,
    hasExecuted: true,
    isRecoveryEnabled: true,
    maxRetryAttempts: 3,
  },
  servers: [
    { id: "a", machineId: "m1", card: CARD },
    { id: "b", machineId: "m2", card: { totalBytes: 24e9 } },
  ],
  change: CHANGE,
  ...over,
});
const rungs = (given: RehearsalFacts) => rehearse(given).steps.map(({ rung }) => rung);

describe("what would be done", () => {
  it("about a lack of memory is the whole ladder, in its order, to its end", () => {
    const { steps, end } = rehearse(facts("cuda_out_of_memory"));
    expect(steps.map(({ rung, loss }) => `${String(rung)} ${loss}`)).toEqual([
      "free_memory none",
      "more_vram none",
      "free_memory none",
      "split_batch none",
      "tiled_vae pixels",
    ]);
    expect(steps.map(({ attempt }) => attempt)).toEqual([2, 3, 4, 5, 6]);
    expect(end).toMatchObject({ kind: "fail" });
  });

  it("about a full disk is another machine, then the end", () => {
    expect(rungs(facts("disk_full"))).toEqual(["elsewhere_with_room"]);
  });

  it("about a process that dies twice is to set the job aside", () => {
    const died = rehearse(facts("instance_crash", { outcome: "instance_died" }));
    expect(died.steps.map(({ where }) => where)).toEqual(["elsewhere"]);
    expect(died.end.kind).toBe("poison");
  });

  it("about an error that an operator described goes by the pattern's own number of tries", () => {
    const base = facts("unknown");
    const custom = { pattern: "p", errorType: "own", maxRetries: 2, adjustments: {} };
    const error = { ...base.retry.error, custom };
    const plan = rehearse({ ...base, retry: { ...base.retry, error } });
    expect(plan.steps).toHaveLength(2);
    expect(plan.end.reason).toBe("retries_used_up");
  });

  it("says which rungs would be passed over, and why", () => {
    const { skipped } = rehearse(facts("model_missing"));
    expect(skipped.map(({ rung }) => rung)).toEqual(["same_model_other_name", "switch_model"]);
  });
});

it("always ends, within what a job may be recovered, and the same for the same facts", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...ERROR_CLASSES),
      fc.constantFrom("failed" as const, "stalled" as const, "instance_died" as const),
      fc.boolean(),
      fc.boolean(),
      (errorClass, outcome, isAlone, hasGraph) => {
        const base = facts(errorClass, { outcome, ...(hasGraph ? {} : { change: null }) });
        const given = isAlone ? { ...base, servers: base.servers.slice(0, 1) } : base;
        const plan = rehearse(given);
        expect(plan.steps.length).toBeLessThanOrEqual(RECOVERIES_MAX);
        expect(plan.end.explain).not.toBe("");
        expect(rehearse(given)).toEqual(plan);
      },
    ),
  );
});
