import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Release } from "./model.ts";
import {
  environmentFolderOf,
  OPTIONS_FILE,
  optionsIn,
  type ReleaseTraits,
} from "./process-spec.ts";

/**
 * Reads what a start needs to know of a release. A file that is not there is an answer; one that
 * cannot be read throws, because guessing would change the digest and restart every instance.
 */
export async function readReleaseTraits(release: Release): Promise<ReleaseTraits> {
  const options = await readIfThere(join(release.comfyuiFolder, OPTIONS_FILE));
  const folder = environmentFolderOf(release.python);
  const config = await readIfThere(join(folder, "pyvenv.cfg"));
  return {
    options: options === undefined ? null : optionsIn(options),
    virtualEnv: config === undefined ? null : folder,
  };
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new Error(
      `expected to read ${path} of the release, but: ${(error as Error).message}. ` +
        "Give the agent's account the right to read the release.",
      { cause: error },
    );
  }
}
