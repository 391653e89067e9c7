import * as fc from "fast-check";
import { expect, test } from "vitest";
import { arbitraryGraph } from "../../testing/arbitrary-graph.ts";
import { canonicalJson } from "./canonical.ts";
import { applyPatch, diffGraph, extractVariables } from "./variables.ts";

test("template and patch give the graph back exactly, order of keys included", () => {
  fc.assert(
    fc.property(arbitraryGraph, (graph) => {
      const { template, patch } = extractVariables(graph);
      expect(JSON.stringify(applyPatch(template, patch))).toBe(JSON.stringify(graph));
    }),
  );
});

test("250 graphs that differ in seed and text share one template", () => {
  const templates = new Set<string>();
  for (let seed = 0; seed < 250; seed += 1) {
    const graph = {
      "3": { class_type: "KSampler", inputs: { seed, steps: 20, model: ["4", 0] } },
      "4": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "a.safetensors" } },
      "6": { class_type: "CLIPTextEncode", inputs: { text: `frame ${seed}`, clip: ["4", 1] } },
    };
    templates.add(canonicalJson(extractVariables(graph).template));
  }
  expect(templates.size).toBe(1);
});

test("what decides which nodes run stays in the template", () => {
  const graph = {
    "1": { class_type: "A", inputs: { seed: ["2", 0], ckpt_name: "a", text: null, image: [1, 2] } },
    "2": { class_type: "B", inputs: {} },
  };
  const { template, patch } = extractVariables(graph);
  expect(patch.set).toEqual([]);
  expect(template).toEqual(graph);
});

test("a patch by difference makes the one graph into the other", () => {
  fc.assert(
    fc.property(arbitraryGraph, arbitraryGraph, (from, to) => {
      expect(canonicalJson(applyPatch(from, diffGraph(from, to)))).toBe(canonicalJson(to));
      expect(diffGraph(from, from)).toEqual({ set: [] });
    }),
  );
});

test("a patch for a node that is not there is a bug and throws", () => {
  expect(() => applyPatch({}, { set: [{ nodeId: "1", input: "a", value: 1 }] })).toThrow("node 1");
});
