import type { Picture } from "./picture.ts";

const ALPHABET = 256;
const LENGTH_CODES = 24;

/** Bits, least significant first, as WebP packs them. */
class BitWriter {
  readonly #bytes: Buffer;
  #at = 0;
  #pending = 0;
  #count = 0;

  constructor(capacityBytes: number) {
    this.#bytes = Buffer.alloc(capacityBytes);
  }

  put(value: number, bits: number): void {
    this.#pending |= value << this.#count;
    this.#count += bits;
    while (this.#count >= 8) {
      this.#bytes[this.#at] = this.#pending & 255;
      this.#at += 1;
      this.#pending >>>= 8;
      this.#count -= 8;
    }
  }

  finish(): Buffer {
    if (this.#count > 0) this.put(0, 8 - this.#count);
    return this.#bytes.subarray(0, this.#at);
  }
}

const REVERSED = Uint8Array.from({ length: ALPHABET }, (_, byte) => {
  let out = 0;
  for (let bit = 0; bit < 8; bit += 1) if (byte & (1 << bit)) out |= 128 >> bit;
  return out;
});

/** A prefix code that gives each of 256 symbols its own eight bits, and `unused` symbols none. */
function putFlatCode(out: BitWriter, unused: number): void {
  out.put(0, 1);
  // Twelve code length codes in WebP's order; lengths 0 (third) and 8 (twelfth) get one bit each.
  out.put(12 - 4, 4);
  for (let i = 0; i < 12; i += 1) out.put(i === 2 || i === 11 ? 1 : 0, 3);
  out.put(0, 1);
  for (let i = 0; i < ALPHABET; i += 1) out.put(1, 1);
  for (let i = 0; i < unused; i += 1) out.put(0, 1);
}

/** A lossless VP8L bit stream, written for speed: nothing is compressed. */
function encodeVp8l(picture: Picture): Buffer {
  const pixels = picture.paint();
  const out = new BitWriter(pixels.length + 1024);
  out.put(0x2f, 8);
  out.put(picture.width - 1, 14);
  out.put(picture.height - 1, 14);
  out.put(0, 1 + 3);
  out.put(0, 1 + 1 + 1);
  putFlatCode(out, LENGTH_CODES);
  putFlatCode(out, 0);
  putFlatCode(out, 0);
  // Alpha: the one symbol 255. Distance: the one symbol 0.
  out.put(1, 1);
  out.put(0, 1);
  out.put(1, 1);
  out.put(255, 8);
  out.put(1, 1);
  out.put(0, 3);
  for (let i = 0; i < pixels.length; i += 3) {
    out.put(REVERSED[pixels[i + 1] ?? 0] ?? 0, 8);
    out.put(REVERSED[pixels[i] ?? 0] ?? 0, 8);
    out.put(REVERSED[pixels[i + 2] ?? 0] ?? 0, 8);
  }
  return out.finish();
}

function chunk(type: string, data: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.write(type, 0, "latin1");
  head.writeUInt32LE(data.length, 4);
  return Buffer.concat([head, data, Buffer.alloc(data.length % 2)]);
}

function container(chunks: readonly Buffer[]): Buffer {
  const body = Buffer.concat([Buffer.from("WEBP"), ...chunks]);
  const head = Buffer.alloc(8);
  head.write("RIFF", 0, "latin1");
  head.writeUInt32LE(body.length, 4);
  return Buffer.concat([head, body]);
}

/** A still WebP, lossless. */
export function encodeWebp(picture: Picture): Buffer {
  return container([chunk("VP8L", encodeVp8l(picture))]);
}

/** An animated WebP: every picture for `frameMs`, for ever. */
export function encodeAnimatedWebp(pictures: readonly Picture[], frameMs: number): Buffer {
  const first = pictures[0];
  const head = Buffer.alloc(10);
  head[0] = 0x02;
  head.writeUIntLE((first?.width ?? 1) - 1, 4, 3);
  head.writeUIntLE((first?.height ?? 1) - 1, 7, 3);
  const frames = pictures.map((picture) => {
    const frame = Buffer.alloc(16);
    frame.writeUIntLE(picture.width - 1, 6, 3);
    frame.writeUIntLE(picture.height - 1, 9, 3);
    frame.writeUIntLE(frameMs, 12, 3);
    return chunk("ANMF", Buffer.concat([frame, chunk("VP8L", encodeVp8l(picture))]));
  });
  return container([chunk("VP8X", head), chunk("ANIM", Buffer.alloc(6)), ...frames]);
}
