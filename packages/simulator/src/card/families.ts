const GB = 1e9;

/** A model family: what its weights weigh, what sampling needs, how fast it is. */
export interface ModelFamily {
  readonly name: string;
  /** Weights of the diffusion model in half precision. */
  readonly weightsBytes: number;
  /** ComfyUI's own factor for activations (comfy/supported_models.py, 0.3.64). */
  readonly memoryFactor: number;
  /** Milliseconds for one step over one megapixel, both guidance halves, on a fast card. */
  readonly stepMsPerMegapixel: number;
  readonly latentChannels: number;
}

const SD15: ModelFamily = {
  name: "sd15",
  weightsBytes: 2.1 * GB,
  memoryFactor: 1,
  stepMsPerMegapixel: 140,
  latentChannels: 4,
};

/** Families by what a file is called; the first that fits is taken, SD 1.x when none does. */
const FAMILIES: readonly { readonly pattern: RegExp; readonly family: ModelFamily }[] = [
  {
    pattern: /flux/i,
    family: {
      name: "flux",
      weightsBytes: 23.8 * GB,
      memoryFactor: 2.8,
      stepMsPerMegapixel: 900,
      latentChannels: 16,
    },
  },
  {
    pattern: /sd3|stable.?diffusion.?3/i,
    family: {
      name: "sd3",
      weightsBytes: 4.3 * GB,
      memoryFactor: 1.2,
      stepMsPerMegapixel: 350,
      latentChannels: 16,
    },
  },
  {
    pattern: /hunyuan/i,
    family: {
      name: "hunyuan-video",
      weightsBytes: 25.6 * GB,
      memoryFactor: 1.8,
      stepMsPerMegapixel: 1100,
      latentChannels: 16,
    },
  },
  {
    pattern: /wan/i,
    family: {
      name: "wan",
      weightsBytes: 28.6 * GB,
      memoryFactor: 1,
      stepMsPerMegapixel: 1200,
      latentChannels: 16,
    },
  },
  {
    pattern: /svd|stable.?video/i,
    family: {
      name: "svd",
      weightsBytes: 4.2 * GB,
      memoryFactor: 0.8,
      stepMsPerMegapixel: 260,
      latentChannels: 4,
    },
  },
  {
    pattern: /xl|pony|illustrious/i,
    family: {
      name: "sdxl",
      weightsBytes: 6.9 * GB,
      memoryFactor: 0.8,
      stepMsPerMegapixel: 220,
      latentChannels: 4,
    },
  },
  {
    pattern: /tiny/i,
    family: { ...SD15, name: "tiny", weightsBytes: 0.5 * GB, stepMsPerMegapixel: 60 },
  },
];

/** The family of a diffusion model, guessed from its file name. */
export function familyOf(fileName: string): ModelFamily {
  return FAMILIES.find(({ pattern }) => pattern.test(fileName))?.family ?? SD15;
}

/** Weights of a diffusion model: half for an fp8 file or an fp8 load. */
export function diffusionBytes(fileName: string, weightType = "default"): number {
  const isSmall = /fp8|int8|q8|q4/i.test(fileName) || weightType.startsWith("fp8");
  return Math.round(familyOf(fileName).weightsBytes * (isSmall ? 0.5 : 1));
}

/** Kinds of model beside the diffusion model. */
type AuxiliaryKind = "clip" | "vae" | "controlnet" | "upscale" | "clip_vision";

const AUXILIARY: Readonly<Record<AuxiliaryKind, (fileName: string) => number>> = {
  clip(fileName) {
    if (/t5|umt5|llama|qwen/i.test(fileName)) return /fp8/i.test(fileName) ? 4.9 * GB : 9.8 * GB;
    return /xl|_g|clip-g/i.test(fileName) ? 1.4 * GB : 0.25 * GB;
  },
  vae: () => 0.17 * GB,
  controlnet: (fileName) => (/xl|flux/i.test(fileName) ? 2.5 * GB : 0.72 * GB),
  upscale: () => 0.07 * GB,
  clip_vision: () => 1.3 * GB,
};

/** Weights of the other kinds of model, by name. */
export function auxiliaryBytes(kind: AuxiliaryKind, fileName: string): number {
  return AUXILIARY[kind](fileName);
}
