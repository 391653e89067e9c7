import { createHash } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { HoldfastError, type BlobSource } from "@holdfast/contract";
import type { IdSource } from "@holdfast/runtime";

/** Bytes whose hash was not known before they came: kept until they are stored. */
export interface Spooled extends BlobSource {
  /** Lets the bytes go. */
  discard(): Promise<void>;
}

/** Uploads up to this size stay in memory. */
const MEMORY_BYTES = 1024 * 1024;

/**
 * Reads a body to its end, hashing it; small ones in memory, large ones in a file of `folder`.
 * Throws `file_too_large`, `store_unavailable` (no room for it), and whatever the body throws.
 */
export async function spool(
  body: AsyncIterable<Uint8Array>,
  options: { readonly folder: string; readonly ids: IdSource; readonly limitBytes: number },
): Promise<Spooled> {
  const hash = createHash("sha256");
  const inMemory: Uint8Array[] = [];
  const path = join(options.folder, `${options.ids.next("spl")}-${process.pid}`);
  let file: Awaited<ReturnType<typeof open>> | undefined;
  let sizeBytes = 0;
  let isDone = false;
  try {
    for await (const chunk of body) {
      sizeBytes += chunk.byteLength;
      if (sizeBytes > options.limitBytes) throw tooLarge(options.limitBytes);
      hash.update(chunk);
      if (file === undefined && sizeBytes <= MEMORY_BYTES) {
        inMemory.push(chunk);
        continue;
      }
      try {
        if (file === undefined) {
          file = await open(path, "wx", 0o600);
          for (const earlier of inMemory.splice(0)) await file.writeFile(earlier);
        }
        await file.writeFile(chunk);
      } catch (error) {
        throw new HoldfastError("store_unavailable", "no room to take the upload in", {
          retryAfterSeconds: 30,
          cause: error,
        });
      }
    }
    isDone = true;
  } finally {
    await file?.close();
    if (!isDone && file !== undefined) await rm(path, { force: true });
  }
  const isOnDisk = file !== undefined;
  return {
    sha256: hash.digest("hex"),
    sizeBytes,
    open: () => (isOnDisk ? readFile(path) : fromMemory(inMemory)),
    async discard() {
      if (isOnDisk) await rm(path, { force: true });
    },
  };
}

/** The refusal of a body over its limit. */
export function tooLarge(limitBytes: number): HoldfastError {
  return new HoldfastError("file_too_large", `files may have at most ${limitBytes} bytes`, {
    details: { limitBytes },
  });
}

async function* readFile(path: string): AsyncGenerator<Uint8Array, void, void> {
  const file = await open(path, "r");
  try {
    yield* file.createReadStream({ autoClose: false }) as AsyncIterable<Uint8Array>;
  } finally {
    await file.close();
  }
}

async function* fromMemory(parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array, void, void> {
  yield* parts;
}
