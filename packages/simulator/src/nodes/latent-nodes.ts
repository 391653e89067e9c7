import type { LatentSize } from "../card/work.ts";
import { digest, digestBytes } from "../pixels/digest.ts";
import { decodeLatentFile } from "../pixels/latent-file.ts";
import { emptyLatent, pickFromLatent, resizeLatent, type Latent } from "../pixels/latent.ts";
import { MAX_RESOLUTION } from "./choices.ts";
import { findInput } from "./image-nodes.ts";
import { choice, link, primitive, V3_INFO, type NodeClass, type NodeResult } from "./node-class.ts";
import { RaisedError } from "./raised.ts";

const LATENT_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "bislerp"];
/** The size of a latent batch, for the card. */
export function sizeOf(latent: Latent): LatentSize {
  const { columns, rows, frames } = latent;
  return { columns, rows, frames, batch: latent.items.length };
}

/** A latent as a node's one output. */
export function latentOf(latent: Latent): NodeResult {
  return { outputs: [latent] };
}

const side = (
  fallback: number,
  min: number,
  step: number,
  tooltip?: string,
): ReturnType<typeof primitive> =>
  primitive("INT", {
    default: fallback,
    min,
    max: MAX_RESOLUTION,
    step,
    ...(tooltip === undefined ? {} : { tooltip }),
  });

function noiseIndexes(latent: Latent): readonly number[] {
  return latent.batchIndex ?? latent.items.map((_, position) => position);
}

function joinLatents(one: Latent, two: Latent): Latent {
  const fitted = resizeLatent(two, one.columns, one.rows, "bilinear");
  return {
    ...one,
    items: [...one.items, ...fitted.items],
    batchIndex: [...noiseIndexes(one), ...noiseIndexes(fitted)],
  };
}

const EMPTY_NODES: readonly NodeClass[] = [
  {
    name: "EmptyLatentImage",
    displayName: "Empty Latent Image",
    category: "latent",
    description: "Create a new batch of empty latent images to be denoised via sampling.",
    required: {
      width: side(512, 16, 8, "The width of the latent images in pixels."),
      height: side(512, 16, 8, "The height of the latent images in pixels."),
      batch_size: primitive("INT", {
        default: 1,
        min: 1,
        max: 4096,
        tooltip: "The number of latent images in the batch.",
      }),
    },
    outputs: ["LATENT"],
    outputTooltips: ["The empty latent image batch."],
    run: ({ inputs }) =>
      latentOf(
        emptyLatent(inputs.number("width"), inputs.number("height"), inputs.number("batch_size")),
      ),
  },
  {
    name: "EmptySD3LatentImage",
    displayName: null,
    category: "latent/sd3",
    module: "comfy_extras.nodes_sd3",
    required: {
      width: side(1024, 16, 16),
      height: side(1024, 16, 16),
      batch_size: primitive("INT", { default: 1, min: 1, max: 4096 }),
    },
    outputs: ["LATENT"],
    outputTooltips: [null],
    extraInfo: V3_INFO,
    run: ({ inputs }) =>
      latentOf(
        emptyLatent(
          inputs.number("width"),
          inputs.number("height"),
          inputs.number("batch_size"),
          16,
        ),
      ),
  },
  {
    name: "EmptyHunyuanLatentVideo",
    displayName: "EmptyHunyuanLatentVideo",
    category: "latent/video",
    module: "comfy_extras.nodes_hunyuan",
    required: {
      width: side(848, 16, 16),
      height: side(480, 16, 16),
      length: side(25, 1, 4),
      batch_size: primitive("INT", { default: 1, min: 1, max: 4096 }),
    },
    outputs: ["LATENT"],
    run({ inputs }) {
      const frames = Math.floor((inputs.number("length") - 1) / 4) + 1;
      return latentOf(
        emptyLatent(
          inputs.number("width"),
          inputs.number("height"),
          inputs.number("batch_size"),
          16,
          frames,
        ),
      );
    },
  },
  {
    name: "SVD_img2vid_Conditioning",
    displayName: "SVD_img2vid_Conditioning",
    category: "conditioning/video_models",
    module: "comfy_extras.nodes_video_model",
    required: {
      clip_vision: link("CLIP_VISION"),
      init_image: link("IMAGE"),
      vae: link("VAE"),
      width: side(1024, 16, 8),
      height: side(576, 16, 8),
      video_frames: primitive("INT", { default: 14, min: 1, max: 4096 }),
      motion_bucket_id: primitive("INT", { default: 127, min: 1, max: 1023 }),
      fps: primitive("INT", { default: 6, min: 1, max: 1024 }),
      augmentation_level: primitive("FLOAT", { default: 0.0, min: 0.0, max: 10.0, step: 0.01 }),
    },
    outputs: ["CONDITIONING", "CONDITIONING", "LATENT"],
    outputNames: ["positive", "negative", "latent"],
    run({ inputs }) {
      const vision = inputs.value("clip_vision", "weights");
      const facts = ["motion_bucket_id", "fps", "augmentation_level"].map((n) => inputs.number(n));
      const picture = inputs
        .pictures("init_image")
        .map((each) => each.key)
        .join();
      const key = digest("svd", vision.key, inputs.value("vae", "vae").key, picture, ...facts);
      return {
        outputs: [
          { kind: "conditioning", key, models: [vision] },
          { kind: "conditioning", key: digest("svd negative", ...facts), models: [] },
          emptyLatent(
            inputs.number("width"),
            inputs.number("height"),
            inputs.number("video_frames"),
          ),
        ],
      };
    },
  },
];

