import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

let counter = 0;

/**
 * Writes a text file so that it is seen whole or not at all, also after a power cut: beside it,
 * flushed, then renamed. The folder has to be there.
 */
export async function saveTextAtomically(path: string, text: string, mode = 0o644): Promise<void> {
  const own = `${path}.${process.pid}.${(counter += 1)}.new`;
  try {
    const handle = await open(own, "w", mode);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(own, path);
  } catch (error) {
    await rm(own, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Makes what was renamed in a folder survive a power cut, where the file system can. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  try {
    await handle?.sync();
  } catch {
    // Some network file systems refuse it for folders, and keep them safe by themselves.
  } finally {
    await handle?.close();
  }
}
