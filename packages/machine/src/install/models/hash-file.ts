import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open } from "node:fs/promises";

/** A quarter of a millisecond of hashing, so that others get their turn between. */
const READ_BYTES = 256 * 1024;

/** What tells one content of a path from another without reading it. */
export interface FileIdentity {
  readonly sizeBytes: number;
  /** Nanoseconds as decimal digits: more than a number holds. */
  readonly mtimeNs: string;
  readonly inode: string;
}

/** How a file is hashed. */
export interface HashFileOptions {
  readonly signal: AbortSignal;
  /** After each piece, with all that was read until then. What it returns is waited for. */
  readonly onRead?: (doneBytes: number, totalBytes: number) => Promise<void> | undefined;
}

/**
 * The SHA-256 of a file, and what it was when it was read; null when it changed meanwhile. Throws
 * what the disk throws, and the signal's reason.
 */
export async function hashFile(
  path: string,
  { signal, onRead }: HashFileOptions,
): Promise<{ readonly sha256: string; readonly identity: FileIdentity } | null> {
  // Without waiting: a pipe without a writer would never open.
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const before = toIdentity(await handle.stat({ bigint: true }));
    if (before === null) throw new Error(`${path} is no file`);
    const hash = createHash("sha256");
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    let done = 0;
    for (;;) {
      signal.throwIfAborted();
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, done);
      if (bytesRead === 0) break;
      hash.update(buffer.subarray(0, bytesRead));
      done += bytesRead;
      const rest = onRead?.(done, before.sizeBytes);
      if (rest !== undefined) await rest;
    }
    const after = toIdentity(await handle.stat({ bigint: true }));
    if (after === null || !isSameFile(before, after) || done !== before.sizeBytes) return null;
    return { sha256: hash.digest("hex"), identity: before };
  } finally {
    await handle.close();
  }
}

/** The identity in what `stat` says (with `bigint`); null for what is no file. */
export function toIdentity(facts: {
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ino: bigint;
  isFile(): boolean;
}): FileIdentity | null {
  if (!facts.isFile()) return null;
  return {
    sizeBytes: Number(facts.size),
    mtimeNs: String(facts.mtimeNs),
    inode: String(facts.ino),
  };
}

/** Whether nothing says that the content changed. */
export function isSameFile(a: FileIdentity, b: FileIdentity): boolean {
  return a.sizeBytes === b.sizeBytes && a.mtimeNs === b.mtimeNs && a.inode === b.inode;
}
