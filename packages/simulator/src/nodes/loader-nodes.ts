import { auxiliaryBytes, diffusionBytes, familyOf } from "../card/families.ts";
import { digest } from "../pixels/digest.ts";
import {
  choice,
  link,
  modelFile,
  primitive,
  V3_INFO,
  type NodeCall,
  type NodeClass,
} from "./node-class.ts";
import { RaisedError } from "./raised.ts";
import type { ClipValue, ModelValue, VaeValue, WeightsValue } from "./values.ts";

const LORA_DESCRIPTION =
  "LoRAs are used to modify diffusion and CLIP models, altering the way in which latents are denoised such as applying styles. Multiple LoRA nodes can be linked together.";
const LORA_TOOLTIPS = ["The modified diffusion model.", "The modified CLIP model."];

const STRENGTH = { default: 1.0, min: -100.0, max: 100.0, step: 0.01 };

/** Refuses a file that was listed when the graph was checked and is gone now (folder_paths.py:308). */
function mustExist(call: NodeCall, folder: string, file: string): void {
  if (call.modelNames(folder).includes(file)) return;
  throw new RaisedError(
    "FileNotFoundError",
    `Model in folder '${folder}' with filename '${file}' not found.`,
  );
}

function model(file: string, bytes: number): ModelValue {
  const key = digest("model", file, bytes);
  return { kind: "model", key, weightsKey: key, bytes, family: familyOf(file) };
}

function clip(files: string, bytes: number): ClipValue {
  const key = digest("clip", files);
  return { kind: "clip", key, weightsKey: key, bytes };
}

function vae(file: string): VaeValue {
  return { kind: "vae", key: digest("vae", file), bytes: auxiliaryBytes("vae", file) };
}

function weights(kind: "controlnet" | "upscale" | "clip_vision", file: string): WeightsValue {
  const scale = Number(/(\d+)x|x(\d+)/i.exec(file)?.slice(1).find(Boolean) ?? 4);
  return {
    kind: "weights",
    key: digest(kind, file),
    bytes: auxiliaryBytes(kind, file),
    scale: kind === "upscale" ? scale : 1,
  };
}

async function loadCheckpoint(call: NodeCall, file: string): Promise<ModelValue> {
  mustExist(call, "checkpoints", file);
  const loaded = model(file, diffusionBytes(file));
  await call.readWeights(loaded.weightsKey, loaded.bytes);
  return loaded;
}

async function loadWeights(
  call: NodeCall,
  kind: "controlnet" | "upscale",
  folder: string,
  file: string,
): Promise<WeightsValue> {
  mustExist(call, folder, file);
  const loaded = weights(kind, file);
  await call.readWeights(loaded.key, loaded.bytes);
  return loaded;
}

function patchedModel(from: ModelValue, ...patch: readonly (string | number)[]): ModelValue {
  return { ...from, key: digest("patch", from.key, ...patch) };
}

