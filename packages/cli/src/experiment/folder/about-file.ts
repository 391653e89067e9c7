import { open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

/** Name of the file that says what a folder of results is of. */
export const ABOUT_FILE = "experiment.json";

const aboutSchema = z.looseObject({
  version: z.literal(1),
  name: z.string(),
  /** SHA-256 of the experiment's file and its graph. */
  specHash: z.string(),
  /** Of the last `run`. */
  count: z.int().min(1),
  createdAt: z.string(),
  holdfastVersion: z.string(),
  /** Where it was rendered last, without user and password. */
  target: z.string(),
  /** MLflow's address of the last `run`, without user and password; null without MLflow. */
  mlflow: z.string().nullable(),
});

/** What a folder of results is of. */
export type AboutExperiment = z.infer<typeof aboutSchema>;

/** Undefined where the folder has none, or one that is none. */
export async function readAbout(folder: string): Promise<AboutExperiment | undefined> {
  try {
    const parsed = aboutSchema.safeParse(
      JSON.parse(await readFile(join(folder, ABOUT_FILE), "utf8")),
    );
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined; // Told by whoever asked: there is no experiment in the folder.
  }
}

/** Writes it whole or not at all. */
export async function writeAbout(folder: string, about: AboutExperiment): Promise<void> {
  await writeWhole(join(folder, ABOUT_FILE), `${JSON.stringify(about, null, 2)}\n`);
}

/** Replaces a file so that a crash leaves the old one or the new one. */
export async function writeWhole(path: string, text: string): Promise<void> {
  const partial = `${path}.part`;
  const file = await open(partial, "w");
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(partial, path);
}
