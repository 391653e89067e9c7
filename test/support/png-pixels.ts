import { createHash } from "node:crypto";

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
