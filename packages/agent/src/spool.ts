import { createHash } from "node:crypto";
import { join } from "node:path";
import type { BlobSource } from "@holdfast/contract";
import { nodeDisk, type Disk, type OpenFile } from "./disk.ts";
import type { AgentLimits } from "./limits.ts";

/** Bytes that are kept until the store has them and the report that names them is answered. */
export interface SpooledBlob extends BlobSource {
  /** Puts bytes that are in memory on disk: the store is down, and this may take long. */
  toDisk(): Promise<void>;
  /** The bytes cannot be read any more, or are not what they were: they have to be taken anew. */
  isLost(): boolean;
  /** Says so of bytes that somebody else found to be wrong. */
  lose(): void;
  /** One user less; the last one lets the bytes go. */
  release(): Promise<void>;
}

/** The limits of {@link AgentLimits} that a spool keeps. */
export type SpoolLimits = Pick<
  AgentLimits,
  "memoryOutputBytes" | "memoryTotalBytes" | "spoolBytes"
>;

interface Kept {
  readonly sha256: string;
  readonly sizeBytes: number;
  bytes: Uint8Array | undefined;
  users: number;
  isLost: boolean;
}

const HASH_LENGTH = 64;

/**
 * Outputs on their way from ComfyUI to the store; small ones in memory, the others on disk.
 *
 * S1  Whoever makes, moves or deletes the file of a hash, or counts its users, does so in turn: a
 *     file that is being deleted is never handed to the next one who takes equal bytes.
 * S2  Bytes that turn out lost are forgotten at once, so that taking them anew keeps the new ones.
 */
export class Spool {
  readonly #folder: string;
  readonly #limits: SpoolLimits;
  readonly #disk: Disk;
  readonly #kept = new Map<string, Kept>();
  readonly #turns = new Map<string, Promise<unknown>>();
  #usedBytes = 0;
  #memoryBytes = 0;
  #counter = 0;

  /** A spool in a folder of its own. */
  constructor(folder: string, limits: SpoolLimits, disk: Disk = nodeDisk) {
    this.#folder = folder;
    this.#limits = limits;
    this.#disk = disk;
  }

  async start(): Promise<void> {
    await this.#disk.mkdir(this.#folder);
  }

  /** Whether more work may be taken: the bytes kept are under the limit. */
  hasRoom(): boolean {
    return this.#usedBytes < this.#limits.spoolBytes;
  }

  usedBytes(): number {
    return this.#usedBytes;
  }

  /** Takes bytes in while hashing them. Throws what the source or the disk throws, keeping nothing. */
  async take(body: AsyncIterable<Uint8Array>): Promise<SpooledBlob> {
    const { memoryOutputBytes, memoryTotalBytes } = this.#limits;
    const roomInMemory = Math.min(
      memoryOutputBytes,
      Math.max(0, memoryTotalBytes - this.#memoryBytes),
    );
    const temporary = this.#temporary();
    const taken = await takeIn(this.#disk, body, roomInMemory, temporary);
    const { sha256, sizeBytes, bytes } = taken;
    return this.#inTurn(sha256, async () => {
      if (bytes === undefined) {
        if (this.#kept.has(sha256)) await this.#disk.rm(temporary);
        else await this.#disk.rename(temporary, this.#pathOf(sha256));
      }
      return this.#keep(sha256, sizeBytes, bytes);
    });
  }

  /** Bytes that an earlier life left, for a report that names them. */
  async find(sha256: string): Promise<SpooledBlob | undefined> {
    return this.#inTurn(sha256, async () => {
      if (this.#kept.has(sha256)) return this.#keep(sha256, 0, undefined);
      const size = await this.#disk.size(this.#pathOf(sha256)).catch(() => undefined);
      return size === undefined ? undefined : this.#keep(sha256, size, undefined);
    });
  }

  /** Deletes what earlier lives left and no report names. */
  async keepOnly(hashes: ReadonlySet<string>): Promise<void> {
    for (const name of await this.#disk.readdir(this.#folder)) {
      const isNamed = hashes.has(name) || this.#kept.has(name);
      if (name.length === HASH_LENGTH && isNamed) continue;
      if (name.length === HASH_LENGTH || name.startsWith("tmp-")) {
        await this.#disk.rm(join(this.#folder, name));
      }
    }
  }

  #pathOf(sha256: string): string {
    return join(this.#folder, sha256);
  }

  #temporary(): string {
    this.#counter += 1;
    return join(this.#folder, `tmp-${this.#counter}`);
  }

