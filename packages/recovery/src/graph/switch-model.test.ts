import { describe, expect, it } from "vitest";
import type { Graph } from "@holdfast/comfyui/protocol";
import { familyOfDeclared, familyOfName } from "./model-family.ts";
import { replaceModel } from "./model-places.ts";
import {
  DEFAULT_FALLBACK_MODELS,
  isModelFileName,
  switchModel,
  type ModelFile,
  type ModelFiles,
  type SwitchModelRequest,
} from "./switch-model.ts";

const graphWith = (ckpt: string, lora = "style.safetensors"): Graph => ({
  "4": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: ckpt } },
  "12:3": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: ckpt } },
  "20": { class_type: "LoraLoader", inputs: { lora_name: lora, model: ["4", 0] } },
  "6": { class_type: "CLIPTextEncode", inputs: { text: ckpt } },
});
const ask = (ckpt: string, there: readonly string[], more: Partial<SwitchModelRequest> = {}) =>
  switchModel({
    graph: graphWith(ckpt),
    missing: { folder: "checkpoints", name: ckpt },
    there,
    fallbacks: DEFAULT_FALLBACK_MODELS,
    tried: new Set(),
    ...more,
  });

const filesOf = (known: Readonly<Record<string, Partial<ModelFile>>>): ModelFiles =>
  new Map(
    Object.entries(known).map(([key, file]) => [
      key,
      { family: null, tensorHash: null, sizeBytes: null, ...file },
    ]),
  );

describe("a checkpoint that is missing", () => {
  it("is the same file under another ending, folder or separator first", () => {
    const there = ["sd_xl_base_1.0.safetensors", "sd15\\V1-5-Pruned-EMAonly.safetensors"];
    expect(ask("v1-5-pruned-emaonly.ckpt", there)).toMatchObject({
      kind: "switched",
      to: "sd15\\V1-5-Pruned-EMAonly.safetensors",
      because: "same_name",
    });
  });

  it("of the same name in another folder is another file, as is one of several of that name", () => {
    const there = ["depth/diffusion_pytorch_model.bin", "x/diffusion_pytorch_model.bin"];
    expect(ask("canny/diffusion_pytorch_model.safetensors", there).kind).toBe("nothing");
    expect(ask("diffusion_pytorch_model.safetensors", there).kind).toBe("nothing");
    expect(
      ask("diffusion_pytorch_model.safetensors", ["a/diffusion_pytorch_model.bin"]),
    ).toMatchObject({ because: "same_name" });
  });

  it("is replaced by one of its family before the list's first", () => {
    const there = ["sd_xl_base_1.0.safetensors", "dreamshaper_8.safetensors"];
    expect(ask("realisticVision_v51.safetensors", there)).toMatchObject({
      to: "dreamshaper_8.safetensors",
      because: "same_family",
    });
  });

  it("within the family by the list, then by what the names share", () => {
    const sdxl = ["other_xl.safetensors", "sd_xl_turbo.safetensors"];
    expect(ask("sd_xl_lightning.safetensors", sdxl)).toMatchObject({
      to: "sd_xl_turbo.safetensors",
    });
    expect(
      ask("sd_xl_lightning.safetensors", [...sdxl, "sd_xl_base_1.0.safetensors"]),
    ).toMatchObject({ to: "sd_xl_base_1.0.safetensors", because: "same_family" });
  });

  it("of a family that is not there is replaced in the order of the list, by what is there", () => {
    const there = ["unknown.safetensors", "anything-v4.5-pruned.ckpt", "v1-5-pruned-emaonly.ckpt"];
    expect(ask("mystery.safetensors", there)).toMatchObject({
      to: "v1-5-pruned-emaonly.ckpt",
      because: "fallback",
    });
    expect(ask("mystery.safetensors", ["unknown.safetensors"])).toMatchObject({
      kind: "nothing",
      reason: expect.stringContaining("1 other files in checkpoints"),
    });
  });

  it("is never replaced by what was tried, and says so when nothing is left", () => {
    const tried = new Set(["v1-5-pruned-emaonly.ckpt"]);
    expect(ask("mystery.ckpt", ["v1-5-pruned-emaonly.ckpt"], { tried })).toEqual({
      kind: "nothing",
      reason: "There is no other file in checkpoints to take instead of mystery.ckpt.",
    });
  });

  it("is replaced in every loader that names it, and in no text", () => {
    const graph = graphWith("mystery.ckpt");
    const switched = ask("mystery.ckpt", ["v1-5-pruned-emaonly.ckpt"]);
    if (switched.kind === "nothing") throw new Error(switched.reason);
    const after = replaceModel(graph, {
      folder: "checkpoints",
      from: "mystery.ckpt",
      to: switched.to,
    });
    expect(after["4"]?.inputs["ckpt_name"]).toBe("v1-5-pruned-emaonly.ckpt");
    expect(after["12:3"]?.inputs["ckpt_name"]).toBe("v1-5-pruned-emaonly.ckpt");
    expect(after["6"]).toEqual(graph["6"]);
  });

  it("goes by what the file itself says before its name", () => {
    const files = filesOf({ "checkpoints/mystery2.safetensors": { family: "sdxl" } });
    const there = ["v1-5-pruned-emaonly.ckpt", "mystery2.safetensors"];
    expect(ask("sd_xl_turbo.safetensors", there, { files })).toMatchObject({
      to: "mystery2.safetensors",
      because: "same_family",
    });
    // A name that lies: the file is of another family, and does not fit the LoRA either.
    const lying = filesOf({ "checkpoints/sdxl_mix.safetensors": { family: "sd1" } });
    expect(ask("sd_xl_turbo.safetensors", ["sdxl_mix.safetensors"], { files: lying }).kind).toBe(
      "nothing",
    );
  });

  it("is the file that says it has the same tensors and is as large, whatever its name", () => {
    const twin = { tensorHash: "aa", sizeBytes: 7 };
    const files = filesOf({
      "checkpoints/mystery.safetensors": twin,
      "checkpoints/sub/other.safetensors": twin,
      "loras/lora.safetensors": twin,
    });
    const there = ["MYSTERY.safetensors", "lora.safetensors", "sub\\other.safetensors"];
    expect(ask("mystery.safetensors", there, { files })).toEqual({
      kind: "switched",
      to: "sub\\other.safetensors",
      because: "same_hash",
      loss: "none",
    });
  });

  it.each([
    ["another hash", { tensorHash: "bb", sizeBytes: 7 }],
    ["the hash of the file it was made from, and another size", { tensorHash: "aa", sizeBytes: 4 }],
    ["another size alone", { sizeBytes: 4 }],
  ])("of the same name that has %s is another file", (_, other) => {
    const files = filesOf({
      "checkpoints/sd15/a.safetensors": { tensorHash: "aa", sizeBytes: 7 },
      "checkpoints/SD15/a.safetensors": other,
    });
    expect(ask("sd15/a.safetensors", ["SD15/a.safetensors"], { files })).toMatchObject({
      because: "same_name",
      loss: "content",
    });
  });

  it("is not known to be the same file where a size is not known", () => {
    const files = filesOf({
      "checkpoints/a.safetensors": { tensorHash: "aa", sizeBytes: 7 },
      "checkpoints/b.safetensors": { tensorHash: "aa" },
    });
    expect(ask("a.safetensors", ["b.safetensors"], { files }).kind).toBe("nothing");
  });
});

