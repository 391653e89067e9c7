import { readFileSync } from "node:fs";
import { graphNeeds, type Graph } from "@holdfast/comfyui/protocol";
import type { JobPolicy } from "@holdfast/contract";
import { classify } from "@holdfast/recovery";
import { expect, test } from "vitest";
import { createServers } from "../machines/servers.ts";
import { planFor, type PlanFacts } from "./plan.ts";

const GRAPH = JSON.parse(
  readFileSync(new URL("../../../../examples/sd15-text-to-image.json", import.meta.url), "utf8"),
) as Graph;
const plan = (error: PlanFacts["error"], policy: JobPolicy, over: Partial<PlanFacts> = {}) =>
  planFor({
    error,
    classify,
    graph: null,
    needs: { nodeClasses: [], models: [] },
    servers: createServers([], []),
    policy,
    timeoutMs: 60_000,
    maxRetryAttempts: 3,
    isRecoveryEnabled: true,
    fallbackModels: [],
    ...over,
  });
const rungs = (...asked: Parameters<typeof plan>): string[] =>
  plan(...asked).steps.map(({ rung }) => rung);
const OOM = "CUDA out of memory. Tried to allocate 2.00 GiB";

test("a message and its evidence lead to the same ladder", () => {
  const evidence = { channel: "execution", exceptionType: "torch.OutOfMemoryError", message: OOM };
  expect(rungs(OOM, {})).toEqual(rungs(evidence, {}));
  expect(plan(OOM, {})).toMatchObject({
    success: true,
    class: "cuda_out_of_memory",
    strategy: "REDUCE_PARAMS",
  });
});

test.each([
  ["none", false, false],
  ["pixels", true, false],
  ["size", true, false],
  ["content", true, true],
] as const)("a policy of %s goes so far down and no further", (maxLoss, tiled, reduced) => {
  const allowed = rungs(OOM, { maxLoss });
  expect(allowed).toContain("free_memory");
  expect([allowed.includes("tiled_vae"), allowed.includes("reduce_params")]).toEqual([
    tiled,
    reduced,
  ]);
});

test.each([
  5,
  [],
  null,
  "x",
  { "1": null },
  { "1": { errors: 3 } },
  { "1": { errors: [{ type: 4 }] } },
])("node errors that are none (%j) are no reason to fail", (nodeErrors) => {
  const error = { channel: "validation", message: "prompt is bad", nodeErrors };
  expect(plan(error, {}).success).toBe(true);
});

test("an unknown channel counts as a run's own, and words that say nothing are unknown", () => {
  expect(plan({ channel: "carrier pigeon", message: OOM }, {}).class).toBe("cuda_out_of_memory");
  expect(plan({ message: "blorp" }, {})).toMatchObject({
    class: "unknown",
    steps: [{ rung: "same_once" }],
    end: { kind: "fail", reason: "nobody_else_can_serve" },
  });
});

test("with a graph the plan is that of this very graph, with what would be passed over and why", () => {
  const graph = structuredClone(GRAPH);
  Object.assign(graph["5"]?.inputs ?? {}, { width: 1024, height: 1024, batch_size: 1 });
  const own = plan(OOM, {}, { graph, needs: graphNeeds(graph) });
  expect(own.steps.map(({ rung }) => rung)).toEqual([
    "free_memory",
    "reduce_params",
    "reduce_params",
    "reduce_params",
  ]);
  expect(own.steps[1]?.explain).toContain("5.width 1024 → 816");
  expect(own.skipped.map(({ rung }) => rung)).toContain("split_batch");
  expect(own.end.kind).toBe("fail");
});

test("a process that dies is set aside at the second, and without recovery nothing is tried", () => {
  const died = { channel: "process_exit", message: "exit code 139" };
  expect(plan(died, {}).steps[0]?.rung).toBe("wait_and_retry");
  expect(plan(OOM, {}, { isRecoveryEnabled: false })).toMatchObject({
    steps: [],
    end: { reason: "recovery_disabled" },
  });
});
