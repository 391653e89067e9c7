import { readFileSync } from "node:fs";
import { applyPatch, type Graph } from "@holdfast/comfyui/protocol";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LOSS_LEVELS } from "../ladder.ts";
import { applyRecipe, EMPTY_RECIPE, nextChange, type ChangeRequest } from "./recipe.ts";
import { readParameters } from "./sampling.ts";

const GRAPH = applyPatch(
  JSON.parse(
    readFileSync(new URL("../../../../examples/sd15-text-to-image.json", import.meta.url), "utf8"),
  ) as Graph,
  {
    set: [
      { nodeId: "5", input: "batch_size", value: 8 },
      { nodeId: "5", input: "width", value: 1024 },
      { nodeId: "5", input: "height", value: 1024 },
    ],
  },
);
const ask = (more: Partial<ChangeRequest> = {}) =>
  nextChange({
    class: "cuda_out_of_memory",
    custom: null,
    graph: GRAPH,
    recipe: EMPTY_RECIPE,
    failedNodeId: "3",
    hasClass: () => true,
    maxLoss: "content",
    maxChanges: 3,
    models: null,
    memory: null,
    ...more,
  });

/** All changes that a job goes through whose every attempt fails, and the graph of each. */
function climb(more: Partial<ChangeRequest> = {}) {
  const steps = [];
  let recipe = EMPTY_RECIPE;
  for (let n = 0; n < 50; n += 1) {
    const change = ask({ ...more, recipe });
    if (change.kind === "none") return { steps, skipped: change.skipped };
    recipe = change.recipe;
    steps.push({
      rung: change.rung,
      loss: change.loss,
      graph: applyPatch(GRAPH, change.patch),
      change,
    });
  }
  throw new Error("it never ends");
}

describe("a job that runs out of memory again and again", () => {
  it("goes down the ladder: in parts, in tiles where the VAE failed, then smaller and smaller", () => {
    const { steps, skipped } = climb({ failedNodeId: "8" });
    expect(steps.map(({ rung, loss }) => `${rung} ${loss}`)).toEqual([
      "split_batch none",
      "tiled_vae pixels",
      "reduce_params size",
      "reduce_params size",
    ]);
    expect(skipped.at(-1)).toEqual({
      rung: "reduce_params",
      reason: "All 3 allowed changes of the graph were made.",
    });
    expect(steps.map(({ graph }) => readParameters(graph))).toMatchObject([
      { batch_size: 8, width: 1024, height: 1024 },
      { batch_size: 8, width: 1024, height: 1024 },
      { batch_size: 8, width: 816, height: 816 },
      { batch_size: 8, width: 648, height: 648 },
    ]);
    // Each step starts from the caller's graph: the parts are those of the batch as it is now.
    expect(Object.keys(steps.at(-1)?.graph ?? {}).filter((id) => id.startsWith("3"))).toHaveLength(
      8,
    );
    expect(steps.at(-1)?.graph["8:part2"]?.class_type).toBe("VAEDecodeTiled");
  });

  it("says in words what was made smaller; fewer pictures only where they cannot go one by one", () => {
    const { steps } = climb({ hasClass: (name) => name !== "LatentFromBatch" });
    expect(steps[0]?.loss).toBe("content");
    expect(steps[0]?.change.explain).toBe(
      "Reduced parameters for cuda_out_of_memory: 5.width 1024 → 816, 5.height 1024 → 816, 5.batch_size 8 → 4",
    );
  });

  it.each([
    ["none", ["split_batch"]],
    ["pixels", ["split_batch", "tiled_vae"]],
    ["size", ["split_batch", "tiled_vae", "reduce_params", "reduce_params"]],
    ["content", ["split_batch", "tiled_vae", "reduce_params", "reduce_params"]],
  ] as const)("with a policy of %s goes no further than %o", (maxLoss, rungs) => {
    const { steps, skipped } = climb({ maxLoss, failedNodeId: "8" });
    expect(steps.map(({ rung }) => rung)).toEqual(rungs);
    expect(skipped.at(-1)?.rung).toBe("reduce_params");
  });

  it("is not split where an instance lacks the node, and tiles the VAE behind a part's node", () => {
    const hasClass = (name: string): boolean => name !== "ImageBatch";
    expect(ask({ hasClass })).toMatchObject({
      rung: "reduce_params",
      skipped: [
        { rung: "split_batch", reason: "Not every instance has ImageBatch." },
        { rung: "tiled_vae" },
      ],
    });
    const recipe = { ...EMPTY_RECIPE, partSize: 1 };
    expect(ask({ recipe, failedNodeId: "8:part3" })).toMatchObject({
      rung: "tiled_vae",
      recipe: { tiledNodes: ["8"] },
    });
  });

  it("ends under every policy, never past its loss", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...LOSS_LEVELS),
        fc.nat({ max: 20 }),
        fc.constantFrom("3", "8", "9", "8:part2", "nowhere", null),
        (maxLoss, maxChanges, failedNodeId) => {
          const { steps } = climb({ maxLoss, maxChanges, failedNodeId });
          for (const { loss } of steps) {
            expect(LOSS_LEVELS.indexOf(loss)).toBeLessThanOrEqual(LOSS_LEVELS.indexOf(maxLoss));
          }
        },
      ),
    );
  });
});

