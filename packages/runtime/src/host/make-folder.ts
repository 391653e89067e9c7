import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Makes a folder and those above it; one that is there is left as it is. Throws what the disk says.
 * Node's own `mkdir` with `recursive` never ends where a folder that is there takes none, and says that
 * something is missing: below /proc (seen on Node 20.20 and Linux 6.18, with one core busy).
 */
export async function makeFolder(path: string, mode = 0o777): Promise<void> {
  const refusal = await tryMake(path, mode);
  if (refusal === undefined) return;
  const above = dirname(path);
  if (refusal.code !== "ENOENT" || above === path) throw refusal;
  // Somebody else may be making the one above at this moment: that is no reason to give up.
  await makeFolder(above, mode);
  const again = await tryMake(path, mode);
  if (again !== undefined) throw again;
}

/** What the disk says, unless the folder is there afterwards. */
async function tryMake(path: string, mode: number): Promise<NodeJS.ErrnoException | undefined> {
  try {
    await mkdir(path, { mode });
    return undefined;
  } catch (error) {
    return (await isFolder(path)) ? undefined : (error as NodeJS.ErrnoException);
  }
}

async function isFolder(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isDirectory() === true;
}
