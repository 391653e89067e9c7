import {
  blendCells,
  cellsToPixels,
  drawCells,
  greyCells,
  nudgeCells,
  pixelsToCells,
  resizeCells,
  type Cells,
} from "./cells.ts";
import { digest } from "./digest.ts";
import { maskToCells, type MaskPicture, type Picture } from "./picture.ts";

/** Image pixels along one side of a latent pixel. */
const LATENT_SCALE = 8;

/** A stretch of sampling steps under the same conditions. */
export interface Leg {
  readonly conditions: string;
  readonly from: number;
  readonly to: number;
}

/** A sampling that was stopped half-way, its noise left in: what the next segment goes on from. */
export interface Trail {
  readonly start: string;
  readonly legs: readonly Leg[];
  readonly cuts: readonly number[];
  readonly before: Cells | null;
  readonly weight: number;
}

/** One latent of a batch. */
export interface LatentItem {
  readonly key: string;
  /** Numeric noise that a cut left behind: it moves pixels by at most one (F21). */
  readonly nudges: readonly string[];
  readonly trail: Trail | null;
  cells(): Cells;
}

/** A batch of latents, as the LATENT type carries them. */
export interface Latent {
  readonly kind: "latent";
  readonly columns: number;
  readonly rows: number;
  readonly channels: number;
  /** Latent frames of a video; 1 for pictures. */
  readonly frames: number;
  readonly items: readonly LatentItem[];
  /** Which noise each item gets; null when nothing was taken out of a batch. */
  readonly batchIndex: readonly number[] | null;
  readonly mask: MaskPicture | null;
}

/** An empty latent, as `EmptyLatentImage` and its kin make it. */
export function emptyLatent(
  width: number,
  height: number,
  batch: number,
  channels = 4,
  frames = 1,
): Latent {
  const columns = Math.floor(width / LATENT_SCALE);
  const rows = Math.floor(height / LATENT_SCALE);
  const item: LatentItem = {
    key: digest("empty", columns, rows, frames),
    nudges: [],
    trail: null,
    cells: () => greyCells(columns, rows),
  };
  return {
    kind: "latent",
    columns,
    rows,
    channels,
    frames,
    items: Array.from({ length: batch }, () => item),
    batchIndex: null,
    mask: null,
  };
}

/** What a sampler was asked for. */
export interface SamplerRun {
  /** Fingerprint of model, prompts, guidance, schedule, and of the seed where every step uses it. */
  readonly conditions: string;
  readonly sampler: string;
  /** The seed of the noise that is added first; null when none is added. */
  readonly noiseSeed: string | null;
  readonly steps: number;
  readonly fromStep: number;
  readonly toStep: number;
  readonly keepsNoise: boolean;
  /** Share of the picture that is drawn anew. */
  readonly denoise: number;
}

/**
 * Samplers that carry nothing from one step to the next. A cut moves them by rounding alone: between
 * segments a latent is scaled for its file and back. Measured on 0.3.64 with a random SD1.x model:
 * latents differ by 1e-4 of 300, pixels by 0 or 1 of 255, for euler and ddim as well as for heun (F21).
 */
const STATELESS: ReadonlySet<string> = new Set(["ddim", "euler", "heun"]);
/** Samplers that draw fresh noise at every step, so that the seed counts even without added noise. */
const STOCHASTIC = /ancestral|sde|lcm|ddpm|seeds_/;

/** True when a sampler's every step depends on the seed. */
export function usesSeedAtEveryStep(sampler: string): boolean {
  return STOCHASTIC.test(sampler);
}

/** Runs a sampler over a batch: pure, and the same wherever it runs (F19, F20, F21). */
export function sampleLatent(latent: Latent, run: SamplerRun): Latent {
  const mask = latent.mask === null ? null : maskToCells(latent.mask, latent.columns, latent.rows);
  const maskKey = latent.mask?.key ?? null;
  return {
    ...latent,
    items: latent.items.map((item, position) =>
      sampleItem(latent, item, position, run, mask, maskKey),
    ),
  };
}

function sampleItem(
  latent: Latent,
  item: LatentItem,
  position: number,
  run: SamplerRun,
  mask: Uint8Array | null,
  maskKey: string | null,
): LatentItem {
  const before = trailBefore(item, run);
  const trail: Trail = before ?? {
    start: digest("start", item.key, noiseKey(latent, position, run.noiseSeed), maskKey),
    legs: [],
    cuts: [],
    before:
      item.key === digest("empty", latent.columns, latent.rows, latent.frames)
        ? null
        : item.cells(),
    weight: run.denoise,
  };
  const { legs, cuts } = addLeg(trail, run);
  const isDone = run.toStep >= run.steps || !run.keepsNoise;
  const isForced = isDone && run.toStep < run.steps;
  const key = digest("sampled", trail.start, JSON.stringify(legs), isDone, isForced);
  const { columns, rows } = latent;
  if (!isDone) {
    const noisy = digest("noisy", key);
    return {
      key,
      nudges: [],
      trail: { ...trail, legs, cuts },
      cells: () => drawCells(noisy, columns, rows),
    };
  }
  const old = trail.before;
  return {
    key,
    nudges: cuts.length === 0 ? [] : [digest("cuts", cuts.join())],
    trail: null,
    cells: () => {
      const drawn = drawCells(key, columns, rows);
      return old === null ? drawn : blendCells(old, drawn, trail.weight, mask);
    },
  };
}

