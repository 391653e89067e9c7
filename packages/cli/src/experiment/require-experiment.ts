import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { ABOUT_FILE, readAbout } from "./folder/about-file.ts";

/** The folder of an experiment's results. Throws {@link CommandFailure} when it is none. */
export async function requireExperiment(path: string): Promise<string> {
  const folder = resolve(path);
  if ((await readAbout(folder)) !== undefined) return folder;
  const isFolder = (await stat(folder).catch(() => undefined))?.isDirectory() === true;
  const found = isFolder ? `there is no ${ABOUT_FILE} in it` : "there is no such folder";
  throw new CommandFailure(
    EXIT.refused,
    `${path}: expected a folder that experiment run has made, and ${found}. ` +
      "holdfast experiment list shows those there are.",
  );
}
