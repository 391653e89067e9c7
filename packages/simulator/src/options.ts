import type { Clock, Random } from "@holdfast/runtime";
import type { VRAM_PRESETS, VramPreset } from "./card/vram.ts";
import type { FaultRule } from "./faults/rules.ts";

/** How to start a simulator. Everything but the clock has a default. */
export interface SimulatorOptions {
  readonly clock: Clock;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 0: any free port. */
  readonly port?: number;
  /** Chance for faults and names; default is a generator seeded with {@link seed}. */
  readonly random?: Random;
  /** Default 1. */
  readonly seed?: number;
  /** Factor on every simulated duration: 1 is about a real card's speed, 0 is at once. Default 1. */
  readonly timeScale?: number;
  /** The card; default a preset of 24 GB. */
  readonly vram?: VramPreset | keyof typeof VRAM_PRESETS;
  /** Model files by folder; default {@link DEFAULT_MODELS}. */
  readonly models?: Readonly<Record<string, readonly string[]>>;
  /** What is in model files, by folder and name; those that are not named have no metadata. */
  readonly modelFiles?: Readonly<Record<string, Readonly<Record<string, ModelFile>>>>;
  /** Folder for input, output and temp files; null keeps them in memory. Default null. */
  readonly dataDir?: string | null;
  /** Limit of files kept in memory; the oldest go first. Default 128 MiB. */
  readonly memoryCapBytes?: number;
  /** Lines that a real ComfyUI would print. Default: nowhere. */
  readonly log?: (line: string) => void;
  /** Told of each prompt that is queued. `isKnown`: queue or history held its id already. */
  readonly onQueued?: (queued: {
    readonly promptId: string;
    readonly clientId: string | null;
    readonly isKnown: boolean;
  }) => void;
  /** Told of each node that ran to its end; one whose result was cached is not among them. */
  readonly onNodeDone?: (done: {
    readonly promptId: string;
    readonly nodeId: string;
    readonly classType: string;
  }) => void;
  /** How long a crashed process stays away. Default 500 ms. */
  readonly restartDelayMs?: number;
  /** Prompts beyond this many waiting are refused with 503. Default 100,000. */
  readonly queueLimit?: number;
  /** Largest request body. Default ComfyUI's 100 MiB. */
  readonly maxBodyBytes?: number;
  /** Faults in force from the start. */
  readonly faults?: readonly FaultRule[];
}

/** A model file as routes tell of it. */
export interface ModelFile {
  /** `__metadata__` of its header; null has none. Default null. */
  readonly metadata?: Readonly<Record<string, string>> | null;
  /** Default {@link MODEL_FILE_BYTES}. */
  readonly sizeBytes?: number;
}

/** The size that a model file is listed with unless told otherwise. */
export const MODEL_FILE_BYTES = 2_132_625_894;

/** Models that a simulator has unless told otherwise: one or two of each kind that people use. */
export const DEFAULT_MODELS: Readonly<Record<string, readonly string[]>> = {
  checkpoints: [
    "sd3_medium_incl_clips.safetensors",
    "sd_xl_base_1.0.safetensors",
    "sd_xl_refiner_1.0.safetensors",
    "svd_xt.safetensors",
    "tiny.safetensors",
    "v1-5-pruned-emaonly.safetensors",
  ],
  loras: ["add_detail.safetensors", "sdxl_lightning_4step_lora.safetensors"],
  vae: ["ae.safetensors", "vae-ft-mse-840000-ema-pruned.safetensors"],
  text_encoders: ["clip_l.safetensors", "t5xxl_fp16.safetensors", "t5xxl_fp8_e4m3fn.safetensors"],
  diffusion_models: ["flux1-dev-fp8.safetensors", "flux1-dev.safetensors"],
  controlnet: ["control_v11p_sd15_canny.safetensors", "controlnet-canny-sdxl-1.0.safetensors"],
  upscale_models: ["RealESRGAN_x4plus.pth"],
  clip_vision: ["clip_vision_h.safetensors"],
};

/** Defaults of the numbers above. */
export const DEFAULTS = {
  host: "127.0.0.1",
  seed: 1,
  memoryCapBytes: 128 * 1024 ** 2,
  restartDelayMs: 500,
  queueLimit: 100_000,
  maxBodyBytes: 104_857_600,
} as const;
