import { digest, scramble, wordOf } from "./digest.ts";

/**
 * A latent's content: one RGB colour for each latent pixel (8 × 8 image pixels), row by row. Kept
 * within {@link FLOOR}..{@link CEILING}, so that no later nudge is lost to clipping.
 */
export type Cells = Uint8Array;

const FLOOR = 12;
const CEILING = 243;
const CHANNELS = 3;

/** Cells of an empty latent. */
export function greyCells(columns: number, rows: number): Cells {
  return new Uint8Array(columns * rows * CHANNELS).fill(128);
}

/** What a key looks like: soft waves with grain. Another key gives another picture. */
export function drawCells(key: string, columns: number, rows: number): Cells {
  const cells = new Uint8Array(columns * rows * CHANNELS);
  const grain = wordOf(key, 4);
  for (let channel = 0; channel < CHANNELS; channel += 1) {
    const word = wordOf(key, channel as 0 | 1 | 2);
    const across = wave(columns, 1 + (word & 3), ((word >>> 4) & 255) / 40);
    const down = wave(rows, 1 + ((word >>> 12) & 3), ((word >>> 16) & 255) / 40);
    const middle = 96 + (word >>> 26);
    for (let y = 0; y < rows; y += 1) {
      const height = down[y] ?? 0;
      for (let x = 0; x < columns; x += 1) {
        const index = (y * columns + x) * CHANNELS + channel;
        const noise = (scramble(grain + index) & 15) - 8;
        cells[index] = bounded(middle + 76 * (across[x] ?? 0) * height + noise);
      }
    }
  }
  return cells;
}

function wave(length: number, periods: number, phase: number): Float64Array {
  const values = new Float64Array(length);
  for (let i = 0; i < length; i += 1) {
    values[i] = Math.sin((i / length) * periods * Math.PI * 2 + phase);
  }
  return values;
}

function bounded(value: number): number {
  return value < FLOOR ? FLOOR : value > CEILING ? CEILING : Math.round(value);
}

/**
 * Mixes what was there with what was drawn. `weight` is the share of the new one (denoise); `mask`
 * holds a share for each cell (0..255), where only some of the picture may change.
 */
export function blendCells(
  before: Cells,
  after: Cells,
  weight: number,
  mask: Uint8Array | null,
): Cells {
  const out = new Uint8Array(before.length);
  for (let i = 0; i < out.length; i += 1) {
    const share = weight * (mask === null ? 1 : (mask[Math.floor(i / CHANNELS)] ?? 0) / 255);
    out[i] = bounded((before[i] ?? 0) * (1 - share) + (after[i] ?? 0) * share);
  }
  return out;
}

/**
 * Changes cells by at most `amplitude` in each channel, as `key` says, and surely somewhere. Cells
 * further than that from 0 and 255 keep their differences.
 */
export function nudgeCells(cells: Cells, key: string, amplitude: number): Cells {
  const out = new Uint8Array(cells);
  const seed = wordOf(digest("nudge", key), 0);
  const span = amplitude * 2 + 1;
  for (let i = 0; i < out.length; i += 1) {
    const change = i === 0 ? amplitude : (scramble(seed + i) % span) - amplitude;
    out[i] = Math.max(0, Math.min(255, (out[i] ?? 0) + change));
  }
  return out;
}

/** Cells at another size: the nearest one for each new one. */
export function resizeCells(
  cells: Cells,
  from: { readonly columns: number; readonly rows: number },
  to: { readonly columns: number; readonly rows: number },
): Cells {
  const out = new Uint8Array(to.columns * to.rows * CHANNELS);
  for (let y = 0; y < to.rows; y += 1) {
    const sourceY = Math.floor((y * from.rows) / to.rows);
    for (let x = 0; x < to.columns; x += 1) {
      const source = (sourceY * from.columns + Math.floor((x * from.columns) / to.columns)) * 3;
      const target = (y * to.columns + x) * 3;
      out[target] = cells[source] ?? 0;
      out[target + 1] = cells[source + 1] ?? 0;
      out[target + 2] = cells[source + 2] ?? 0;
    }
  }
  return out;
}

/** Each cell as a block of `scale` × `scale` image pixels (RGB). */
export function cellsToPixels(
  cells: Cells,
  columns: number,
  rows: number,
  scale: number,
): Uint8Array {
  const stride = columns * scale * CHANNELS;
  const pixels = new Uint8Array(stride * rows * scale);
  for (let row = 0; row < rows; row += 1) {
    const start = row * scale * stride;
    let at = start;
    for (let column = 0; column < columns; column += 1) {
      const cell = (row * columns + column) * CHANNELS;
      const red = cells[cell] ?? 0;
      const green = cells[cell + 1] ?? 0;
      const blue = cells[cell + 2] ?? 0;
      for (let i = 0; i < scale; i += 1) {
        pixels[at] = red;
        pixels[at + 1] = green;
        pixels[at + 2] = blue;
        at += CHANNELS;
      }
    }
    for (let line = 1; line < scale; line += 1) {
      pixels.copyWithin(start + line * stride, start, start + stride);
    }
  }
  return pixels;
}

/** The mean colour of each `scale` × `scale` block of an RGB image, kept clear of 0 and 255. */
export function pixelsToCells(
  pixels: Uint8Array,
  width: number,
  columns: number,
  rows: number,
  scale: number,
): Cells {
  const cells = new Uint8Array(columns * rows * CHANNELS);
  const area = scale * scale;
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const sum = [0, 0, 0];
      for (let y = 0; y < scale; y += 1) {
        let at = ((row * scale + y) * width + column * scale) * CHANNELS;
        for (let x = 0; x < scale; x += 1, at += CHANNELS) {
          sum[0] = (sum[0] ?? 0) + (pixels[at] ?? 0);
          sum[1] = (sum[1] ?? 0) + (pixels[at + 1] ?? 0);
          sum[2] = (sum[2] ?? 0) + (pixels[at + 2] ?? 0);
        }
      }
      const cell = (row * columns + column) * CHANNELS;
      for (let c = 0; c < CHANNELS; c += 1) cells[cell + c] = bounded((sum[c] ?? 0) / area);
    }
  }
  return cells;
}
