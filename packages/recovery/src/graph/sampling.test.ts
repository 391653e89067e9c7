import { readFileSync } from "node:fs";
import { applyPatch, type Graph } from "@holdfast/comfyui/protocol";
import { describe, expect, it } from "vitest";
import { findPositiveTexts, findSamplers, readParameters } from "./sampling.ts";

const example = (name: string): Graph =>
  JSON.parse(
    readFileSync(new URL(`../../../../examples/${name}.json`, import.meta.url), "utf8"),
  ) as Graph;

describe("the text of the positive input", () => {
  it.each([
    ["sd15-text-to-image", [{ nodeId: "6", input: "text" }]],
    // Behind a ControlNet that gives both branches; the negative one is not taken.
    ["lora-controlnet", [{ nodeId: "6", input: "text" }]],
    // By a guider, and a node that only adds guidance.
    ["flux-text-to-image", [{ nodeId: "6", input: "text" }]],
    // Both samplers take the same text.
    ["two-stage-upscale", [{ nodeId: "6", input: "text" }]],
    // A video of a picture has none.
    ["image-to-video", []],
    ["model-free", []],
  ])("of %s", (name, places) => {
    expect(findPositiveTexts(example(name))).toEqual(places);
  });

  it("is that of the node that holds it", () => {
    const graph = applyPatch(example("sd15-text-to-image"), {
      set: [{ nodeId: "6", input: "text", value: ["70", 0] }],
      putNodes: [{ nodeId: "70", node: { class_type: "PrimitiveString", inputs: { value: "a" } } }],
    });
    expect(findPositiveTexts(graph)).toEqual([{ nodeId: "70", input: "value" }]);
  });

  it("of an encoder of several is all of them; of combined conditionings, each", () => {
    const sdxl = example("sdxl-text-to-image");
    const encoder = { class_type: "CLIPTextEncodeSDXL", inputs: { text_g: "a", text_l: "b" } };
    const combine = {
      class_type: "ConditioningCombine",
      inputs: { conditioning_1: ["91", 0], conditioning_2: ["92", 0] },
    };
    const other = { class_type: "CLIPTextEncode", inputs: { text: "c" } };
    const [sampler] = findSamplers(sdxl);
    const graph = applyPatch(sdxl, {
      set: [{ nodeId: sampler ?? "", input: "positive", value: ["90", 0] }],
      putNodes: [
        { nodeId: "90", node: combine },
        { nodeId: "91", node: encoder },
        { nodeId: "92", node: other },
      ],
    });
    expect(findPositiveTexts(graph).slice(0, 3)).toEqual([
      { nodeId: "91", input: "text_g" },
      { nodeId: "91", input: "text_l" },
      { nodeId: "92", input: "text" },
    ]);
  });

  it("is not looked for where links lead nowhere", () => {
    const graph = applyPatch(example("sd15-text-to-image"), {
      set: [{ nodeId: "3", input: "positive", value: ["nowhere", 0] }],
    });
    expect(findPositiveTexts(graph)).toEqual([]);
  });
});

describe("parameters by the names of the error recovery API", () => {
  it("of a default graph", () => {
    expect(readParameters(example("sd15-text-to-image"))).toEqual({
      batch_size: 1,
      width: 512,
      height: 512,
      num_inference_steps: 20,
      seed: 156680208700286,
      cfg: 8,
      model: "v1-5-pruned-emaonly.safetensors",
    });
  });

  it("of a graph with a scheduler and a noise of their own", () => {
    expect(readParameters(example("flux-text-to-image"))).toEqual({
      batch_size: 1,
      width: 1024,
      height: 1024,
      num_inference_steps: 20,
      seed: 219670278747233,
      model: "flux1-dev-fp8.safetensors",
    });
  });

  it("are absent where the graph has none", () => {
    expect(readParameters({ "1": { class_type: "X", inputs: { text: "width: 5" } } })).toEqual({});
  });
});
