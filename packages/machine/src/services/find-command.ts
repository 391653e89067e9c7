import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { delimiter, isAbsolute, join, resolve } from "node:path";

/** Where a command was found, or why it was not. */
export type FoundCommand =
  | { readonly kind: "found"; readonly path: string }
  | { readonly kind: "missing"; readonly reason: string };

/** Folders of a search path that are looked through. */
const FOLDERS_MAX = 100;

/**
 * Finds a program as a shell would: a path is taken as it is (a relative one below `cwd`), a bare name
 * is looked for in the folders of `searchPath`. It has to be a file that may be run.
 */
export async function findCommand(
  command: string,
  cwd: string,
  searchPath: string,
): Promise<FoundCommand> {
  if (isAbsolute(command) || command.includes("/")) {
    const path = resolve(cwd, command);
    return (await isExecutable(path))
      ? { kind: "found", path }
      : { kind: "missing", reason: `${path} is not a file that may be run` };
  }
  const folders = searchPath.split(delimiter).filter(isAbsolute).slice(0, FOLDERS_MAX);
  for (const folder of folders) {
    const path = join(folder, command);
    if (await isExecutable(path)) return { kind: "found", path };
  }
  return {
    kind: "missing",
    reason: `no program ${command} in ${folders.join(delimiter) || "an empty PATH"}: install it, or name it by its whole path`,
  };
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
