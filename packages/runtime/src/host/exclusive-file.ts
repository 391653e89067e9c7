import { link, rm, writeFile } from "node:fs/promises";

let counter = 0;

/** Errors of file systems that have no hard links (exFAT, some network and container mounts). */
const NO_LINKS = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

/**
 * Makes a file with this text unless there is one; whoever of many is first wins. Written beside
 * and linked, so it is never seen half written; without hard links, made in place as well as that
 * allows. Readable by the owner alone. False when the file was there.
 */
export async function createExclusively(path: string, text: string): Promise<boolean> {
  const own = `${path}.${process.pid}.${(counter += 1)}`;
  await writeFile(own, text, { mode: 0o600 });
  try {
    await link(own, path);
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (code === "EEXIST") return false;
    if (!NO_LINKS.has(code)) throw error;
    return await createInPlace(path, text);
  } finally {
    await rm(own, { force: true });
  }
}

async function createInPlace(path: string, text: string): Promise<boolean> {
  try {
    await writeFile(path, text, { flag: "wx", mode: 0o600 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}