/** The trail that a segment goes on with: only when it adds no noise of its own. */
function trailBefore(item: LatentItem, run: SamplerRun): Trail | null {
  return run.noiseSeed === null ? item.trail : null;
}

function addLeg(
  trail: Trail,
  run: SamplerRun,
): { readonly legs: readonly Leg[]; readonly cuts: readonly number[] } {
  const conditions = digest(run.conditions, run.sampler, run.steps);
  const next: Leg = { conditions, from: run.fromStep, to: Math.min(run.toStep, run.steps) };
  const last = trail.legs.at(-1);
  const goesOn = last?.conditions === conditions && last.to === next.from;
  if (last !== undefined && goesOn && STATELESS.has(run.sampler)) {
    return {
      legs: [...trail.legs.slice(0, -1), { ...last, to: next.to }],
      cuts: [...trail.cuts, next.from],
    };
  }
  return { legs: [...trail.legs, next], cuts: trail.cuts };
}

/**
 * Which noise an item gets. Noise for a whole batch is drawn in one go, noise for picked items one
 * by one; the generator works in groups of 16, so both agree when one latent fills whole groups (F20).
 */
function noiseKey(latent: Latent, position: number, seed: string | null): string {
  if (seed === null) return "none";
  const elements = latent.channels * latent.columns * latent.rows * latent.frames;
  const index = latent.batchIndex?.[position] ?? position;
  const shape = digest(latent.channels, latent.frames, latent.rows, latent.columns);
  const drawnWhole = latent.batchIndex === null && latent.items.length > 1;
  return elements % 16 !== 0 && drawnWhole
    ? digest("noise", seed, index, shape, "whole", latent.items.length)
    : digest("noise", seed, index, shape);
}

/** Takes items out of a batch, keeping their noise (`LatentFromBatch`, `RepeatLatentBatch`). */
export function pickFromLatent(latent: Latent, positions: readonly number[]): Latent {
  const items = positions.flatMap((position) => latent.items[position] ?? []);
  const index = positions.map((position) => latent.batchIndex?.[position] ?? position);
  return { ...latent, items, batchIndex: index };
}

/** A latent at another size. */
export function resizeLatent(
  latent: Latent,
  columns: number,
  rows: number,
  method: string,
): Latent {
  if (columns === latent.columns && rows === latent.rows) return latent;
  const from = { columns: latent.columns, rows: latent.rows };
  return {
    ...latent,
    columns,
    rows,
    items: latent.items.map((item) => ({
      key: digest("resize", item.key, columns, rows, method),
      nudges: item.nudges,
      trail: null,
      cells: () => resizeCells(item.cells(), from, { columns, rows }),
    })),
  };
}

/** Pictures into latents (`VAEEncode`): sides are cut down to whole latent pixels. */
export function encodePictures(pictures: readonly Picture[], vae: string): Latent {
  const first = pictures[0];
  const columns = Math.floor((first?.width ?? 0) / LATENT_SCALE);
  const rows = Math.floor((first?.height ?? 0) / LATENT_SCALE);
  return {
    kind: "latent",
    columns,
    rows,
    channels: 4,
    frames: 1,
    batchIndex: null,
    mask: null,
    items: pictures.map((picture) => ({
      key: digest("encode", picture.key, vae),
      nudges: [],
      trail: null,
      cells: () => pixelsToCells(picture.paint(), picture.width, columns, rows, LATENT_SCALE),
    })),
  };
}

/** How far a tiled decode may be from a whole one, in steps of 255 (F22). */
const TILED_AMPLITUDE = 2;
const VAE_AMPLITUDE = 4;
const CUT_AMPLITUDE = 1;

/** Latents into pictures (`VAEDecode`); `tiles` names the tiling, null for none. */
export function decodeLatent(latent: Latent, vae: string, tiles: string | null): Picture[] {
  const { columns, rows } = latent;
  const images = (latent.frames - 1) * 4 + 1;
  return latent.items.flatMap((item) =>
    Array.from({ length: images }, (_, frame): Picture => {
      const nudges = item.nudges.join();
      return {
        width: columns * LATENT_SCALE,
        height: rows * LATENT_SCALE,
        key: digest("decode", item.key, nudges, vae, tiles, frame),
        paint() {
          let cells = nudgeCells(item.cells(), vae, VAE_AMPLITUDE);
          for (const nudge of item.nudges) cells = nudgeCells(cells, nudge, CUT_AMPLITUDE);
          if (tiles !== null) cells = nudgeCells(cells, tiles, TILED_AMPLITUDE);
          if (frame > 0) cells = nudgeCells(cells, digest("frame", frame), VAE_AMPLITUDE);
          return cellsToPixels(cells, columns, rows, LATENT_SCALE);
        },
      };
    }),
  );
}
