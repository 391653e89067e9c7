import { readFileSync } from "node:fs";
import { parseGraph, type Graph } from "@holdfast/comfyui/protocol";
import { describe, expect, test } from "vitest";
import { BUILT_IN_GRAPH, builtInGraph, builtInGraphOnNamed } from "./built-in-graph.ts";

const modelOf = (graph: Graph | undefined): unknown => graph?.["4"]?.inputs["ckpt_name"];
const sizeOf = (graph: Graph | undefined): unknown => graph?.["5"]?.inputs["width"];

test("is the example that people see", () => {
  const example = new URL("../../../../examples/sd15-text-to-image.json", import.meta.url);
  expect(BUILT_IN_GRAPH).toEqual(JSON.parse(readFileSync(example, "utf8")));
});

describe("the model", () => {
  test.each([
    [["sd_xl_base_1.0.safetensors", "v1-5-pruned-emaonly.ckpt"], "v1-5-pruned-emaonly.ckpt", 512],
    [["svd_xt.safetensors", "sd_xl_base_1.0.safetensors"], "sd_xl_base_1.0.safetensors", 1024],
    [["flux1-dev-fp8.safetensors", "mymodel.safetensors"], "mymodel.safetensors", 512],
    [["sub/v1-5.safetensors", "v1-5-inpainting.ckpt"], "sub/v1-5.safetensors", 512],
  ])("of %j is %s", (there, model, side) => {
    const graph = builtInGraph(there, 7);
    expect([modelOf(graph), sizeOf(graph)]).toEqual([model, side]);
    expect(parseGraph(graph).kind).toBe("graph");
    expect(graph?.["3"]?.inputs["seed"]).toBe(7);
  });

  test.each([[[]], [["svd_xt.safetensors"]], [["sd_xl_refiner_1.0.safetensors"]]])(
    "of %j there is none",
    (there) => {
      expect(builtInGraph(there, 1)).toBeUndefined();
    },
  );

  test("that a caller names is taken as it is, in its family's size", () => {
    const graph = builtInGraphOnNamed("sd_xl_turbo.safetensors", 1);
    expect([modelOf(graph), sizeOf(graph)]).toEqual(["sd_xl_turbo.safetensors", 1024]);
    expect(sizeOf(builtInGraphOnNamed("anything.bin", 1))).toBe(512);
    expect(sizeOf(builtInGraphOnNamed("svd_xt.safetensors", 1))).toBe(512);
  });
});
