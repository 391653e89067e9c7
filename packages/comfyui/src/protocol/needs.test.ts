import { expect, test } from "vitest";
import { readFixture } from "../../testing/fixtures.ts";
import { graphNeeds, isFileInput, modelFolderOf } from "./needs.ts";
import { parseObjectInfo } from "./object-info.ts";

const node = (class_type: string, inputs: Record<string, unknown>) => ({ class_type, inputs });

test("classes, models and input files are read off a graph, each once and sorted", () => {
  const needs = graphNeeds({
    "1": node("CheckpointLoaderSimple", { ckpt_name: "sd15.safetensors" }),
    "2": node("CheckpointLoaderSimple", { ckpt_name: "sd15.safetensors" }),
    "3": node("LoraLoader", { model: ["1", 0], clip: ["1", 1], lora_name: "style/x.safetensors" }),
    "4": node("LoadImage", { image: "in/face.png [input]" }),
    "5": node("LoadLatent", { latent: "sub/a.latent" }),
    "6": node("LoadImageOutput", { image: "old_00001_.png [output]" }),
    "7": node("LoadVideo", { file: "clip.mp4" }),
  });
  expect(needs.nodeClasses).toEqual([
    "CheckpointLoaderSimple",
    "LoadImage",
    "LoadImageOutput",
    "LoadLatent",
    "LoadVideo",
    "LoraLoader",
  ]);
  expect(needs.models).toEqual([
    { folder: "checkpoints", name: "sd15.safetensors" },
    { folder: "loras", name: "style/x.safetensors" },
  ]);
  expect(needs.inputFiles).toEqual([
    { nodeId: "4", input: "image", name: "in/face.png", folder: "input" },
    { nodeId: "5", input: "latent", name: "sub/a.latent", folder: "input" },
    { nodeId: "6", input: "image", name: "old_00001_.png", folder: "output" },
    { nodeId: "7", input: "file", name: "clip.mp4", folder: "input" },
  ]);
});

test.each([
  ["CheckpointLoaderSimple", "ckpt_name", "checkpoints"],
  ["unCLIPCheckpointLoader", "ckpt_name", "checkpoints"],
  ["ImageOnlyCheckpointLoader", "ckpt_name", "checkpoints"],
  ["LoraLoaderModelOnly", "lora_name", "loras"],
  ["VAELoader", "vae_name", "vae"],
  ["ControlNetLoader", "control_net_name", "controlnet"],
  ["UNETLoader", "unet_name", "diffusion_models"],
  ["CLIPLoader", "clip_name", "text_encoders"],
  ["TripleCLIPLoader", "clip_name3", "text_encoders"],
  ["CLIPVisionLoader", "clip_name", "clip_vision"],
  ["StyleModelLoader", "style_model_name", "style_models"],
  ["UpscaleModelLoader", "model_name", "upscale_models"],
  ["GLIGENLoader", "gligen_name", "gligen"],
  ["HypernetworkLoader", "hypernetwork_name", "hypernetworks"],
  ["SomeCustomLoader", "ckpt_name", "checkpoints"],
  ["SomeCustomLoader", "model_name", undefined],
  ["toString", "constructor", undefined],
])("%s.%s chooses from %s", (classType, input, folder) => {
  expect(modelFolderOf(classType, input)).toBe(folder);
});

test("links, choices of nothing and made-up names need no file", () => {
  const needs = graphNeeds({
    "1": node("VAELoader", { vae_name: "pixel_space" }),
    "2": node("VAELoader", { vae_name: "taesdxl" }),
    "3": node("LoraLoader", { lora_name: "None" }),
    "4": node("LoraLoader", { lora_name: ["9", 0] }),
    "5": node("LoadImage", { image: ["9", 0] }),
    "6": node("LoadImage", { image: "" }),
  });
  expect(needs.models).toEqual([]);
  expect(needs.inputFiles).toEqual([]);
});

const row = (on: boolean, lora: string) => ({ on, lora, strength: 1 });

test("rows of a power lora loader count when they are on", () => {
  const graph = {
    "1": node("Power Lora Loader (rgthree)", { lora_1: row(true, "a"), lora_2: row(false, "b") }),
  };
  expect(graphNeeds(graph).models).toEqual([{ folder: "loras", name: "a" }]);
});

test("what an instance declares decides about inputs of custom nodes", () => {
  const objectInfo = parseObjectInfo({
    Custom: {
      input: {
        required: {
          picture: [["a.png"], { image_upload: true }],
          lora_name: ["STRING"],
          vae_name: [["v"]],
        },
      },
      output: [],
    },
  });
  const graph = {
    "1": node("Custom", { picture: "b.png", lora_name: "free text", vae_name: "v" }),
  };
  expect(graphNeeds(graph, objectInfo)).toMatchObject({
    models: [{ folder: "vae", name: "v" }],
    inputFiles: [{ nodeId: "1", input: "picture", name: "b.png" }],
  });
  expect(graphNeeds(graph).inputFiles).toEqual([]);
  expect(isFileInput("LoadImage", "image", parseObjectInfo(readFixture("object-info-core")))).toBe(
    true,
  );
});
