import { expect, test } from "vitest";
import { planFor } from "./plan.ts";

const rungs = (...asked: Parameters<typeof planFor>): string[] =>
  planFor(...asked).steps.map(({ rung }) => rung);
const OOM = "CUDA out of memory. Tried to allocate 2.00 GiB";

test("a message and its evidence lead to the same ladder", () => {
  const evidence = { channel: "execution", exceptionType: "torch.OutOfMemoryError", message: OOM };
  expect(rungs(OOM, {})).toEqual(rungs(evidence, {}));
  expect(planFor(OOM, {})).toMatchObject({
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
  expect(planFor(error, {}).success).toBe(true);
});

test("an unknown channel counts as a run's own, and words that say nothing are unknown", () => {
  expect(planFor({ channel: "carrier pigeon", message: OOM }, {}).class).toBe("cuda_out_of_memory");
  expect(planFor({ message: "blorp" }, {})).toMatchObject({
    class: "unknown",
    steps: [{}, {}, {}],
  });
});