const BATCH_NODES: readonly NodeClass[] = [
  {
    name: "LatentFromBatch",
    displayName: "Latent From Batch",
    category: "latent/batch",
    required: {
      samples: link("LATENT"),
      batch_index: primitive("INT", { default: 0, min: 0, max: 63 }),
      length: primitive("INT", { default: 1, min: 1, max: 64 }),
    },
    outputs: ["LATENT"],
    run({ inputs }) {
      const latent = inputs.latent("samples");
      const start = Math.min(latent.items.length - 1, inputs.number("batch_index"));
      const length = Math.min(latent.items.length - start, inputs.number("length"));
      return latentOf(
        pickFromLatent(
          latent,
          Array.from({ length }, (_, i) => start + i),
        ),
      );
    },
  },
  {
    name: "RepeatLatentBatch",
    displayName: "Repeat Latent Batch",
    category: "latent/batch",
    required: {
      samples: link("LATENT"),
      amount: primitive("INT", { default: 1, min: 1, max: 64 }),
    },
    outputs: ["LATENT"],
    run({ inputs }) {
      const latent = inputs.latent("samples");
      const count = latent.items.length;
      const amount = inputs.number("amount");
      const items = Array.from({ length: amount }, () => latent.items).flat();
      const own = latent.batchIndex;
      const offset = own === null ? 0 : Math.max(...own) - Math.min(...own) + 1;
      const batchIndex =
        own === null
          ? null
          : Array.from({ length: amount }, (_, turn) => own.map((i) => i + turn * offset)).flat();
      return latentOf({ ...latent, items: items.slice(0, count * amount), batchIndex });
    },
  },
  {
    name: "LatentBatch",
    displayName: null,
    category: "latent/batch",
    module: "comfy_extras.nodes_latent",
    required: { samples1: link("LATENT"), samples2: link("LATENT") },
    outputs: ["LATENT"],
    extraInfo: V3_INFO,
    run: ({ inputs }) =>
      latentOf(joinLatents(inputs.latent("samples1"), inputs.latent("samples2"))),
  },
  {
    name: "LatentUpscale",
    displayName: "Upscale Latent",
    category: "latent",
    required: {
      samples: link("LATENT"),
      upscale_method: choice(LATENT_METHODS),
      width: side(512, 0, 8),
      height: side(512, 0, 8),
      crop: choice(["disabled", "center"]),
    },
    outputs: ["LATENT"],
    run({ inputs }) {
      const latent = inputs.latent("samples");
      const width = inputs.number("width");
      const height = inputs.number("height");
      if (width === 0 && height === 0) return latentOf(latent);
      const columns =
        width === 0
          ? Math.round((latent.columns * height) / 8 / latent.rows)
          : Math.floor(width / 8);
      const rows =
        height === 0
          ? Math.round((latent.rows * width) / 8 / latent.columns)
          : Math.floor(height / 8);
      return latentOf(
        resizeLatent(
          latent,
          Math.max(1, columns),
          Math.max(1, rows),
          inputs.text("upscale_method"),
        ),
      );
    },
  },
  {
    name: "LatentUpscaleBy",
    displayName: "Upscale Latent By",
    category: "latent",
    required: {
      samples: link("LATENT"),
      upscale_method: choice(LATENT_METHODS),
      scale_by: primitive("FLOAT", { default: 1.5, min: 0.01, max: 8.0, step: 0.01 }),
    },
    outputs: ["LATENT"],
    run({ inputs }) {
      const latent = inputs.latent("samples");
      const by = inputs.number("scale_by");
      return latentOf(
        resizeLatent(
          latent,
          Math.max(1, Math.round(latent.columns * by)),
          Math.max(1, Math.round(latent.rows * by)),
          inputs.text("upscale_method"),
        ),
      );
    },
  },
  {
    name: "SetLatentNoiseMask",
    displayName: "Set Latent Noise Mask",
    category: "latent/inpaint",
    required: { samples: link("LATENT"), mask: link("MASK") },
    outputs: ["LATENT"],
    run: ({ inputs }) => latentOf({ ...inputs.latent("samples"), mask: inputs.mask("mask") }),
  },
  {
    name: "LoadLatent",
    displayName: "LoadLatent",
    category: "_for_testing",
    required: { latent: { type: { listOf: "input_latents" } } },
    outputs: ["LATENT"],
    validate: {
      input: "latent",
      check: (value, { files }) =>
        findInput(files, value) === null ? `Invalid latent file: ${String(value)}` : true,
    },
    fingerprint(inputs, { files }) {
      const file = findInput(files, inputs["latent"]);
      return file === null ? "missing" : digestBytes(file.bytes);
    },
    run({ inputs, files }) {
      const file = findInput(files, inputs.text("latent"));
      const latent = file === null ? null : decodeLatentFile(file.bytes);
      if (latent === null) {
        throw new RaisedError(
          "safetensors_rust.SafetensorError",
          "Error while deserializing header: incomplete metadata, file not fully covered",
        );
      }
      return latentOf(latent);
    },
  },
];

/** Nodes that make, change and load latents. */
export const LATENT_NODES: readonly NodeClass[] = [...EMPTY_NODES, ...BATCH_NODES];
