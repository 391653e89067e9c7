import { digest, digestBytes } from "./digest.ts";

/** One image of a batch: its pixels are painted when somebody needs them, and not kept. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  /** Fingerprint of everything that determines the pixels. */
  readonly key: string;
  /** RGB, row by row, three bytes a pixel. */
  paint(): Uint8Array;
}

/** One grey image: 0 is "leave", 255 is "change". */
export interface MaskPicture {
  readonly width: number;
  readonly height: number;
  readonly key: string;
  /** One byte a pixel. */
  paint(): Uint8Array;
}

/** A picture of one colour (0xRRGGBB). */
export function flatPicture(width: number, height: number, color: number): Picture {
  return {
    width,
    height,
    key: digest("flat", width, height, color),
    paint() {
      const pixels = new Uint8Array(width * height * 3);
      const red = (color >> 16) & 255;
      const green = (color >> 8) & 255;
      const blue = color & 255;
      if (red === green && green === blue) return pixels.fill(red);
      for (let i = 0; i < pixels.length; i += 3) {
        pixels[i] = red;
        pixels[i + 1] = green;
        pixels[i + 2] = blue;
      }
      return pixels;
    },
  };
}

/** A picture whose pixels are at hand, keyed by them. */
export function knownPicture(width: number, height: number, pixels: Uint8Array): Picture {
  return {
    width,
    height,
    key: digest("pixels", width, height, digestBytes(pixels)),
    paint: () => pixels,
  };
}

/** The negative. */
export function invertPicture(picture: Picture): Picture {
  return {
    ...picture,
    key: digest("invert", picture.key),
    paint() {
      const pixels = new Uint8Array(picture.paint());
      for (let i = 0; i < pixels.length; i += 1) pixels[i] = 255 - (pixels[i] ?? 0);
      return pixels;
    },
  };
}

/** Another size; `center` cuts the long side first, so that nothing is stretched. */
export function scalePicture(
  picture: Picture,
  width: number,
  height: number,
  method: string,
  crop: "disabled" | "center" = "disabled",
): Picture {
  if (width === picture.width && height === picture.height) return picture;
  return {
    width,
    height,
    key: digest("scale", picture.key, width, height, method, crop),
    paint() {
      const frame = crop === "center" ? centred(picture, width / height) : wholeFrame(picture);
      const smooth = method !== "nearest-exact";
      return sample(picture, frame, width, height, smooth);
    },
  };
}

interface Frame {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

function wholeFrame(picture: Picture): Frame {
  return { x: 0, y: 0, width: picture.width, height: picture.height };
}

function centred(picture: Picture, aspect: number): Frame {
  const own = picture.width / picture.height;
  const width = own > aspect ? picture.height * aspect : picture.width;
  const height = own > aspect ? picture.height : picture.width / aspect;
  return { x: (picture.width - width) / 2, y: (picture.height - height) / 2, width, height };
}

function sample(
  picture: Picture,
  frame: Frame,
  width: number,
  height: number,
  smooth: boolean,
): Uint8Array {
  const source = picture.paint();
  const out = new Uint8Array(width * height * 3);
  // The smooth methods share one shift of half a pixel: enough to tell them from the nearest one.
  const shift = smooth ? 0.25 : 0;
  for (let y = 0; y < height; y += 1) {
    const sourceY = frame.y + ((y + 0.5) * frame.height) / height - shift;
    const row = Math.max(0, Math.min(picture.height - 1, Math.floor(sourceY)));
    for (let x = 0; x < width; x += 1) {
      const sourceX = frame.x + ((x + 0.5) * frame.width) / width - shift;
      const column = Math.max(0, Math.min(picture.width - 1, Math.floor(sourceX)));
      const from = (row * picture.width + column) * 3;
      const to = (y * width + x) * 3;
      out[to] = source[from] ?? 0;
      out[to + 1] = source[from + 1] ?? 0;
      out[to + 2] = source[from + 2] ?? 0;
    }
  }
  return out;
}

/** A part of a picture; what lies outside is cut off. */
export function cropPicture(
  picture: Picture,
  x: number,
  y: number,
  width: number,
  height: number,
): Picture {
  const left = Math.min(x, picture.width - 1);
  const top = Math.min(y, picture.height - 1);
  const columns = Math.min(width, picture.width - left);
  const rows = Math.min(height, picture.height - top);
  return {
    width: columns,
    height: rows,
    key: digest("crop", picture.key, left, top, columns, rows),
    paint() {
      const source = picture.paint();
      const out = new Uint8Array(columns * rows * 3);
      for (let row = 0; row < rows; row += 1) {
        const from = ((top + row) * picture.width + left) * 3;
        out.set(source.subarray(from, from + columns * 3), row * columns * 3);
      }
      return out;
    },
  };
}

/** A mask of one value. */
export function flatMask(width: number, height: number, value: number): MaskPicture {
  return {
    width,
    height,
    key: digest("mask", width, height, value),
    paint: () => new Uint8Array(width * height).fill(value),
  };
}

/** A mask whose values are at hand. */
export function knownMask(width: number, height: number, values: Uint8Array): MaskPicture {
  return {
    width,
    height,
    key: digest("mask", width, height, digestBytes(values)),
    paint: () => values,
  };
}

/** A mask at the size of a latent: the nearest value for each cell. */
export function maskToCells(mask: MaskPicture, columns: number, rows: number): Uint8Array {
  const source = mask.paint();
  const out = new Uint8Array(columns * rows);
  for (let y = 0; y < rows; y += 1) {
    const row = Math.floor(((y + 0.5) * mask.height) / rows);
    for (let x = 0; x < columns; x += 1) {
      const column = Math.floor(((x + 0.5) * mask.width) / columns);
      out[y * columns + x] = source[row * mask.width + column] ?? 0;
    }
  }
  return out;
}
