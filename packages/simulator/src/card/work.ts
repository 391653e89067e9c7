import type { ModelFamily } from "./families.ts";

/** A batch of latents, as far as memory and time care. */
export interface LatentSize {
  readonly columns: number;
  readonly rows: number;
  readonly frames: number;
  readonly batch: number;
}

const MIB = 1024 ** 2;
const LATENT_PIXEL_AREA = 64;
const BYTES_HALF = 2;
/** The rule of comfy/model_base.py (0.3.64) with PyTorch attention: area × bytes × 0.01 × factor, in MiB. */
const AREA_SHARE = 0.01;
/** comfy/sd.py, VAE of the SD families: memory_used_decode and memory_used_encode for one image. */
const VAE_DECODE_FACTOR = 2178;
const VAE_ENCODE_FACTOR = 1767;
/** Tiles of 64 × 64 latent pixels, as the retry of `VAEDecode` takes them. */
const RETRY_TILE = 64;

/** Memory that one sampling step needs. Guidance halves run one after the other when they must. */
export function samplingBytes(family: ModelFamily, size: LatentSize): number {
  const area = size.columns * size.rows * size.frames * size.batch;
  return Math.round(area * BYTES_HALF * AREA_SHARE * family.memoryFactor * MIB);
}

/** Memory for decoding: images are decoded one by one, a video's frames in groups of four. */
export function decodeBytes(size: LatentSize): number {
  const frames = Math.min(size.frames, 4);
  return VAE_DECODE_FACTOR * size.columns * size.rows * LATENT_PIXEL_AREA * BYTES_HALF * frames;
}

/** Memory for decoding in tiles of `tilePixels`. */
export function tiledDecodeBytes(size: LatentSize, tilePixels = RETRY_TILE * 8): number {
  const side = Math.max(1, Math.floor(tilePixels / 8));
  return decodeBytes({
    ...size,
    columns: Math.min(size.columns, side),
    rows: Math.min(size.rows, side),
    frames: 1,
  });
}

/** Memory for encoding pictures of this size. */
export function encodeBytes(width: number, height: number): number {
  return VAE_ENCODE_FACTOR * width * height * BYTES_HALF;
}

/** Memory for one tile of an upscaling model; ComfyUI halves tiles down to 128 pixels. */
export const UPSCALE_TILE_BYTES = 128 * 128 * 3 * 4 * 384 * 4;

/** How long things take on the simulated card, before scaling. Milliseconds. */
export const DURATIONS = {
  /** A small node: no time of its own. */
  nothing: 0,
  diskBytesPerMs: 1.6e6,
  busBytesPerMs: 12e6,
  textEncode: 40,
  decodePerMegapixel: 120,
  encodePerMegapixel: 80,
  tiledFactor: 1.6,
  upscalePerMegapixel: 900,
  /** How much slower a step is for each byte of weights left in host memory, relative to all. */
  offloadPenalty: 4,
} as const;

/** Image megapixels of a latent batch. */
export function megapixels(size: LatentSize): number {
  return (size.columns * size.rows * size.frames * size.batch * LATENT_PIXEL_AREA) / 1e6;
}

/** One sampling step. `offloadedShare` is the part of the weights that is not on the card. */
export function stepMs(family: ModelFamily, size: LatentSize, offloadedShare: number): number {
  const slowdown = 1 + offloadedShare * DURATIONS.offloadPenalty;
  return Math.max(8, family.stepMsPerMegapixel * megapixels(size) * slowdown);
}
