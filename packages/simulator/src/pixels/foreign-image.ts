import { cellsToPixels, drawCells } from "./cells.ts";
import { digestBytes } from "./digest.ts";
import type { Picture } from "./picture.ts";

const CELL = 8;

/**
 * A JPEG, WebP or GIF: its size is read from the header, its pixels are drawn from its bytes, so
 * that other bytes are another picture. Null for what is no image.
 */
export function describeForeignImage(bytes: Buffer): Picture | null {
  const size = jpegSize(bytes) ?? webpSize(bytes) ?? gifSize(bytes);
  if (size === null || size.width < 1 || size.height < 1) return null;
  const key = digestBytes(bytes);
  const { width, height } = size;
  return {
    width,
    height,
    key,
    paint() {
      const columns = Math.ceil(width / CELL);
      const rows = Math.ceil(height / CELL);
      const wide = cellsToPixels(drawCells(key, columns, rows), columns, rows, CELL);
      const out = new Uint8Array(width * height * 3);
      for (let y = 0; y < height; y += 1) {
        const from = y * columns * CELL * 3;
        out.set(wide.subarray(from, from + width * 3), y * width * 3);
      }
      return out;
    },
  };
}

interface Size {
  readonly width: number;
  readonly height: number;
}

function jpegSize(bytes: Buffer): Size | null {
  if (bytes.length < 4 || bytes.readUInt16BE(0) !== 0xffd8) return null;
  let at = 2;
  while (at + 9 < bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1] ?? 0;
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return { height: bytes.readUInt16BE(at + 5), width: bytes.readUInt16BE(at + 7) };
    at += 2 + bytes.readUInt16BE(at + 2);
  }
  return null;
}

function webpSize(bytes: Buffer): Size | null {
  if (bytes.length < 30 || bytes.toString("latin1", 0, 4) !== "RIFF") return null;
  switch (bytes.toString("latin1", 12, 16)) {
    case "VP8X":
      return { width: bytes.readUIntLE(24, 3) + 1, height: bytes.readUIntLE(27, 3) + 1 };
    case "VP8L": {
      const bits = bytes.readUInt32LE(21);
      return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
    }
    case "VP8 ":
      return { width: bytes.readUInt16LE(26) & 0x3fff, height: bytes.readUInt16LE(28) & 0x3fff };
    default:
      return null;
  }
}

function gifSize(bytes: Buffer): Size | null {
  if (bytes.length < 10 || bytes.toString("latin1", 0, 3) !== "GIF") return null;
  return { width: bytes.readUInt16LE(6), height: bytes.readUInt16LE(8) };
}