describe("what comes with a model", () => {
  const there = ["sd_xl_base_1.0.safetensors", "v1-5-pruned-emaonly.ckpt"];
  const withLora = (lora: string) =>
    switchModel({
      graph: graphWith("mystery.ckpt", lora),
      missing: { folder: "checkpoints", name: "mystery.ckpt" },
      there,
      fallbacks: DEFAULT_FALLBACK_MODELS,
      tried: new Set(),
    });

  it("keeps a fallback of another family out", () => {
    expect(withLora("style.safetensors")).toMatchObject({ to: there[0] });
    expect(withLora("style_sd15.safetensors")).toMatchObject({ to: there[1] });
    expect(withLora("flux_style.safetensors").kind).toBe("nothing");
  });

  it("counts by what the LoRA says of itself, not by a checkpoint of its name", () => {
    const files = filesOf({
      "loras/style.safetensors": { family: "sd1" },
      "checkpoints/style.safetensors": { family: "flux" },
    });
    const missing = { folder: "checkpoints", name: "mystery.ckpt" };
    expect(ask("mystery.ckpt", there, { files, missing })).toMatchObject({ to: there[1] });
  });
});

it("nothing is switched that the graph does not name", () => {
  expect(
    ask("a.ckpt", ["v1-5-pruned-emaonly.ckpt"], {
      missing: { folder: "checkpoints", name: "b.ckpt" },
    }),
  ).toMatchObject({ kind: "nothing", reason: expect.stringContaining("b.ckpt") });
});

it("only another spelling of the same name costs nothing", () => {
  expect(ask("sd15/a.ckpt", ["sd15\\A.ckpt"])).toMatchObject({ loss: "none" });
  expect(ask("sd15/a.ckpt", ["sd15/a.safetensors"])).toMatchObject({
    because: "same_name",
    loss: "content",
  });
});

