import { readFileSync } from "node:fs";
import { applyPatch, type Graph } from "@holdfast/comfyui/protocol";
import { seededRandom } from "@holdfast/runtime";
import { describe, expect, it } from "vitest";
import { EMPTY_RECIPE } from "./graph/recipe.ts";
import { decideRecovery, type ChangeFacts } from "./recover.ts";
import { RECOVERIES_MAX } from "./retry.ts";
import type { EarlierFailure, RetryFacts } from "./retry-model.ts";

const GRAPH = applyPatch(
  JSON.parse(
    readFileSync(new URL("../../../examples/sd15-text-to-image.json", import.meta.url), "utf8"),
  ) as Graph,
  { set: [{ nodeId: "5", input: "width", value: 1024 }] },
);
const CHANGE: ChangeFacts = {
  graph: GRAPH,
  recipe: EMPTY_RECIPE,
  failedNodeId: "3",
  hasClass: () => true,
  maxLoss: "content",
  models: null,
  memory: null,
};
const UNKNOWN_CARD = { totalBytes: null };
const OOM: EarlierFailure = {
  outcome: "failed",
  class: "cuda_out_of_memory",
  instanceId: "i1",
};
const decide = (
  earlierFailures: readonly EarlierFailure[],
  over: Partial<RetryFacts> = {},
  change: ChangeFacts | null = CHANGE,
) =>
  decideRecovery(
    {
      outcome: "failed",
      error: {
        class: "cuda_out_of_memory",
        subclass: null,
        confidence: 1,
        decidedBy: { kind: "none", rule: "test" },
        strategy: "REDUCE_PARAMS",
      },
      instanceId: "i1",
      earlierFailures,
      freeReturns: 0,
      surplusReturns: 0,
      deathsOnInstances: [],
      machineId: "m1",
      card: UNKNOWN_CARD,
      isInstanceAlive: false,
      wantedBytes: null,
      others: [],
      time: { spentMs: 0, limitMs: 60_000, extendedMs: 0, attemptMs: 0, steadyPercent: null },
      canRestartInstance: false,
      hasExecuted: true,
      isRecoveryEnabled: true,
      maxRetryAttempts: 3,
      ...over,
    },
    change,
    seededRandom(1),
  );

describe("lack of memory", () => {
  it("is first answered without touching the graph", () => {
    const { decision, change } = decide([]);
    expect(decision).toMatchObject({ kind: "retry", before: "free_memory" });
    expect(change).toBeNull();
    expect(
      decide([OOM], { others: [{ id: "i9", machineId: "m9", card: UNKNOWN_CARD }] }).decision,
    ).toMatchObject({
      where: "elsewhere",
    });
  });

  it("is then answered with another graph, at once and anywhere", () => {
    const { decision, change } = decide([OOM]);
    expect(decision).toMatchObject({
      kind: "retry",
      delayMs: 0,
      where: "anywhere",
      before: "nothing",
      isFree: false,
      reason: "graph_changed",
      explain: expect.stringMatching(/^Reduced parameters for cuda_out_of_memory: 5\.width/),
    });
    expect(change).toMatchObject({ rung: "reduce_params", recipe: { reductions: ["all"] } });
  });

  it("does not use up what other failures may spend, nor the other way round", () => {
    const unknown: EarlierFailure = { ...OOM, class: "unknown" };
    expect(decide([unknown, unknown, OOM]).change).not.toBeNull();
    expect(decide([OOM, OOM, OOM, OOM, OOM]).change).not.toBeNull();
  });

  it("ends when nothing can be made smaller, with every reason", () => {
    const small = applyPatch(GRAPH, { set: [{ nodeId: "5", input: "width", value: 512 }] });
    const { decision } = decide([OOM], {}, { ...CHANGE, graph: small });
    expect(decision.kind).toBe("fail");
    expect(decision.explain).toMatch(
      /split_batch: .*tiled_vae: .*reduce_params: .*minimum already/,
    );
  });

  it("of the host goes to two instances at most, however many there are", () => {
    const host = { ...OOM, class: "host_out_of_memory" as const };
    const over = {
      instanceId: "i2",
      others: [{ id: "i9", machineId: "m9", card: UNKNOWN_CARD }],
      error: {
        class: "host_out_of_memory",
        subclass: null,
        confidence: 1,
        decidedBy: { kind: "none", rule: "test" },
        strategy: "RETRY",
      },
    } as const;
    expect(decide([], { ...over, instanceId: "i1" }).decision).toMatchObject({
      where: "elsewhere",
    });
    expect(decide([host], over).decision.reason).toBe("graph_changed");
    expect(decide([host], over, null).decision.reason).toBe("tried_enough");
  });

  it.each([
    ["no retries are allowed", [OOM], { maxRetryAttempts: 0 }, CHANGE],
    ["all recoveries are used up", Array.from({ length: RECOVERIES_MAX }, () => OOM), {}, CHANGE],
    ["the graph is not known", [OOM], {}, null],
    ["the process died of it", [OOM], { outcome: "instance_died" }, CHANGE],
  ] as const)("changes nothing when %s", (_, earlier, over, change) => {
    expect(decide(earlier, over, change).change).toBeNull();
  });
});