  /** Adds bytes that are complete; equal bytes are kept once. */
  #keep(sha256: string, sizeBytes: number, bytes: Uint8Array | undefined): SpooledBlob {
    const known = this.#kept.get(sha256);
    if (known !== undefined) {
      known.users += 1;
      return this.#handle(known);
    }
    const blob: Kept = { sha256, sizeBytes, bytes, users: 1, isLost: false };
    this.#kept.set(sha256, blob);
    this.#usedBytes += sizeBytes;
    if (bytes !== undefined) this.#memoryBytes += sizeBytes;
    return this.#handle(blob);
  }

  #handle(blob: Kept): SpooledBlob {
    let isReleased = false;
    return {
      sha256: blob.sha256,
      sizeBytes: blob.sizeBytes,
      open: () => readKept(blob, this.#disk, this.#pathOf(blob.sha256), () => this.#lose(blob)),
      toDisk: () => this.#inTurn(blob.sha256, () => this.#toDisk(blob)),
      isLost: () => blob.isLost,
      lose: () => this.#lose(blob),
      release: async () => {
        if (isReleased) return;
        isReleased = true;
        await this.#inTurn(blob.sha256, () => this.#release(blob));
      },
    };
  }

  async #toDisk(blob: Kept): Promise<void> {
    const { bytes } = blob;
    if (bytes === undefined || this.#kept.get(blob.sha256) !== blob) return;
    const temporary = this.#temporary();
    await this.#disk.writeFile(temporary, bytes);
    await this.#disk.rename(temporary, this.#pathOf(blob.sha256));
    if (this.#forgetMemory(blob)) blob.bytes = undefined;
  }

  #forgetMemory(blob: Kept): boolean {
    if (blob.bytes === undefined || this.#kept.get(blob.sha256) !== blob) return false;
    this.#memoryBytes -= blob.sizeBytes;
    return true;
  }

  /** S2. */
  #lose(blob: Kept): void {
    blob.isLost = true;
    if (this.#kept.get(blob.sha256) !== blob) return;
    this.#forgetMemory(blob);
    this.#kept.delete(blob.sha256);
    this.#usedBytes -= blob.sizeBytes;
  }

  /** S1. */
  #inTurn<T>(sha256: string, run: () => Promise<T>): Promise<T> {
    const mine = (this.#turns.get(sha256) ?? Promise.resolve()).then(run);
    const done = mine
      .catch(() => undefined) // The caller is told.
      .then(() => {
        if (this.#turns.get(sha256) === done) this.#turns.delete(sha256);
      });
    this.#turns.set(sha256, done);
    return mine;
  }

  async #release(blob: Kept): Promise<void> {
    blob.users -= 1;
    if (blob.users > 0 || this.#kept.get(blob.sha256) !== blob) return;
    this.#kept.delete(blob.sha256);
    this.#usedBytes -= blob.sizeBytes;
    if (blob.bytes === undefined) await this.#disk.rm(this.#pathOf(blob.sha256));
    else this.#memoryBytes -= blob.sizeBytes;
  }
}

/** Reads a source to its end: into memory while it is small, into a file from there on. */
async function takeIn(
  disk: Disk,
  body: AsyncIterable<Uint8Array>,
  roomInMemory: number,
  temporary: string,
): Promise<{ sha256: string; sizeBytes: number; bytes: Uint8Array | undefined }> {
  const hash = createHash("sha256");
  let pieces: Uint8Array[] = [];
  let sizeBytes = 0;
  let file: OpenFile | undefined;
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
      file = await disk.open(temporary);
      await file.writeFile(Buffer.concat(pieces));
      pieces = [];
    }
    await file?.close();
  } catch (error) {
    await file?.close().catch(() => undefined); // The first failure is the one to tell.
    await disk.rm(temporary);
    throw error;
  }
  const bytes = file === undefined ? Buffer.concat(pieces) : undefined;
  return { sha256: hash.digest("hex"), sizeBytes, bytes };
}

async function* readKept(
  blob: Kept,
  disk: Disk,
  path: string,
  onLost: () => void,
): AsyncGenerator<Uint8Array> {
  if (blob.bytes !== undefined) {
    yield blob.bytes;
    return;
  }
  let sizeBytes = 0;
  const pieces = disk.read(path)[Symbol.asyncIterator]();
  // By hand: what a reader that breaks off throws into this generator says nothing of the disk.
  const next = (): Promise<IteratorResult<Uint8Array>> =>
    pieces.next().catch((error: unknown) => {
      onLost();
      throw error;
    });
  try {
    for (let piece = await next(); piece.done !== true; piece = await next()) {
      sizeBytes += piece.value.length;
      yield piece.value;
    }
  } finally {
    await pieces.return?.();
  }
  if (sizeBytes === blob.sizeBytes) return;
  onLost();
  throw new Error(`${sizeBytes} of ${blob.sizeBytes} bytes are on disk`);
}
