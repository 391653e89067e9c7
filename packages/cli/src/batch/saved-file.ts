/** Files that are there whole or not at all. */
import { link, open, rename, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";

/** Bytes of a file's end that are given back. */
const TAIL_BYTES = 4096;

/** Where to write, and whether what is there may be replaced. */
export interface SavedFileOptions {
  readonly path: string;
  readonly force: boolean;
}

/** What was written. */
export interface SavedFile {
  readonly sizeBytes: number;
  /** The last bytes. */
  readonly tail: Buffer;
}

/** Throws {@link CommandFailure} where a file is that may not be replaced: before anything is fetched. */
export async function assertFree({ path, force }: SavedFileOptions): Promise<void> {
  if (force) return;
  const found = await stat(path).catch(() => undefined);
  if (found !== undefined) throw taken(path);
}

/** A name that is taken, as the end of a command. */
export function taken(path: string): CommandFailure {
  return new CommandFailure(EXIT.refused, `${path} is there already; --force replaces it`);
}

/**
 * Writes a file as its bytes come, under another name until all are there and `isWhole` says so. Throws
 * {@link CommandFailure} otherwise, and leaves nothing behind.
 */
export async function saveFile(
  bytes: AsyncIterable<Uint8Array>,
  options: SavedFileOptions,
  isWhole: (file: SavedFile) => boolean = () => true,
): Promise<SavedFile> {
  const path = resolve(options.path);
  const partial = join(dirname(path), `.holdfast-${process.pid}.part`);
  try {
    const file = await writeAll(bytes, partial);
    if (!isWhole(file)) throw cut();
    if (options.force) await rename(partial, path);
    else await placeNew(partial, path);
    return file;
  } finally {
    await rm(partial, { force: true });
  }
}

async function writeAll(bytes: AsyncIterable<Uint8Array>, path: string): Promise<SavedFile> {
  const file = await open(path, "w").catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CommandFailure(EXIT.failed, `cannot write there: ${reason}`, { cause });
  });
  let sizeBytes = 0;
  let tail: Buffer = Buffer.alloc(0);
  try {
    const pieces = bytes[Symbol.asyncIterator]();
    for (;;) {
      const piece = await pieces.next().catch((cause: unknown) => {
        throw cut(cause);
      });
      if (piece.done === true) return { sizeBytes, tail };
      sizeBytes += piece.value.length;
      tail = Buffer.concat([tail, piece.value.subarray(-TAIL_BYTES)]).subarray(-TAIL_BYTES);
      await file.writeFile(piece.value);
    }
  } finally {
    await file.close();
  }
}

function cut(cause?: unknown): CommandFailure {
  return new CommandFailure(
    EXIT.unavailable,
    "the connection was cut before all of it was there; nothing was written. Try again",
    { cause },
  );
}

async function placeNew(partial: string, path: string): Promise<void> {
  try {
    await link(partial, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") throw taken(path);
    // A file system without links: nobody else writes there in this moment, or it was looked at before.
    await rename(partial, path);
  }
}
