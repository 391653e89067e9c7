/** What is written into log files from now on, also after they were renamed, truncated or made anew. */
import { open, stat, type FileHandle } from "node:fs/promises";
import type { Clock } from "@holdfast/runtime";
import type { LogPosition } from "./log-tail.ts";

/** A piece of what was written. */
export interface LogPiece {
  readonly path: string;
  readonly bytes: Buffer;
}

/** What to follow, and from where. */
export interface FollowedFile {
  readonly path: string;
  /** Undefined: the file was not there, all of it is new. */
  readonly from: LogPosition | undefined;
}

/** How to follow. */
export interface FollowOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly pollMs?: number;
}

const DEFAULT_POLL_MS = 500;
const CHUNK_BYTES = 64 * 1024;

/**
 * Gives what is written, as fast as it is taken, until the signal is aborted. By looking again and
 * again rather than by watching: that works on network disks, and misses nothing at a rotation.
 */
export async function* followLogs(
  files: readonly FollowedFile[],
  options: FollowOptions,
): AsyncGenerator<LogPiece, void, undefined> {
  const { clock, signal } = options;
  const cursors = files.map(createCursor);
  try {
    while (!signal.aborted) {
      let hasMore = false;
      for (const cursor of cursors) {
        const bytes = await cursor.next();
        if (bytes === undefined) continue;
        hasMore = true;
        yield { path: cursor.path, bytes };
      }
      if (hasMore) continue;
      await clock.sleep(options.pollMs ?? DEFAULT_POLL_MS, signal).catch(() => undefined);
    }
  } finally {
    await Promise.all(cursors.map((cursor) => cursor.close()));
  }
}

interface Cursor {
  readonly path: string;
  /** The next bytes; undefined when there are none now. */
  next(): Promise<Buffer | undefined>;
  close(): Promise<void>;
}

function createCursor({ path, from }: FollowedFile): Cursor {
  let handle: FileHandle | undefined;
  let offset = 0;
  let isFirst = true;

  const openFile = async (): Promise<boolean> => {
    handle = await open(path, "r").catch(ifMissing);
    if (handle === undefined) return false;
    const { dev, ino } = await handle.stat();
    const isSame = isFirst && from !== undefined && from.device === dev && from.inode === ino;
    offset = isSame ? from.offset : 0;
    isFirst = false;
    return true;
  };

  const close = async (): Promise<void> => {
    const old = handle;
    handle = undefined;
    await old?.close();
  };

  const read = async (): Promise<Buffer | undefined> => {
    if (handle === undefined) return undefined;
    const { buffer, bytesRead } = await handle.read(
      Buffer.alloc(CHUNK_BYTES),
      0,
      CHUNK_BYTES,
      offset,
    );
    if (bytesRead === 0) return undefined;
    offset += bytesRead;
    return buffer.subarray(0, bytesRead);
  };

  return {
    path,
    async next() {
      if (handle === undefined && !(await openFile())) return undefined;
      // Looked at before the old file is read to its end: what comes in between is not lost.
      const isReplaced = handle !== undefined && (await isOtherFile(handle, path));
      const bytes = await read();
      if (bytes !== undefined || handle === undefined) return bytes;
      if (isReplaced) {
        await close();
        return (await openFile()) ? await read() : undefined;
      }
      // Shorter than what was read: emptied in place, and written anew from its start.
      if ((await handle.stat()).size < offset) offset = 0;
      return await read();
    },
    close,
  };
}

/** Whether another file has the name now. Renamed away with none in its place yet: not so far. */
async function isOtherFile(handle: FileHandle, path: string): Promise<boolean> {
  const now = await stat(path).catch(ifMissing);
  if (now === undefined) return false;
  const ours = await handle.stat();
  return now.ino !== ours.ino || now.dev !== ours.dev;
}

function ifMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
  return undefined;
}
