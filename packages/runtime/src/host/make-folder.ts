import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Makes a folder and those above it; one that is there is left as it is. Throws what the disk says.
 * Node's own `mkdir` with `recursive` never ends where a folder that is there takes none, and says that
 * something is missing: below /proc (seen on Node 20.20 and Linux 6.18, with one core busy).
 */
export async function makeFolder(path: string, mode = 0o777): Promise<void> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    const above = dirname(path);
    const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT" && above !== path;
    if (isMissing && !(await isFolder(above))) {
      await makeFolder(above, mode);
      await makeFolder(path, mode);
    } else if (!(await isFolder(path))) {
      throw error;
    }
  }
}

async function isFolder(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isDirectory() === true;
}
