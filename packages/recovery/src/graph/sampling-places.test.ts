import type { Graph } from "@holdfast/comfyui/protocol";
import { describe, expect, test } from "vitest";
import { placesOfParameter, seedPlaces } from "./sampling-places.ts";

const GRAPH: Graph = {
  "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "a.safetensors" } },
  "2": { class_type: "CLIPTextEncode", inputs: { text: "sea", clip: ["1", 1] } },
  "3": { class_type: "EmptyLatentImage", inputs: { width: 512, height: 768, batch_size: 4 } },
  "4": {
    class_type: "KSamplerAdvanced",
    inputs: {
      model: ["1", 0],
      positive: ["2", 0],
      negative: ["2", 0],
      latent_image: ["3", 0],
      noise_seed: ["9", 0],
      steps: 25,
      cfg: 7,
    },
  },
  "5": { class_type: "LatentUpscale", inputs: { samples: ["4", 0], width: 1024, height: 1536 } },
  "6": {
    class_type: "KSamplerAdvanced",
    inputs: {
      model: ["1", 0],
      positive: ["2", 0],
      negative: ["2", 0],
      latent_image: ["5", 0],
      noise_seed: 3,
      steps: 25,
      cfg: 4,
    },
  },
  "7": { class_type: "VAEDecode", inputs: { samples: ["6", 0], vae: ["1", 2] } },
  "8": { class_type: "SaveImage", inputs: { images: ["7", 0], filename_prefix: "x" } },
  "9": { class_type: "PrimitiveInt", inputs: { value: 11, control_after_generate: "fixed" } },
};

describe("the places of a parameter", () => {
  test.each([
    ["batch_size", [["3", "batch_size"]]],
    ["width", [["3", "width"]]],
    ["height", [["3", "height"]]],
    [
      "num_inference_steps",
      [
        ["4", "steps"],
        ["6", "steps"],
      ],
    ],
    ["seed", [["9", "value"]]],
    ["cfg", [["4", "cfg"]]],
    ["model", [["1", "ckpt_name"]]],
  ] as const)("%s: those that hold the value of the first", (name, expected) => {
    const places = placesOfParameter(GRAPH, name);
    expect(places.map(({ nodeId, input }) => [nodeId, input])).toEqual(expected);
  });

  test("are none where the graph has no such parameter, or computes it", () => {
    const bare: Graph = {
      "1": { class_type: "EmptyImage", inputs: { width: ["2", 0] } },
      "2": { class_type: "Sum", inputs: { value: ["3", 0], b: 1 } },
      "3": { class_type: "Two", inputs: { a: 1, b: 2 } },
      "4": { class_type: "KSampler", inputs: { seed: ["2", 0], cfg: ["3", 0] } },
      "5": { class_type: "Wild", inputs: { seed: ["nowhere", 0] } },
    };
    for (const name of ["batch_size", "width", "seed", "cfg", "model"] as const) {
      expect(placesOfParameter(bare, name)).toEqual([]);
    }
  });

  test("a seed beyond 2^53, which travels as text, is a seed; other text is not", () => {
    const graph: Graph = {
      "1": { class_type: "KSampler", inputs: { seed: "random" } },
      "2": { class_type: "KSampler", inputs: { seed: "18446744073709551615" } },
    };
    expect(placesOfParameter(graph, "seed")).toEqual([{ nodeId: "2", input: "seed" }]);
  });
});

test("the places of seeds are all of them, whatever they hold, each once", () => {
  const places = (graph: Graph): unknown =>
    seedPlaces(graph).map(({ nodeId, input }) => [nodeId, input]);
  expect(places(GRAPH)).toEqual([
    ["9", "value"],
    ["6", "noise_seed"],
  ]);
  const shared = {
    ...GRAPH,
    "6": { class_type: "KSampler", inputs: { seed: ["9", 0] } },
    constructor: { class_type: "A", inputs: { seed: "18446744073709551615" } },
  };
  expect(places(shared)).toEqual([
    ["9", "value"],
    ["constructor", "seed"],
  ]);
  expect(places({ "1": { class_type: "A", inputs: { seed: "{{seed}}" } } })).toEqual([]);
});
