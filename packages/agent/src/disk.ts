import { createReadStream } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";

/** A file that is being written. */
export interface OpenFile {
  writeFile(bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/**
 * The calls to the disk that an agent makes, named as in `node:fs`, with its codes (`ENOENT`,
 * `ENOSPC`). A test puts a disk in their place that fails, or is no disk at all.
 */
export interface Disk {
  /** Makes the folder, and those above it. */
  mkdir(folder: string): Promise<void>;
  readdir(folder: string): Promise<string[]>;
  readFile(path: string): Promise<string>;
  writeFile(path: string, content: string | Uint8Array): Promise<void>;
  /** Opens a new file for writing. */
  open(path: string): Promise<OpenFile>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; one that is not there counts as removed. */
  rm(path: string): Promise<void>;
  /** Bytes of a file. */
  size(path: string): Promise<number>;
  /** The bytes of a file; reading throws what the disk throws. */
  read(path: string): AsyncIterable<Uint8Array>;
}

/** The machine's disk. */
export const nodeDisk: Disk = {
  mkdir: async (folder) => void (await mkdir(folder, { recursive: true })),
  readdir: (folder) => readdir(folder),
  readFile: (path) => readFile(path, "utf8"),
  writeFile: (path, content) => writeFile(path, content),
  open: (path) => open(path, "w"),
  rename: (from, to) => rename(from, to),
  rm: (path) => rm(path, { force: true }),
  size: async (path) => (await stat(path)).size,
  read: (path) => createReadStream(path),
};