it("a policy of size makes pictures smaller, never fewer, also where they cannot go one by one", () => {
  const change = ask({ maxLoss: "size", hasClass: (name) => name !== "ImageBatch" });
  if (change.kind === "none") throw new Error(JSON.stringify(change.skipped));
  expect(change.loss).toBe("size");
  expect(readParameters(applyPatch(GRAPH, change.patch))).toMatchObject({
    batch_size: 8,
    width: 816,
  });
});

it("fewer steps alone are no answer to a lack of memory", () => {
  const graph = applyPatch(GRAPH, {
    set: [
      { nodeId: "3", input: "steps", value: 40 },
      { nodeId: "5", input: "batch_size", value: 1 },
      { nodeId: "5", input: "width", value: 512 },
      { nodeId: "5", input: "height", value: 512 },
    ],
  });
  const change = ask({ graph });
  expect(change.kind).toBe("none");
  expect(change.skipped.at(-1)?.reason).toContain("they take no memory");
});

it("other classes are not answered with another graph", () => {
  expect(ask({ class: "network_error" })).toEqual({ kind: "none", skipped: [] });
  expect(ask({ class: "host_out_of_memory" })).toMatchObject({ rung: "reduce_params" });
});

it("an empty recipe is the caller's own graph", () => {
  expect(applyRecipe(GRAPH, EMPTY_RECIPE)).toBe(GRAPH);
});

