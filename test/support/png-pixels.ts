import { createHash } from "node:crypto";
import { decodePng } from "../../packages/simulator/src/pixels/png.ts";

/** A hash of the pixels of a PNG, without what ComfyUI writes into it beside them. */
export function pixelsOf(png: Buffer): string {
  const parts: string[] = [];
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at);
    const type = png.toString("latin1", at + 4, at + 8);
    if (type === "IHDR" || type === "IDAT") {
      parts.push(png.toString("base64", at + 8, at + 8 + length));
    }
    at += length + 12;
  }
  return createHash("sha256").update(parts.join("\n")).digest("hex");
}

/** The largest difference of any colour of any pixel, of 255; Infinity when the sizes differ. */
export function largestDifference(one: Buffer | undefined, two: Buffer | undefined): number {
  const [a, b] = [one, two].map((bytes) => (bytes === undefined ? null : decodePng(bytes)?.rgb));
  if (!a || !b || a.length !== b.length) return Infinity;
  return a.reduce((most, value, at) => Math.max(most, Math.abs(value - (b[at] ?? 0))), 0);
}
