/**
 * The folder of one profiling: `<root>/comfyui/profiling/YYYY-MM-DD`, and `-2`, `-3` … of the same day.
 *
 * I1: a folder that was there before is never written into.
 * I2: a file that cannot be written ends nothing: it is told once, and left alone from then on.
 */
import { appendFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@holdfast/runtime";
import { makeDayFolder } from "../day-folder.ts";

/** See the header. */
export interface ProfileFolder {
  readonly path: string;
  /** Resolves where it fails too (I2); nothing is left of the file then. */
  write(name: string, text: string): Promise<void>;
  /** Resolves where it fails too (I2); what was added before is left. */
  append(name: string, text: string): Promise<void>;
  /** Files that are missing or not whole, and why. */
  failures(): ReadonlyMap<string, string>;
  /** For one in which nothing was measured. */
  remove(): Promise<void>;
}

/** What a file is written by. */
export interface FileCalls {
  writeFile(path: string, text: string): Promise<void>;
  appendFile(path: string, text: string): Promise<void>;
}

/** What it is made of. */
export interface ProfileFolderOptions {
  readonly clock: Pick<Clock, "now">;
  /** Takes the place of `node:fs/promises`. */
  readonly files?: FileCalls;
  /** Hears once of each file that cannot be written, in words. */
  readonly onFailure: (words: string) => void;
}

/** Makes it. Throws `CommandFailure` where that cannot be. */
export async function openProfileFolder(
  root: string,
  options: ProfileFolderOptions,
): Promise<ProfileFolder> {
  const { path } = await makeDayFolder(join(root, "comfyui", "profiling"), options.clock.now());
  return folderAt(path, options);
}

function folderAt(
  path: string,
  { files = { writeFile, appendFile }, onFailure }: ProfileFolderOptions,
): ProfileFolder {
  const failures = new Map<string, string>();
  const tried = async (name: string, call: (file: string) => Promise<void>): Promise<boolean> => {
    if (failures.has(name)) return true;
    try {
      await call(join(path, name));
      return true;
    } catch (error) {
      // Two lines may be on their way at once.
      if (failures.has(name)) return false;
      failures.set(name, reasonOf(error));
      onFailure(`${join(path, name)} cannot be written: ${reasonOf(error)}`);
      return false;
    }
  };
  return {
    path,
    async write(name, text) {
      if (await tried(name, (file) => files.writeFile(file, text))) return;
      // Half a file would be read as a broken one.
      await rm(join(path, name), { force: true }).catch(() => undefined);
    },
    async append(name, text) {
      await tried(name, (file) => files.appendFile(file, text));
    },
    failures: () => failures,
    remove: () => rm(path, { recursive: true }),
  };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
