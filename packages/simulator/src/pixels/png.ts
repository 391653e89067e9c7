import { crc32, deflateSync } from "node:zlib";
import { decode } from "fast-png";

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const RGB = 2;
const RGBA = 6;

/** Text fields of a PNG, as ComfyUI writes its graph into one (`prompt`, `workflow`). */
type PngTexts = Readonly<Record<string, string>>;

/** Writes an 8-bit PNG, RGB (three bytes a pixel) or RGBA (four), at the quickest compression. */
export function encodePng(
  width: number,
  height: number,
  pixels: Uint8Array,
  texts: PngTexts = {},
): Buffer {
  const channels = pixels.length / (width * height) === 4 ? 4 : 3;
  const stride = width * channels;
  const raw = Buffer.alloc((stride + 1) * height);
  for (let y = 0; y < height; y += 1) {
    raw.set(pixels.subarray(y * stride, (y + 1) * stride), y * (stride + 1) + 1);
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = 8;
  header[9] = channels === 4 ? RGBA : RGB;
  return Buffer.concat([
    SIGNATURE,
    chunk("IHDR", header),
    ...Object.entries(texts).map(([key, text]) =>
      chunk("tEXt", Buffer.from(`${key}\0${asciiJson(text)}`, "latin1")),
    ),
    chunk("IDAT", deflateSync(raw, { level: 1 })),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const out = Buffer.alloc(data.length + 12);
  out.writeUInt32BE(data.length, 0);
  out.write(type, 4, "latin1");
  data.copy(out, 8);
  out.writeUInt32BE(crc32(out.subarray(4, data.length + 8)), data.length + 8);
  return out;
}

/** tEXt holds Latin-1 only; ComfyUI writes JSON with everything else escaped. */
function asciiJson(text: string): string {
  return text.replace(
    /[\u0080-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A PNG's pixels as RGB, its alpha channel apart (null when it has none), and its text fields. */
interface DecodedPng {
  readonly width: number;
  readonly height: number;
  readonly rgb: Uint8Array;
  readonly alpha: Uint8Array | null;
  readonly texts: PngTexts;
}

/** Reads a PNG; null when the bytes are not a whole one. */
export function decodePng(bytes: Uint8Array): DecodedPng | null {
  try {
    const image = decode(bytes, { checkCrc: true });
    const pixels = image.width * image.height;
    const rgb = new Uint8Array(pixels * 3);
    const hasAlpha = image.channels === 4 || image.channels === 2;
    const alpha = hasAlpha ? new Uint8Array(pixels) : null;
    const shift = image.depth === 16 ? 8 : 0;
    for (let i = 0; i < pixels; i += 1) {
      const at = (channel: number): number =>
        (image.data[i * image.channels + channel] ?? 0) >> shift;
      const palette = image.palette?.[image.data[i] ?? 0];
      const grey = image.channels < 3;
      rgb[i * 3] = palette?.[0] ?? at(0);
      rgb[i * 3 + 1] = palette?.[1] ?? at(grey ? 0 : 1);
      rgb[i * 3 + 2] = palette?.[2] ?? at(grey ? 0 : 2);
      if (alpha !== null) alpha[i] = at(image.channels - 1);
    }
    return { width: image.width, height: image.height, rgb, alpha, texts: image.text };
  } catch {
    // Not a PNG, or a damaged one: the caller says so in ComfyUI's words.
    return null;
  }
}