it.each(["a.safetensors", "x/b.CKPT", "flux.gguf"])("%s is a model file", (name) => {
  expect(isModelFileName(name)).toBe(true);
});
it.each(["a.png", "sd_xl_base_1.0", ""])("%j is none", (name) => {
  expect(isModelFileName(name)).toBe(false);
});

describe("a LoRA that is missing", () => {
  const request = (there: readonly string[], fallbacks: readonly string[] = there) =>
    switchModel({
      graph: graphWith("sd_xl_base_1.0.safetensors", "style_xl.safetensors"),
      missing: { folder: "loras", name: "style_xl.safetensors" },
      there,
      fallbacks: [...fallbacks, ...DEFAULT_FALLBACK_MODELS],
      tried: new Set(),
    });

  it("is replaced by one of its family only, that shares more with it than the family", () => {
    expect(request(["style_sd15.safetensors", "hard_style_xl.safetensors"], [])).toMatchObject({
      to: "hard_style_xl.safetensors",
    });
    expect(request(["film_xl.safetensors"], []).kind).toBe("nothing");
    expect(request(["film_sd15.safetensors"]).kind).toBe("nothing");
  });
});

it.each([
  ["sd_xl_base_1.0.safetensors", "sdxl"],
  ["ponyDiffusionV6XL.safetensors", "sdxl"],
  ["v1-5-pruned-emaonly.ckpt", "sd1"],
  ["anything-v4.5-pruned.ckpt", "sd1"],
  ["v2-1_768-ema-pruned.safetensors", "sd2"],
  ["sd3.5_large.safetensors", "sd3"],
  ["flux1-dev-fp8.safetensors", "flux"],
  ["flux2-dev.safetensors", "flux2"],
  ["flux1-chroma.safetensors", "chroma"],
  ["sd_xl_refiner_1.0.safetensors", "sdxl_refiner"],
  ["z_image_turbo_bf16.safetensors", "zimage"],
  ["svd_xt.safetensors", "svd"],
  ["wan2.1_t2v_1.3B_fp16.safetensors", "wan"],
  ["hunyuan_video_t2v_720p_bf16.safetensors", "hunyuan"],
  ["SDXL\\my_model.safetensors", "sdxl"],
  ["my_model.safetensors", null],
  ["wanderer.safetensors", null],
  ["excellent.safetensors", null],
])("the family of %s is %s", (name, family) => {
  expect(familyOfName(name)).toBe(family);
});

it.each([
  ["stable-diffusion-v1", "sd1"],
  ["stable-diffusion-v1-inpainting", "sd1"],
  ["stable-diffusion-v1/lora", "sd1"],
  ["stable-diffusion-v2-768-v", "sd2"],
  ["stable-diffusion-xl-v1-base", "sdxl"],
  ["stable-diffusion-xl-v1-edit", "sdxl"],
  ["stable-diffusion-xl-v1-refiner", "sdxl_refiner"],
  ["stable-diffusion-v3-medium", "sd3"],
  ["stable-diffusion-3-m", "sd3"],
  ["stable-video-diffusion-img2vid-v1", "svd"],
  ["flux-1-dev/lora", "flux"],
  ["Flux.1-dev", "flux"],
  ["Flux.2-klein-9b", "flux2"],
  ["chroma", "chroma"],
  ["wan2.1", "wan"],
  ["WAN-2.2", "wan"],
  ["hunyuan-video-1.5", "hunyuan"],
  ["Qwen-Image-Edit-2511/lora", "qwen"],
  ["Z-Image", "zimage"],
  ["lumina-2", "lumina"],
  ["stable-diffusion", null],
  ["krea2", null],
])("a file of the architecture %s is of the family %s", (architecture, family) => {
  expect(familyOfDeclared({ architecture, baseModel: null })).toBe(family);
});

it.each([
  ["sdxl_base_v1-0", "sdxl"],
  ["sdxl_", "sdxl"],
  ["SDXL 1.0", "sdxl"],
  ["sd_v1", "sd1"],
  ["ss_v1", "sd1"],
  ["sd_1.5", "sd1"],
  ["sd_v2_v", "sd2"],
  ["sd_2.1", "sd2"],
  ["sd3_m", "sd3"],
  ["flux1", "flux"],
  ["flux2_klein_9b", "flux2"],
  ["minimax_h3", null],
])("a LoRA made for %s is of the family %s", (baseModel, family) => {
  expect(familyOfDeclared({ architecture: null, baseModel })).toBe(family);
  expect(familyOfDeclared({ architecture: "krea2", baseModel })).toBe(family);
  expect(familyOfDeclared({ architecture: "auraflow-v1", baseModel })).toBe("auraflow");
});
