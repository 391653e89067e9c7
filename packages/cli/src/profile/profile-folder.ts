/** The folder of one profiling: `<root>/comfyui/profiling/YYYY-MM-DD`, and `-2`, `-3` … of the same day. */
import { appendFile, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";

/** I1: a folder that was there before is never written into. */
export interface ProfileFolder {
  readonly path: string;
  write(name: string, text: string): Promise<void>;
  append(name: string, text: string): Promise<void>;
  /** For one in which nothing was measured. */
  remove(): Promise<void>;
}

const A_DAY_MAX = 1_000;

/** Makes it. Throws {@link CommandFailure} where that cannot be. */
export async function openProfileFolder(root: string, nowMs: number): Promise<ProfileFolder> {
  const parent = join(root, "comfyui", "profiling");
  const day = localDay(nowMs);
  try {
    await mkdir(parent, { recursive: true });
    for (let number = 1; number <= A_DAY_MAX; number += 1) {
      const path = join(parent, number === 1 ? day : `${day}-${number}`);
      const isMade = await mkdir(path).then(
        () => true,
        (error: NodeJS.ErrnoException) => {
          if (error.code === "EEXIST") return false;
          throw error;
        },
      );
      if (isMade) return folderAt(path);
    }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `--root: ${parent} cannot be written: ${reason}. Nothing was sent.`;
    throw new CommandFailure(EXIT.refused, message, { cause });
  }
  throw new CommandFailure(EXIT.refused, `${parent} has ${A_DAY_MAX} folders of ${day} already`);
}

function folderAt(path: string): ProfileFolder {
  return {
    path,
    write: (name, text) => writeFile(join(path, name), text),
    append: (name, text) => appendFile(join(path, name), text),
    remove: () => rm(path, { recursive: true }),
  };
}

/** The day as the clock on the wall has it. */
function localDay(nowMs: number): string {
  const date = new Date(nowMs);
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
