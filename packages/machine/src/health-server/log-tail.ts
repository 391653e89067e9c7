/** The end of a log file, without reading what stands before it. */
import { open, type FileHandle } from "node:fs/promises";

/** What stands at the end of a file. */
export interface LogTail {
  /** Whole lines, as they are in the file; the last one may not have ended yet. */
  readonly bytes: Buffer;
  /** More stands before them. */
  readonly isTruncated: boolean;
  readonly sizeBytes: number;
  /** Epoch ms of the last change. */
  readonly modifiedAt: number;
  /** Where the bytes end, and in which file: to read on from there. */
  readonly position: LogPosition;
}

/** A place in one file, whatever it is called by now. */
export interface LogPosition {
  readonly device: number;
  readonly inode: number;
  readonly offset: number;
}

/** How much. Whichever is reached first ends it. */
export interface TailLimits {
  readonly maxLines: number;
  readonly maxBytes: number;
}

const CHUNK_BYTES = 64 * 1024;
const NEWLINE = 0x0a;

/** Reads the last lines of a file; undefined when there is none. */
export async function readTail(path: string, limits: TailLimits): Promise<LogTail | undefined> {
  const handle = await open(path, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (handle === undefined) return undefined;
  try {
    const { size, mtimeMs, dev, ino, isFile } = await statOf(handle);
    if (!isFile) return undefined;
    const { bytes, from } = await readBackwards(handle, size, limits);
    return {
      bytes,
      isTruncated: from > 0,
      sizeBytes: size,
      modifiedAt: Math.trunc(mtimeMs),
      position: { device: dev, inode: ino, offset: from + bytes.length },
    };
  } finally {
    await handle.close();
  }
}

async function statOf(handle: FileHandle) {
  const info = await handle.stat();
  const { size, mtimeMs, dev, ino } = info;
  return { size, mtimeMs, dev, ino, isFile: info.isFile() };
}

async function readBackwards(
  handle: FileHandle,
  size: number,
  { maxLines, maxBytes }: TailLimits,
): Promise<{ readonly bytes: Buffer; readonly from: number }> {
  const chunks: Buffer[] = [];
  const floor = Math.max(0, size - maxBytes);
  let from = size;
  let newlines = 0;
  // One newline more than lines: the one that ends the line before the first wanted one.
  while (from > floor && newlines <= maxLines) {
    const length = Math.min(CHUNK_BYTES, from - floor);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, from - length);
    // Shorter than it was a moment ago: rotated by truncation under us. What was read is lost with it.
    if (bytesRead < length) return { bytes: Buffer.alloc(0), from: 0 };
    chunks.unshift(buffer);
    from -= length;
    newlines += countNewlines(buffer);
  }
  const bytes = Buffer.concat(chunks);
  const start = startOfLines(bytes, maxLines, from === 0);
  return { bytes: bytes.subarray(start), from: from + start };
}

function countNewlines(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) count += 1;
  return count;
}

/** Where the last lines begin. A line cut by the limit is left out, unless there is no other. */
function startOfLines(bytes: Buffer, maxLines: number, isWhole: boolean): number {
  if (maxLines === 0) return bytes.length;
  let at = bytes.length;
  // A newline at the very end ends the last line, and begins none.
  if (bytes.at(-1) === NEWLINE) at -= 1;
  for (let lines = 0; lines < maxLines; lines += 1) {
    const before = at === 0 ? -1 : bytes.lastIndexOf(NEWLINE, at - 1);
    if (before === -1) {
      if (isWhole) return 0;
      const afterCut = bytes.indexOf(NEWLINE) + 1;
      const hasOther = afterCut > 0 && afterCut < bytes.length;
      return hasOther ? afterCut : startOfCharacter(bytes);
    }
    at = before;
  }
  return at + 1;
}

/** Past the bytes of a character whose beginning was cut off. */
function startOfCharacter(bytes: Buffer): number {
  let at = 0;
  while (at < 3 && at < bytes.length && ((bytes[at] ?? 0) & 0xc0) === 0x80) at += 1;
  return at;
}
