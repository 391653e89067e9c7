import { createHash } from "node:crypto";
import { extractVariables, type Graph } from "@holdfast/comfyui/protocol";
import fc from "fast-check";
import { expect, it } from "vitest";
import { cardName } from "./card-name.ts";
import { costKey, costValues } from "./cost-key.ts";
import { costOf } from "./cost-of-graph.ts";

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

const graphWith = (inputs: object, latent: object = {}): Graph => ({
  "3": { class_type: "KSampler", inputs: { seed: 1, steps: 20, cfg: 7, denoise: 1, ...inputs } },
  "5": {
    class_type: "EmptyLatentImage",
    inputs: { width: 512, height: 512, batch_size: 1, ...latent },
  },
});
const keyOf = (inputs: object, latent: object = {}): string =>
  costOf(graphWith(inputs, latent)).costKey;

it.each([
  ["steps", { steps: 21 }, {}],
  ["width", {}, { width: 1024 }],
  ["height", {}, { height: 1024 }],
  ["pictures", {}, { batch_size: 4 }],
  ["denoise", { denoise: 0.5 }, {}],
  ["no negative prompt", { cfg: 1 }, {}],
  ["frames, which stay in the template", {}, { length: 81 }],
  ["another sampler", { sampler_name: "heun" }, {}],
])("another %s is another cost", (_, inputs, latent) => {
  expect(keyOf(inputs, latent)).not.toBe(keyOf({}));
});

it.each([
  ["seed", { seed: 99 }],
  ["guidance", { cfg: 4.5 }],
])("another %s is the same cost", (_, inputs) => {
  expect(keyOf(inputs)).toBe(keyOf({}));
});

it("is of the values, whatever their order", () => {
  const { patch } = extractVariables(graphWith({}));
  fc.assert(
    fc.property(fc.shuffledSubarray([...patch.set], { minLength: patch.set.length }), (set) => {
      expect(costKey("s", costValues({ set }), sha256)).toBe(
        costKey("s", costValues(patch), sha256),
      );
    }),
  );
});

it.each([
  ["cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync", "NVIDIA GeForce RTX 4090"],
  ["cuda:1 NVIDIA GeForce RTX 4090 : native", "NVIDIA GeForce RTX 4090"],
  ["NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090"],
  ["cpu", "cpu"],
  [null, ""],
])("the card %s is %s", (told, name) => {
  expect(cardName(told)).toBe(name);
});
