/** What has to be on the disk before a process can be started: checked, and written. */
import { access, constants, mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ecosystemJson, launcherScript, specProblems, startFileName } from "./launcher.ts";
import type { ProcessSpec } from "./model.ts";

/** Throws, all of it in words, when a spec cannot be started. Nothing is changed. */
export async function checkSpec(spec: ProcessSpec): Promise<void> {
  const problems = [...specProblems(spec)];
  if (problems.length === 0) problems.push(...(await missingFiles(spec)));
  if (problems.length === 0) return;
  throw new Error(`${spec.name} cannot be started: ${problems.join("; ")}`);
}

async function missingFiles(spec: ProcessSpec): Promise<readonly string[]> {
  const problems: string[] = [];
  const mayRun = await access(spec.command, constants.X_OK).then(
    () => true,
    () => false,
  );
  if (!mayRun) problems.push(`expected a program at ${spec.command}, found none that may be run`);
  const isFolder = await stat(spec.cwd).then(
    (info) => info.isDirectory(),
    () => false,
  );
  if (!isFolder) problems.push(`expected a folder at ${spec.cwd}`);
  return problems;
}

/**
 * Writes launcher and ecosystem file of a start, and makes the folders of its logs. Answers the path
 * of the ecosystem file from `PM2_HOME`: PM2 takes one that holds `.config.js` anywhere for a program.
 */
export async function writeStartFiles(
  spec: ProcessSpec,
  machine: string,
  pm2Home: string,
): Promise<string> {
  const folder = join(pm2Home, "starts");
  const file = startFileName(spec.name);
  const launcher = join(folder, `${file}.sh`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const log of [spec.outFile, spec.errorFile]) await mkdir(dirname(log), { recursive: true });
  await replaceFile(launcher, launcherScript(spec, machine));
  await replaceFile(join(folder, `${file}.json`), ecosystemJson(spec, machine, launcher));
  return `starts/${file}.json`;
}

/** Removes what {@link writeStartFiles} wrote: it holds the environment's secrets. */
export async function removeStartFiles(name: string, pm2Home: string): Promise<void> {
  for (const end of ["sh", "json"]) {
    await rm(join(pm2Home, "starts", `${startFileName(name)}.${end}`), { force: true });
  }
}

/** Written beside and renamed; the script holds secrets: readable by its owner alone. */
async function replaceFile(path: string, text: string): Promise<void> {
  const fresh = `${path}.${process.pid}.new`;
  await writeFile(fresh, text, { mode: 0o600 });
  await rename(fresh, path);
}
