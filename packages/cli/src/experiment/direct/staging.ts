import { createHash } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { HoldfastError, type BlobSource } from "@holdfast/contract";
import { makeFolder } from "@holdfast/runtime/host";

/** Bytes that are on this disk and have no name of their own yet, by their hash. */
export interface Staging {
  pathOf(sha256: string): string;
  /** Resolves when they are on the disk and have the hash that was announced. */
  put(source: BlobSource): Promise<void>;
}

/** A staging folder, emptied: what an earlier process left in it is fetched again. */
export async function openStaging(folder: string): Promise<Staging> {
  await rm(folder, { recursive: true, force: true });
  await makeFolder(folder);
  const pathOf = (sha256: string): string => join(folder, sha256);
  const held = new Set<string>();
  let count = 0;
  return {
    pathOf,
    async put(source) {
      if (held.has(source.sha256)) return;
      const partial = join(folder, `.${String((count += 1))}.part`);
      const file = await open(partial, "w");
      const hash = createHash("sha256");
      try {
        for await (const piece of source.open()) {
          hash.update(piece);
          await file.writeFile(piece);
        }
        await file.sync();
      } finally {
        await file.close();
      }
      if (hash.digest("hex") !== source.sha256) {
        await rm(partial, { force: true });
        throw new HoldfastError("checksum_mismatch", "other bytes came than were announced");
      }
      await rename(partial, pathOf(source.sha256));
      held.add(source.sha256);
    },
  };
}