describe("a model that is not there", () => {
  const from = "v1-5-pruned-emaonly.safetensors";
  const models = (there: readonly string[], missing = from): ChangeRequest["models"] => ({
    missing: [{ folder: "checkpoints", name: missing }],
    there: new Map([["checkpoints", there]]),
    fallbacks: ["sd_xl_base_1.0.safetensors"],
  });
  const missing = (there: readonly string[], more: Partial<ChangeRequest> = {}) =>
    ask({ class: "model_missing", models: models(there), ...more });

  it("is the same one under another name first, at no loss", () => {
    const change = missing(["SD15/V1-5-pruned-emaonly.safetensors", "dreamshaper_8.safetensors"], {
      graph: named("sd15\\v1-5-pruned-emaonly.safetensors"),
      models: models(
        ["SD15/V1-5-pruned-emaonly.safetensors", "dreamshaper_8.safetensors"],
        "sd15\\v1-5-pruned-emaonly.safetensors",
      ),
    });
    expect(change).toMatchObject({ rung: "same_model_other_name", loss: "none" });
  });

  it("is the file with the same hash, also where the policy allows no loss", () => {
    const twin = { family: null, tensorHash: "aa", sizeBytes: 7 };
    const files = new Map([
      [`checkpoints/${from}`, twin],
      ["checkpoints/copy.safetensors", twin],
    ]);
    const change = missing(["dreamshaper_8.safetensors", "copy.safetensors"], {
      models: { ...models(["dreamshaper_8.safetensors", "copy.safetensors"])!, files },
      maxLoss: "none",
    });
    expect(change).toMatchObject({
      rung: "same_model_other_name",
      loss: "none",
      explain: `The same model under another name: ${from} → copy.safetensors (the same file by its hash)`,
    });
  });

  it("is another one of its family next, then the list's, in the graph and in words", () => {
    const change = missing(["dreamshaper_8.safetensors"]);
    expect(change).toMatchObject({
      kind: "changed",
      rung: "switch_model",
      loss: "content",
      explain: `Switched model: ${from} → dreamshaper_8.safetensors`,
    });
    if (change.kind !== "changed") throw new Error("nothing changed");
    expect(applyPatch(GRAPH, change.patch)["4"]?.inputs["ckpt_name"]).toBe(
      "dreamshaper_8.safetensors",
    );
  });

  it("is switched again when the substitute fails too, and never back", () => {
    const first = missing(["dreamshaper_8.safetensors", "sd_xl_base_1.0.safetensors"]);
    if (first.kind !== "changed") throw new Error("nothing changed");
    const again = ask({
      class: "corrupt_model",
      recipe: first.recipe,
      models: models(
        [from, "dreamshaper_8.safetensors", "sd_xl_base_1.0.safetensors"],
        "dreamshaper_8.safetensors",
      ),
    });
    if (again.kind !== "changed") throw new Error("nothing changed");
    expect(applyPatch(GRAPH, again.patch)["4"]?.inputs["ckpt_name"]).toBe(
      "sd_xl_base_1.0.safetensors",
    );
  });

  it.each([
    ["the policy forbids it", { maxLoss: "size" as const }, "policy"],
    ["nobody says what is there", { models: null }, "not known"],
    ["nobody knows which is meant", { models: { ...models(["x"])!, missing: [] } }, "which model"],
    ["nothing fits", { models: models(["lora.safetensors"]) }, "fits in the place"],
  ])("is not switched when %s", (_, more, words) => {
    const change = missing(["dreamshaper_8.safetensors"], more);
    expect(change.kind).toBe("none");
    expect(change.skipped.map(({ reason }) => reason).join(" ")).toContain(words);
  });
});

describe("what a failure asked for", () => {
  const GB = 1e9;
  it("shows that parts of the batch could not fit either", () => {
    const change = ask({ memory: { wantedBytes: 100 * GB, largestCardBytes: 8 * GB } });
    expect(change).toMatchObject({
      rung: "reduce_params",
      skipped: [
        { rung: "split_batch", reason: expect.stringContaining("not even one part") },
        expect.anything(),
      ],
    });
  });

  it("shows that the next size cannot fit: straight on to the one after it", () => {
    const memory = { wantedBytes: 40 * GB, largestCardBytes: 8 * GB };
    const change = ask({ recipe: { ...EMPTY_RECIPE, partSize: 1 }, memory });
    expect(change).toMatchObject({
      rung: "reduce_params",
      recipe: { reductions: ["sizes", "sizes"] },
      explain: expect.stringMatching(/5\.width 1024 → 6\d\d/),
    });
    const capped = ask({ recipe: { ...EMPTY_RECIPE, partSize: 1 }, memory, maxChanges: 1 });
    expect(capped).toMatchObject({ recipe: { reductions: ["sizes"] } });
    const tight = { wantedBytes: 10 * GB, largestCardBytes: 8 * GB };
    expect(ask({ recipe: { ...EMPTY_RECIPE, partSize: 1 }, memory: tight })).toMatchObject({
      recipe: { reductions: ["sizes"] },
    });
  });
});

function named(model: string): Graph {
  return applyPatch(GRAPH, { set: [{ nodeId: "4", input: "ckpt_name", value: model }] });
}
