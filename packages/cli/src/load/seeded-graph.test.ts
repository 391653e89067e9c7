import { hashGraph, type Graph } from "@holdfast/comfyui/protocol";
import { describe, expect, it } from "vitest";
import { graphOfJob, isVaried, seedPlaces, unseeded } from "./seeded-graph.ts";

const job = (seed: number, index = 0) => ({ index, workflow: "w", seed });
const graph = (inputs: Readonly<Record<string, unknown>>, more: Graph = {}): Graph => ({
  "3": { class_type: "KSampler", inputs },
  ...more,
});

describe("the seed of a job", () => {
  it("goes into every seed of the graph and nowhere else", () => {
    const both = graph(
      { seed: 7, steps: 20 },
      {
        "4": { class_type: "KSamplerAdvanced", inputs: { noise_seed: "18446744073709551615" } },
      },
    );
    expect(graphOfJob(both)(job(42))).toEqual({
      "3": { class_type: "KSampler", inputs: { seed: 42, steps: 20 } },
      "4": { class_type: "KSamplerAdvanced", inputs: { noise_seed: 42 } },
    });
  });

  it("goes into the node that gives several samplers theirs", () => {
    const linked = graph(
      { seed: ["5", 0] },
      {
        "5": { class_type: "PrimitiveInt", inputs: { value: 1 } },
      },
    );
    expect(seedPlaces(linked)).toEqual([{ nodeId: "5", input: "value" }]);
    expect(graphOfJob(linked)(job(42))["5"]?.inputs).toEqual({ value: 42 });
    expect(graphOfJob(linked)(job(42))["3"]?.inputs).toEqual({ seed: ["5", 0] });
  });

  it("and its number are put where the graph names them", () => {
    const template = graph({ color: "{{index}}", filename_prefix: "load/{{seed}}" });
    expect(graphOfJob(template)(job(42, 7))["3"]?.inputs).toEqual({
      color: 7,
      filename_prefix: "load/42",
    });
  });

  it("is nothing to a graph that has no place for it", () => {
    const still = graph({ color: 1, seed: ["9", 0] });
    expect(isVaried(still)).toBe(false);
    expect(graphOfJob(still)(job(42))).toEqual(still);
  });
});

it("two graphs that differ in their seeds alone are one workflow", () => {
  const hash = (one: Graph) => hashGraph(unseeded(one), (text) => text);
  expect(hash(graph({ seed: 1, steps: 4 }))).toBe(hash(graph({ steps: 4, seed: 99 })));
  expect(hash(graph({ seed: 1, steps: 4 }))).not.toBe(hash(graph({ seed: 1, steps: 5 })));
});
