import type { Picture } from "./picture.ts";

const BLOCK = 8;
const LONGEST_SIDE = 512;

/** The code of a difference category: `[bits, length]`, from the standard luminance table. */
const CATEGORY_CODES: readonly (readonly [number, number])[] = [
  [0b00, 2],
  [0b010, 3],
  [0b011, 3],
  [0b100, 3],
  [0b101, 3],
  [0b110, 3],
  [0b1110, 4],
  [0b11110, 5],
  [0b111110, 6],
  [0b1111110, 7],
  [0b11111110, 8],
  [0b111111110, 9],
];

/**
 * A baseline JPEG that keeps one colour for each 8 × 8 block: all that a simulated picture has,
 * and quick to write. Pictures wider or higher than 512 are shown at every second (third, …) block.
 */
export function encodeJpeg(picture: Picture): Buffer {
  const pixels = picture.paint();
  const skip = Math.max(1, Math.ceil(Math.max(picture.width, picture.height) / LONGEST_SIDE));
  const columns = Math.ceil(picture.width / (BLOCK * skip));
  const rows = Math.ceil(picture.height / (BLOCK * skip));
  const bits = new EntropyWriter();
  const previous = [0, 0, 0];
  for (let row = 0; row < rows; row += 1) {
    const y = Math.min(picture.height - 1, row * BLOCK * skip);
    for (let column = 0; column < columns; column += 1) {
      const x = Math.min(picture.width - 1, column * BLOCK * skip);
      const at = (y * picture.width + x) * 3;
      const color = toYcc(pixels[at] ?? 0, pixels[at + 1] ?? 0, pixels[at + 2] ?? 0);
      for (let component = 0; component < 3; component += 1) {
        const value = color[component] ?? 0;
        bits.putDifference(value - (previous[component] ?? 0));
        previous[component] = value;
        // The one code of the AC table: end of block.
        bits.put(0, 1);
      }
    }
  }
  return Buffer.concat([
    headers(columns * BLOCK, rows * BLOCK),
    bits.finish(),
    Buffer.of(0xff, 0xd9),
  ]);
}

/** DC coefficients at quantiser 8: the mean less 128. */
function toYcc(red: number, green: number, blue: number): readonly [number, number, number] {
  const luma = 0.299 * red + 0.587 * green + 0.114 * blue;
  return [
    Math.round(luma - 128),
    Math.round((blue - luma) * 0.564),
    Math.round((red - luma) * 0.713),
  ];
}

class EntropyWriter {
  readonly #bytes: number[] = [];
  #pending = 0;
  #count = 0;

  put(value: number, bits: number): void {
    for (let bit = bits - 1; bit >= 0; bit -= 1) {
      this.#pending = (this.#pending << 1) | ((value >> bit) & 1);
      this.#count += 1;
      if (this.#count < 8) continue;
      this.#bytes.push(this.#pending);
      if (this.#pending === 0xff) this.#bytes.push(0);
      this.#pending = 0;
      this.#count = 0;
    }
  }

  putDifference(difference: number): void {
    const category = difference === 0 ? 0 : 32 - Math.clz32(Math.abs(difference));
    const [code, length] = CATEGORY_CODES[category] ?? [0, 2];
    this.put(code, length);
    const magnitude = difference < 0 ? difference + (1 << category) - 1 : difference;
    this.put(magnitude, category);
  }

  finish(): Buffer {
    while (this.#count > 0) this.put(1, 1);
    return Buffer.from(this.#bytes);
  }
}

function headers(width: number, height: number): Buffer {
  const size = [height >> 8, height & 255, width >> 8, width & 255];
  const dcLengths = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
  const acLengths = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
  return Buffer.concat([
    Buffer.of(0xff, 0xd8),
    segment(0xe0, [...Buffer.from("JFIF\0", "latin1"), 1, 1, 0, 0, 1, 0, 1, 0, 0]),
    segment(0xdb, [0, ...Array.from({ length: 64 }, () => BLOCK)]),
    segment(0xc0, [8, ...size, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]),
    segment(0xc4, [0x00, ...dcLengths, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
    segment(0xc4, [0x10, ...acLengths, 0]),
    segment(0xda, [3, 1, 0, 2, 0, 3, 0, 0, 63, 0]),
  ]);
}

function segment(marker: number, data: readonly number[]): Buffer {
  const length = data.length + 2;
  return Buffer.from([0xff, marker, length >> 8, length & 255, ...data]);
}
