/**
 * Writes the kept part of a file and hashes it, neither waiting for the other longer than it must.
 *
 * I1. Bytes are written in order and at once: while a write is under way the next ones are gathered,
 *     never more than {@link BUFFER_BYTES}, so that a kill loses less than {@link CHUNK_BYTES}.
 * I2. Every byte of the file goes into the hash once, in order. What was there before is read from the
 *     disk by a follower that runs behind the writer; once it has caught up, bytes are hashed as they come.
 */
import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { DiskRefusal } from "./download-failure.ts";

/** Most that a kill may cost. */
export const CHUNK_BYTES = 1024 * 1024;
/** Gathered in memory; the rest of a chunk is in the buffers of the connection. */
const BUFFER_BYTES = 512 * 1024;
/** Read at a time by the follower: a quarter of a millisecond of hashing, so that others get their turn. */
const READ_BYTES = 256 * 1024;

/** The calls to the disk that a writer makes. */
export type PartHandle = Pick<
  FileHandle,
  "writev" | "read" | "truncate" | "stat" | "sync" | "close"
>;
/** Opens a kept part, and makes it where there is none. A test puts a disk in its place that is full. */
export type OpenPart = (path: string) => Promise<PartHandle>;

/** Opens the file itself, never one that a link leads to. */
export const openPartFile: OpenPart = (path) =>
  open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o666);

/** See the head of this file. */
export class PartWriter {
  readonly #handle: PartHandle;
  #hash: Hash = createHash("sha256");
  /** On the disk. */
  #written: number;
  /** In the hash. */
  #hashed = 0;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #inFlight: readonly Uint8Array[] = [];
  #inFlightBytes = 0;
  #writing: Promise<void> | undefined;
  #following: Promise<void> | undefined;
  #refusal: DiskRefusal | undefined;
  #generation = 0;

  private constructor(handle: PartHandle, sizeBytes: number) {
    this.#handle = handle;
    this.#written = sizeBytes;
  }

  /** Opens a part; what is in it is kept. Throws a {@link DiskRefusal}. */
  static async open(path: string, openPart: OpenPart): Promise<PartWriter> {
    return await onDisk(async () => {
      const handle = await openPart(path);
      try {
        return new PartWriter(handle, (await handle.stat()).size);
      } catch (error) {
        await handle.close();
        throw error;
      }
    });
  }

  /** All that was taken, written or not. */
  get sizeBytes(): number {
    return this.#written + this.#inFlightBytes + this.#pendingBytes;
  }

  /** Whether the disk is being waited for. */
  get isWriting(): boolean {
    return this.#writing !== undefined;
  }

  /** Begins to hash what is there, if it is not hashed yet. Its failure shows at the next call. */
  startHashing(): void {
    if (this.#following !== undefined || this.#isDirect()) return;
    const following = this.#follow(this.#generation).catch((error: unknown) => {
      this.#refusal ??= toRefusal(error);
    });
    this.#following = following.finally(() => {
      this.#following = undefined;
    });
  }

  /** Takes bytes. Resolves when more may come; undefined: at once. Throws a {@link DiskRefusal}. */
  push(chunk: Uint8Array): Promise<void> | undefined {
    if (this.#refusal !== undefined) throw this.#refusal;
    this.startHashing();
    if (this.#isDirect()) {
      this.#hash.update(chunk);
      this.#hashed += chunk.byteLength;
    }
    this.#pending.push(chunk);
    this.#pendingBytes += chunk.byteLength;
    this.#writing ??= this.#writeAll();
    return this.#pendingBytes + this.#inFlightBytes < BUFFER_BYTES ? undefined : this.#writing;
  }

  /** Resolves when everything is written. Throws a {@link DiskRefusal}. */
  async flush(): Promise<void> {
    await this.#writing;
    if (this.#refusal !== undefined) throw this.#refusal;
  }

  /** Empties the file, and begins the hash anew. */
  async restart(): Promise<void> {
    await this.flush();
    this.#generation += 1;
    await this.#following;
    await onDisk(() => this.#handle.truncate(0));
    this.#hash = createHash("sha256");
    this.#hashed = 0;
    this.#written = 0;
  }

  /** The SHA-256 of the whole file, when all of it is written and hashed. More may follow. */
  async digest(): Promise<string> {
    await this.flush();
    this.startHashing();
    await this.#following;
    if (this.#refusal !== undefined) throw this.#refusal;
    return this.#hash.copy().digest("hex");
  }

  /** Resolves when the file would survive a power cut. */
  async sync(): Promise<void> {
    await this.flush();
    await onDisk(() => this.#handle.sync());
  }

  /** Ends the writer; what it took is written first, if the disk takes it. */
  async close(): Promise<void> {
    await this.#writing;
    this.#generation += 1;
    await this.#following;
    await this.#handle.close();
  }

  #isDirect(): boolean {
    return this.#hashed === this.sizeBytes;
  }

  /** Writes until nothing is left. Never rejects: a refusal shows at the next call. */
  async #writeAll(): Promise<void> {
    try {
      while (this.#pendingBytes > 0 && this.#refusal === undefined) {
        this.#inFlight = this.#pending;
        this.#inFlightBytes = this.#pendingBytes;
        this.#pending = [];
        this.#pendingBytes = 0;
        await writeWhole(this.#handle, this.#inFlight, this.#written);
        this.#written += this.#inFlightBytes;
        this.#inFlight = [];
        this.#inFlightBytes = 0;
      }
    } catch (error) {
      this.#refusal ??= toRefusal(error);
    } finally {
      this.#writing = undefined;
    }
  }

  async #follow(generation: number): Promise<void> {
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    while (generation === this.#generation) {
      if (this.#hashed === this.#written) {
        // What is left is in memory: from here on bytes are hashed as they come.
        for (const chunk of [...this.#inFlight, ...this.#pending]) this.#hash.update(chunk);
        this.#hashed = this.sizeBytes;
        return;
      }
      const length = Math.min(READ_BYTES, this.#written - this.#hashed);
      const { bytesRead } = await this.#handle.read(buffer, 0, length, this.#hashed);
      if (bytesRead === 0) throw new Error("the kept part became shorter");
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.#hashed += bytesRead;
    }
  }
}

async function writeWhole(
  handle: PartHandle,
  chunks: readonly Uint8Array[],
  at: number,
): Promise<void> {
  let left = [...chunks];
  let position = at;
  while (left.length > 0) {
    const { bytesWritten } = await handle.writev(left, position);
    if (bytesWritten === 0) throw new Error("the disk took nothing");
    position += bytesWritten;
    left = without(left, bytesWritten);
  }
}

/** The chunks without so many bytes at their beginning: the system may write less than was asked. */
function without(chunks: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let skipped = bytes;
  return chunks.flatMap((chunk) => {
    const skip = Math.min(skipped, chunk.byteLength);
    skipped -= skip;
    return skip === chunk.byteLength ? [] : [chunk.subarray(skip)];
  });
}

/** Runs calls to the disk; what they throw is a {@link DiskRefusal}. */
export async function onDisk<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw toRefusal(error);
  }
}

function toRefusal(error: unknown): DiskRefusal {
  return error instanceof DiskRefusal ? error : new DiskRefusal(error);
}
