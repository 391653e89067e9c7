import { lstat, readdir } from "node:fs/promises";
import type { BigIntStats } from "node:fs";
import { join } from "node:path";

/** What removing some files and folders gives back. */
export interface FreedBytes {
  /** Blocks on the disk; of files whose blocks are shared by copy-on-write, as if they were their own. */
  readonly freedBytes: number;
  /** Of files that other names hold too (uv's cache, another release): these stay on the disk. */
  readonly sharedBytes: number;
}

/** Bytes of a block as `stat` counts them, whatever the file system's own are. */
const BLOCK_BYTES = 512;

/**
 * Makes a measure for things that are all to be removed: a file with several links counts once, with
 * the thing that has its last one. Nothing is read but folders; what is not there counts nothing.
 */
export function createFreedBytes(): (paths: readonly string[]) => Promise<FreedBytes> {
  /** Links that are left of a file of which some were counted. */
  const left = new Map<string, bigint>();
  return async (paths) => {
    let freedBytes = 0;
    /** Of one thing: a file with two links in it is shared once. */
    const shared = new Map<string, number>();
    const count = (info: BigIntStats): void => {
      const bytes = Number(info.blocks) * BLOCK_BYTES;
      if (info.isDirectory() || info.nlink === 1n) {
        freedBytes += bytes;
        return;
      }
      const key = `${info.dev}:${info.ino}`;
      const rest = (left.get(key) ?? info.nlink) - 1n;
      left.set(key, rest);
      shared.set(key, bytes);
      if (rest > 0n) return;
      shared.delete(key);
      freedBytes += bytes;
    };
    for (const path of paths) await walk(path, count);
    return { freedBytes, sharedBytes: [...shared.values()].reduce((sum, one) => sum + one, 0) };
  };
}

async function walk(path: string, count: (info: BigIntStats) => void): Promise<void> {
  // Links are not followed; whoever removes something at the same time makes it count nothing.
  const info = await lstat(path, { bigint: true }).catch(() => undefined);
  if (info === undefined) return;
  count(info);
  if (!info.isDirectory()) return;
  for (const name of await readdir(path).catch(() => [])) await walk(join(path, name), count);
}
