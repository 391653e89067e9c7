import type { ModelFamily } from "../card/families.ts";
import type { Latent } from "../pixels/latent.ts";
import type { MaskPicture, Picture } from "../pixels/picture.ts";

/** What flows along links: descriptions of what a real node would compute, never tensors. */
export type NodeValue =
  | Latent
  | ImagesValue
  | MaskValue
  | ModelValue
  | ClipValue
  | VaeValue
  | ConditioningValue
  | WeightsValue
  | SamplerValue
  | SigmasValue
  | NoiseValue
  | GuiderValue
  | VideoValue
  | BlockedValue
  | PrimitiveValue;

/** IMAGE: a batch of pictures. */
interface ImagesValue {
  readonly kind: "images";
  readonly pictures: readonly Picture[];
}

/** MASK. */
interface MaskValue {
  readonly kind: "mask";
  readonly mask: MaskPicture;
}

/** MODEL: a diffusion model, and everything patched onto it. */
export interface ModelValue {
  readonly kind: "model";
  readonly key: string;
  readonly weightsKey: string;
  readonly bytes: number;
  readonly family: ModelFamily;
}

/** CLIP: a text encoder. */
export interface ClipValue {
  readonly kind: "clip";
  readonly key: string;
  readonly weightsKey: string;
  readonly bytes: number;
}

/** VAE. */
export interface VaeValue {
  readonly kind: "vae";
  readonly key: string;
  readonly bytes: number;
}

/** CONDITIONING: a fingerprint of all that shaped it, and the extra models it brings along. */
export interface ConditioningValue {
  readonly kind: "conditioning";
  readonly key: string;
  readonly models: readonly WeightsValue[];
}

/** CONTROL_NET, UPSCALE_MODEL, CLIP_VISION: weights with a name. */
export interface WeightsValue {
  readonly kind: "weights";
  readonly key: string;
  readonly bytes: number;
  /** Enlargement of an upscaling model; 1 for others. */
  readonly scale: number;
}

/** SAMPLER. */
interface SamplerValue {
  readonly kind: "sampler";
  readonly name: string;
}

/** SIGMAS: a schedule, and which of its steps. */
export interface SigmasValue {
  readonly kind: "sigmas";
  readonly key: string;
  readonly steps: number;
  readonly fromStep: number;
  readonly toStep: number;
  readonly denoise: number;
}

/** NOISE: a seed, or none. */
interface NoiseValue {
  readonly kind: "noise";
  readonly seed: string | null;
}

/** GUIDER: a model with its prompts. */
interface GuiderValue {
  readonly kind: "guider";
  readonly model: ModelValue;
  readonly positive: ConditioningValue;
  readonly negative: ConditioningValue | null;
  readonly cfg: number;
}

/** VIDEO. */
interface VideoValue {
  readonly kind: "video";
  readonly pictures: readonly Picture[];
  readonly fps: number;
}

/** ComfyUI's ExecutionBlocker: what depends on it is skipped. */
interface BlockedValue {
  readonly kind: "blocked";
  readonly message: string | null;
}

/** INT, FLOAT, STRING, BOOLEAN. */
interface PrimitiveValue {
  readonly kind: "primitive";
  readonly value: string | number | boolean;
}

/** True for what a node put on a link, as opposed to a value written in the graph. */
export function isNodeValue(value: unknown): value is NodeValue {
  return typeof value === "object" && value !== null && "kind" in value && !Array.isArray(value);
}