/** Nodes that bring models in, and patch them. */
export const LOADER_NODES: readonly NodeClass[] = [
  {
    name: "CheckpointLoaderSimple",
    displayName: "Load Checkpoint",
    category: "loaders",
    description:
      "Loads a diffusion model checkpoint, diffusion models are used to denoise latents.",
    required: {
      ckpt_name: modelFile("checkpoints", {
        tooltip: "The name of the checkpoint (model) to load.",
      }),
    },
    outputs: ["MODEL", "CLIP", "VAE"],
    outputTooltips: [
      "The model used for denoising latents.",
      "The CLIP model used for encoding text prompts.",
      "The VAE model used for encoding and decoding images to and from latent space.",
    ],
    async run(call) {
      const file = call.inputs.text("ckpt_name");
      const loaded = await loadCheckpoint(call, file);
      return { outputs: [loaded, clip(file, auxiliaryBytes("clip", file)), vae(file)] };
    },
  },
  {
    name: "ImageOnlyCheckpointLoader",
    displayName: "Image Only Checkpoint Loader (img2vid model)",
    category: "loaders/video_models",
    module: "comfy_extras.nodes_video_model",
    required: { ckpt_name: modelFile("checkpoints") },
    outputs: ["MODEL", "CLIP_VISION", "VAE"],
    async run(call) {
      const file = call.inputs.text("ckpt_name");
      const loaded = await loadCheckpoint(call, file);
      return { outputs: [loaded, weights("clip_vision", file), vae(file)] };
    },
  },
  {
    name: "UNETLoader",
    displayName: "Load Diffusion Model",
    category: "advanced/loaders",
    required: {
      unet_name: modelFile("diffusion_models"),
      weight_dtype: choice(["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"]),
    },
    outputs: ["MODEL"],
    async run(call) {
      const file = call.inputs.text("unet_name");
      mustExist(call, "diffusion_models", file);
      const loaded = model(file, diffusionBytes(file, call.inputs.text("weight_dtype")));
      await call.readWeights(loaded.weightsKey, loaded.bytes);
      return { outputs: [loaded] };
    },
  },
  {
    name: "CLIPLoader",
    displayName: "Load CLIP",
    category: "advanced/loaders",
    description:
      "[Recipes]\n\nstable_diffusion: clip-l\nstable_cascade: clip-g\nsd3: t5 xxl/ clip-g / clip-l\nstable_audio: t5 base\nmochi: t5 xxl\ncosmos: old t5 xxl\nlumina2: gemma 2 2B\nwan: umt5 xxl\n hidream: llama-3.1 (Recommend) or t5\nomnigen2: qwen vl 2.5 3B",
    required: {
      clip_name: modelFile("text_encoders"),
      type: choice([
        "stable_diffusion",
        "stable_cascade",
        "sd3",
        "stable_audio",
        "mochi",
        "ltxv",
        "pixart",
        "cosmos",
        "lumina2",
        "wan",
        "hidream",
        "chroma",
        "ace",
        "omnigen2",
        "qwen_image",
        "hunyuan_image",
      ]),
    },
    optional: { device: choice(["default", "cpu"], { advanced: true }) },
    outputs: ["CLIP"],
    async run(call) {
      const file = call.inputs.text("clip_name");
      mustExist(call, "text_encoders", file);
      const loaded = clip(`${file}:${call.inputs.text("type")}`, auxiliaryBytes("clip", file));
      await call.readWeights(loaded.weightsKey, loaded.bytes);
      return { outputs: [loaded] };
    },
  },
  {
    name: "DualCLIPLoader",
    displayName: "DualCLIPLoader",
    category: "advanced/loaders",
    description:
      "[Recipes]\n\nsdxl: clip-l, clip-g\nsd3: clip-l, clip-g / clip-l, t5 / clip-g, t5\nflux: clip-l, t5\nhidream: at least one of t5 or llama, recommended t5 and llama\nhunyuan_image: qwen2.5vl 7b and byt5 small",
    required: {
      clip_name1: modelFile("text_encoders"),
      clip_name2: modelFile("text_encoders"),
      type: choice(["sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image"]),
    },
    optional: { device: choice(["default", "cpu"], { advanced: true }) },
    outputs: ["CLIP"],
    async run(call) {
      const files = [call.inputs.text("clip_name1"), call.inputs.text("clip_name2")];
      for (const file of files) mustExist(call, "text_encoders", file);
      const bytes = files.reduce((sum, file) => sum + auxiliaryBytes("clip", file), 0);
      const loaded = clip([...files, call.inputs.text("type")].join(":"), bytes);
      await call.readWeights(loaded.weightsKey, loaded.bytes);
      return { outputs: [loaded] };
    },
  },
  {
    name: "VAELoader",
    displayName: "Load VAE",
    category: "loaders",
    required: {
      vae_name: { type: { listOf: "models", folder: "vae", also: ["pixel_space"] } },
    },
    outputs: ["VAE"],
    run(call) {
      const file = call.inputs.text("vae_name");
      if (file !== "pixel_space") mustExist(call, "vae", file);
      return { outputs: [vae(file)] };
    },
  },
  {
    name: "LoraLoader",
    displayName: "Load LoRA",
    category: "loaders",
    description: LORA_DESCRIPTION,
    required: {
      model: link("MODEL", "The diffusion model the LoRA will be applied to."),
      clip: link("CLIP", "The CLIP model the LoRA will be applied to."),
      lora_name: modelFile("loras", { tooltip: "The name of the LoRA." }),
      strength_model: primitive("FLOAT", {
        ...STRENGTH,
        tooltip: "How strongly to modify the diffusion model. This value can be negative.",
      }),
      strength_clip: primitive("FLOAT", {
        ...STRENGTH,
        tooltip: "How strongly to modify the CLIP model. This value can be negative.",
      }),
    },
    outputs: ["MODEL", "CLIP"],
    outputTooltips: LORA_TOOLTIPS,
    run(call) {
      const file = call.inputs.text("lora_name");
      mustExist(call, "loras", file);
      const onModel = call.inputs.number("strength_model");
      const onClip = call.inputs.number("strength_clip");
      const from = call.inputs.value("model", "model");
      const text = call.inputs.value("clip", "clip");
      return {
        outputs: [
          onModel === 0 ? from : patchedModel(from, "lora", file, onModel),
          onClip === 0 ? text : { ...text, key: digest("lora", text.key, file, onClip) },
        ],
      };
    },
  },
  {
    name: "LoraLoaderModelOnly",
    displayName: "LoraLoaderModelOnly",
    category: "loaders",
    description: LORA_DESCRIPTION,
    required: {
      model: link("MODEL"),
      lora_name: modelFile("loras"),
      strength_model: primitive("FLOAT", STRENGTH),
    },
    outputs: ["MODEL"],
    // One more than it has outputs: it inherits them, as ComfyUI's own class does.
    outputTooltips: LORA_TOOLTIPS,
    run(call) {
      const file = call.inputs.text("lora_name");
      mustExist(call, "loras", file);
      const onModel = call.inputs.number("strength_model");
      const from = call.inputs.value("model", "model");
      return { outputs: [onModel === 0 ? from : patchedModel(from, "lora", file, onModel)] };
    },
  },
  {
    name: "ControlNetLoader",
    displayName: "Load ControlNet Model",
    category: "loaders",
    required: { control_net_name: modelFile("controlnet") },
    outputs: ["CONTROL_NET"],
    run: async (call) => ({
      outputs: [
        await loadWeights(call, "controlnet", "controlnet", call.inputs.text("control_net_name")),
      ],
    }),
  },
  {
    name: "UpscaleModelLoader",
    displayName: "Load Upscale Model",
    category: "loaders",
    module: "comfy_extras.nodes_upscale_model",
    required: { model_name: modelFile("upscale_models") },
    outputs: ["UPSCALE_MODEL"],
    extraInfo: V3_INFO,
    run: async (call) => ({
      outputs: [
        await loadWeights(call, "upscale", "upscale_models", call.inputs.text("model_name")),
      ],
    }),
  },
  {
    name: "ModelSamplingSD3",
    displayName: "ModelSamplingSD3",
    category: "advanced/model",
    module: "comfy_extras.nodes_model_advanced",
    required: {
      model: link("MODEL"),
      shift: primitive("FLOAT", { default: 3.0, min: 0.0, max: 100.0, step: 0.01 }),
    },
    outputs: ["MODEL"],
    run: ({ inputs }) => ({
      outputs: [patchedModel(inputs.value("model", "model"), "shift", inputs.number("shift"))],
    }),
  },
  {
    name: "ModelSamplingFlux",
    displayName: "ModelSamplingFlux",
    category: "advanced/model",
    module: "comfy_extras.nodes_model_advanced",
    required: {
      model: link("MODEL"),
      max_shift: primitive("FLOAT", { default: 1.15, min: 0.0, max: 100.0, step: 0.01 }),
      base_shift: primitive("FLOAT", { default: 0.5, min: 0.0, max: 100.0, step: 0.01 }),
      width: primitive("INT", { default: 1024, min: 16, max: 16384, step: 8 }),
      height: primitive("INT", { default: 1024, min: 16, max: 16384, step: 8 }),
    },
    outputs: ["MODEL"],
    run({ inputs }) {
      const numbers = ["max_shift", "base_shift", "width", "height"].map((n) => inputs.number(n));
      return { outputs: [patchedModel(inputs.value("model", "model"), "flux", ...numbers)] };
    },
  },
  {
    name: "VideoLinearCFGGuidance",
    displayName: "VideoLinearCFGGuidance",
    category: "sampling/video_models",
    module: "comfy_extras.nodes_video_model",
    required: {
      model: link("MODEL"),
      min_cfg: primitive("FLOAT", { default: 1.0, min: 0.0, max: 100.0, step: 0.5, round: 0.01 }),
    },
    outputs: ["MODEL"],
    run: ({ inputs }) => ({
      outputs: [patchedModel(inputs.value("model", "model"), "linear", inputs.number("min_cfg"))],
    }),
  },
];
