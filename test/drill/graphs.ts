/** The graphs of drill jobs: what people render, small enough to be rendered a thousand times. */
import type { Graph } from "@holdfast/comfyui/protocol";

/** What a drill job renders. */
export interface DrillPicture {
  readonly checkpoint: string;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  readonly batch: number;
  readonly steps: number;
  readonly seed: number;
  /** A second sampler works on the first one's latents, half as large again. */
  readonly isTwoStage: boolean;
  /** The first stage is saved too: a second output, of another node. */
  readonly savesFirstStage: boolean;
  readonly sampler: string;
}

/** An ordinary job: quick, and far from any limit of the card. */
export const PLAIN: DrillPicture = {
  checkpoint: "v1-5-pruned-emaonly.safetensors",
  width: 256,
  height: 192,
  batch: 1,
  steps: 20,
  seed: 1,
  isTwoStage: true,
  savesFirstStage: false,
  sampler: "euler",
};

/** Node classes that sample: what a checkpoint saves from being done again. */
export const SAMPLER_CLASS = "KSampler";

/** The graph of a picture, as a client would submit it. */
export function graphOf(picture: DrillPicture): Graph {
  const last = picture.isTwoStage ? "11" : "3";
  const sampled = (latent: string, denoise: number): Graph[string] => ({
    class_type: SAMPLER_CLASS,
    inputs: {
      seed: picture.seed,
      steps: picture.steps,
      cfg: 7,
      sampler_name: picture.sampler,
      scheduler: "normal",
      denoise,
      model: ["4", 0],
      positive: ["6", 0],
      negative: ["7", 0],
      latent_image: [latent, 0],
    },
  });
  const shown = (decode: string, save: string, latent: string): Graph => ({
    [decode]: { class_type: "VAEDecode", inputs: { samples: [latent, 0], vae: ["4", 2] } },
    [save]: { class_type: "SaveImage", inputs: { images: [decode, 0], filename_prefix: "drill" } },
  });
  return {
    "4": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: picture.checkpoint } },
    "5": {
      class_type: "EmptyLatentImage",
      inputs: { width: picture.width, height: picture.height, batch_size: picture.batch },
    },
    "6": {
      class_type: "CLIPTextEncode",
      inputs: { text: "out of memory, at sea", clip: ["4", 1] },
    },
    "7": { class_type: "CLIPTextEncode", inputs: { text: "connection refused", clip: ["4", 1] } },
    "3": sampled("5", 1),
    ...(picture.isTwoStage && {
      "10": {
        class_type: "LatentUpscaleBy",
        inputs: { samples: ["3", 0], upscale_method: "nearest-exact", scale_by: 1.5 },
      },
      "11": sampled("10", 0.6),
    }),
    ...shown("8", "9", last),
    ...(picture.savesFirstStage && shown("12", "13", "3")),
  };
}
