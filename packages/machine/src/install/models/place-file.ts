import { link, lstat, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { syncFolder } from "./atomic-file.ts";

/** Errors of file systems that have no hard links (exFAT, some network and container mounts). */
const NO_LINKS: ReadonlySet<string> = new Set([
  "EPERM",
  "ENOTSUP",
  "EOPNOTSUPP",
  "ENOSYS",
  "EMLINK",
]);

/**
 * Gives a finished file its name, whole or not at all. `taken`: something of that name came there
 * meanwhile, and `mayReplace` does not allow to put the file in its place.
 */
export async function placeFile(
  from: string,
  to: string,
  mayReplace: boolean,
): Promise<"placed" | "taken"> {
  if (mayReplace) await rename(from, to);
  else if (!(await linkOrRename(from, to))) return "taken";
  await syncFolder(dirname(to));
  return "placed";
}

/** A rename replaces what is there without a word; a link does not. */
async function linkOrRename(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (code === "EEXIST") return false;
    if (!NO_LINKS.has(code)) throw error;
    if (await isThere(to)) return false;
    await rename(from, to);
    return true;
  }
  await rm(from, { force: true });
  return true;
}

/** Whether anything has this name, a link that leads nowhere included. */
async function isThere(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false,
  );
}
