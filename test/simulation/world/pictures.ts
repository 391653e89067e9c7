import { decodePng, encodePng } from "../../../packages/simulator/src/pixels/png.ts";

const SIDE = 16;

/** A small picture that graphs may read. */
export function inputPicture(): Buffer {
  return encodePng(SIDE, SIDE, new Uint8Array(SIDE * SIDE * 3).fill(0x5a));
}

/** The colour that every pixel of a picture has, as ComfyUI counts colours; undefined otherwise. */
export function colorOf(bytes: Uint8Array): number | undefined {
  const png = decodePng(bytes);
  if (png === null) return undefined;
  const at = (index: number): number =>
    ((png.rgb[index] ?? 0) << 16) | ((png.rgb[index + 1] ?? 0) << 8) | (png.rgb[index + 2] ?? 0);
  const first = at(0);
  for (let index = 3; index < png.rgb.length; index += 3) {
    if (at(index) !== first) return undefined;
  }
  return first;
}
