import { createHash } from "node:crypto";
import type { PutBlob, PutResult } from "./model.ts";

/** Bytes that are what was announced, or what they are instead. */
export type WholeRead =
  { readonly kind: "read"; readonly bytes: Uint8Array } | Extract<PutResult, { kind: "mismatch" }>;

/** Reads a body into memory, checking it. Throws what the body throws. */
export async function readWhole(blob: PutBlob): Promise<WholeRead> {
  const parts: Uint8Array[] = [];
  const hash = createHash("sha256");
  let sizeBytes = 0;
  for await (const part of blob.body) {
    hash.update(part);
    sizeBytes += part.byteLength;
    if (sizeBytes > blob.sizeBytes) break;
    parts.push(part);
  }
  const sha256 = hash.digest("hex");
  return sha256 === blob.sha256 && sizeBytes === blob.sizeBytes
    ? { kind: "read", bytes: Buffer.concat(parts) }
    : { kind: "mismatch", sha256, sizeBytes };
}

/** What became of a body that was read through {@link hashed}. */
export type BodyOutcome =
  | { readonly kind: "fine" }
  | { readonly kind: "body_failed"; readonly error: unknown }
  | Extract<PutResult, { kind: "mismatch" }>;

/**
 * A body that is hashed while it is read and fails at its end when it is not what was announced:
 * the upload that reads it is then aborted before it completes. A reader that gives up in the middle
 * (its server went away) says nothing about the body.
 */
export function hashed(blob: PutBlob): {
  body: AsyncIterable<Uint8Array>;
  outcome: () => BodyOutcome;
} {
  let outcome: BodyOutcome = { kind: "fine" };
  const refuse = (sha256: string, sizeBytes: number): Error => {
    outcome = { kind: "mismatch", sha256, sizeBytes };
    return new Error("the bytes are not those that were announced");
  };
  async function* read(): AsyncGenerator<Uint8Array, void, void> {
    const hash = createHash("sha256");
    let sizeBytes = 0;
    let isWithReader = false;
    try {
      for await (const part of blob.body) {
        hash.update(part);
        sizeBytes += part.byteLength;
        if (sizeBytes > blob.sizeBytes) throw refuse(hash.digest("hex"), sizeBytes);
        isWithReader = true;
        yield part;
        isWithReader = false;
      }
    } catch (error) {
      if (outcome.kind === "fine" && !isWithReader) outcome = { kind: "body_failed", error };
      throw error;
    }
    const sha256 = hash.digest("hex");
    if (sha256 !== blob.sha256 || sizeBytes !== blob.sizeBytes) throw refuse(sha256, sizeBytes);
  }
  return { body: read(), outcome: () => outcome };
}
