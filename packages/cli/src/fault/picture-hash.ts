import { createHash } from "node:crypto";

const SIGNATURE_BYTES = 8;
const FRAME_BYTES = 12;

/**
 * SHA-256 of what a PNG shows, without what ComfyUI writes into it beside that (the graph, with names that
 * differ from attempt to attempt). Of anything else: of all its bytes.
 */
export function pictureHash(bytes: Buffer): string {
  const hash = createHash("sha256");
  if (bytes.toString("latin1", 1, 4) !== "PNG") return hash.update(bytes).digest("hex");
  for (let at = SIGNATURE_BYTES; at + FRAME_BYTES <= bytes.length;) {
    const length = bytes.readUInt32BE(at);
    const type = bytes.toString("latin1", at + 4, at + 8);
    if (type === "IHDR" || type === "IDAT") hash.update(bytes.subarray(at + 8, at + 8 + length));
    at += length + FRAME_BYTES;
  }
  return hash.digest("hex");
}
