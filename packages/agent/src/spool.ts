import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BlobSource } from "@holdfast/contract";
import type { AgentLimits } from "./limits.ts";

/** Bytes that are kept until the store has them and the report that names them is answered. */
export interface SpooledBlob extends BlobSource {
  /** Puts bytes that are in memory on disk: the store is down, and this may take long. */
  toDisk(): Promise<void>;
  /** One user less; the last one lets the bytes go. */
  release(): Promise<void>;
}

/** Outputs on their way from ComfyUI to the store; small ones in memory, the others on disk. */
export interface Spool {
  start(): Promise<void>;
  /** Whether more work may be taken: the bytes kept are under the limit. */
  hasRoom(): boolean;
  usedBytes(): number;
  /** Takes bytes in while hashing them. Throws what the source or the disk throws, keeping nothing. */
  take(body: AsyncIterable<Uint8Array>): Promise<SpooledBlob>;
  /** Bytes that an earlier life left, for a report that names them. */
  find(sha256: string): Promise<SpooledBlob | undefined>;
  /** Deletes what earlier lives left and no report names. */
  keepOnly(hashes: ReadonlySet<string>): Promise<void>;
}

interface Kept {
  readonly sha256: string;
  readonly sizeBytes: number;
  bytes: Uint8Array | undefined;
  users: number;
}

const HASH_LENGTH = 64;

/** Makes a spool in a folder of its own. */
export function createSpool(
  folder: string,
  limits: Pick<AgentLimits, "spoolBytes" | "memoryOutputBytes" | "memoryTotalBytes">,
): Spool {
  const kept = new Map<string, Kept>();
  let usedBytes = 0;
  let memoryBytes = 0;
  let counter = 0;
  const pathOf = (sha256: string): string => join(folder, sha256);

  const toDisk = async (blob: Kept): Promise<void> => {
    const bytes = blob.bytes;
    if (bytes === undefined) return;
    const temporary = join(folder, `tmp-${(counter += 1)}`);
    await writeFile(temporary, bytes);
    await rename(temporary, pathOf(blob.sha256));
    if (blob.bytes === undefined) return;
    blob.bytes = undefined;
    memoryBytes -= blob.sizeBytes;
    // Released meanwhile: nobody else would delete it.
    if (!kept.has(blob.sha256)) await rm(pathOf(blob.sha256), { force: true });
  };
  const release = async (blob: Kept): Promise<void> => {
    blob.users -= 1;
    if (blob.users > 0 || kept.get(blob.sha256) !== blob) return;
    kept.delete(blob.sha256);
    usedBytes -= blob.sizeBytes;
    if (blob.bytes === undefined) await rm(pathOf(blob.sha256), { force: true });
    else memoryBytes -= blob.sizeBytes;
  };
  const toHandle = (blob: Kept): SpooledBlob => {
    let isReleased = false;
    return {
      sha256: blob.sha256,
      sizeBytes: blob.sizeBytes,
      open: () => readKept(blob, pathOf(blob.sha256)),
      toDisk: () => toDisk(blob),
      release: async () => {
        if (isReleased) return;
        isReleased = true;
        await release(blob);
      },
    };
  };
  /** Adds bytes that are complete; equal bytes are kept once. */
  const keep = (sha256: string, sizeBytes: number, bytes: Uint8Array | undefined): SpooledBlob => {
    const known = kept.get(sha256);
    if (known !== undefined) {
      known.users += 1;
      return toHandle(known);
    }
    const blob: Kept = { sha256, sizeBytes, bytes, users: 1 };
    kept.set(sha256, blob);
    usedBytes += sizeBytes;
    if (bytes !== undefined) memoryBytes += sizeBytes;
    return toHandle(blob);
  };

  return {
    start: async () => {
      await mkdir(folder, { recursive: true });
    },
    hasRoom: () => usedBytes < limits.spoolBytes,
    usedBytes: () => usedBytes,
    take: async (body) => {
      const roomInMemory = Math.min(
        limits.memoryOutputBytes,
        Math.max(0, limits.memoryTotalBytes - memoryBytes),
      );
      const temporary = join(folder, `tmp-${(counter += 1)}`);
      const taken = await takeIn(body, roomInMemory, temporary);
      if (taken.bytes === undefined) {
        if (kept.has(taken.sha256)) await rm(temporary, { force: true });
        else await rename(temporary, pathOf(taken.sha256));
      }
      return keep(taken.sha256, taken.sizeBytes, taken.bytes);
    },
    find: async (sha256) => {
      if (kept.has(sha256)) return keep(sha256, 0, undefined);
      const found = await stat(pathOf(sha256)).catch(() => undefined);
      return found === undefined ? undefined : keep(sha256, found.size, undefined);
    },
    keepOnly: async (hashes) => {
      for (const name of await readdir(folder)) {
        const isNamed = hashes.has(name) || kept.has(name);
        if (name.length === HASH_LENGTH && isNamed) continue;
        if (name.length === HASH_LENGTH || name.startsWith("tmp-")) {
          await rm(join(folder, name), { force: true });
        }
      }
    },
  };
}

/** Reads a source to its end: into memory while it is small, into a file from there on. */
async function takeIn(
  body: AsyncIterable<Uint8Array>,
  roomInMemory: number,
  temporary: string,
): Promise<{ sha256: string; sizeBytes: number; bytes: Uint8Array | undefined }> {
  const hash = createHash("sha256");
  let pieces: Uint8Array[] = [];
  let sizeBytes = 0;
  let file: Awaited<ReturnType<typeof open>> | undefined;
  try {
    for await (const piece of body) {
      hash.update(piece);
      sizeBytes += piece.length;
      if (file !== undefined) {
        await file.writeFile(piece);
        continue;
      }
      pieces.push(piece);
      if (sizeBytes <= roomInMemory) continue;
      file = await open(temporary, "w");
      await file.writeFile(Buffer.concat(pieces));
      pieces = [];
    }
    await file?.close();
  } catch (error) {
    await file?.close().catch(() => undefined); // The first failure is the one to tell.
    await rm(temporary, { force: true });
    throw error;
  }
  const bytes = file === undefined ? Buffer.concat(pieces) : undefined;
  return { sha256: hash.digest("hex"), sizeBytes, bytes };
}

async function* readKept(blob: Kept, path: string): AsyncGenerator<Uint8Array> {
  if (blob.bytes !== undefined) {
    yield blob.bytes;
    return;
  }
  for await (const piece of createReadStream(path)) yield piece as Uint8Array;
}
