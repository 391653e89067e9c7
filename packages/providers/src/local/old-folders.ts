/** Removes the folders of machines that ended long ago. */
import { readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { machineFolder, type MachineRecord } from "./machine-record.ts";

/** A folder that is being removed has no machine's name any more. */
const REMOVING = ".removing-";

/** The ended ones beyond the latest `keep`, by the time of their end. */
export function outdated(
  records: readonly MachineRecord[],
  keep: number,
): readonly MachineRecord[] {
  return records
    .filter((one) => one.ended !== null)
    .sort((a, b) => (b.ended?.at ?? 0) - (a.ended?.at ?? 0) || (a.name < b.name ? -1 : 1))
    .slice(keep);
}

/**
 * Removes these, and what an earlier removal that was cut off has left. A folder is renamed first: one
 * that is half removed must not be taken for a machine, or be left for ever without its record.
 */
export async function removeFolders(
  root: string,
  records: readonly MachineRecord[],
  signal: AbortSignal,
): Promise<void> {
  for (const { name } of records) {
    const folder = machineFolder(root, name);
    await rename(folder, join(root, `${REMOVING}${name}`)).catch((error: NodeJS.ErrnoException) => {
      // Somebody else has removed it, or an earlier try stands in the way, which goes now.
      if (error.code !== "ENOENT" && error.code !== "ENOTEMPTY" && error.code !== "EEXIST")
        throw error;
    });
  }
  const names = await readdir(root).catch(() => []);
  for (const name of names.filter((one) => one.startsWith(REMOVING))) {
    if (signal.aborted) return;
    await rm(join(root, name), { recursive: true, force: true });
  }
}
