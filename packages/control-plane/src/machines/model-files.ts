/** What model files say of themselves on a whole fleet. */
import type { ModelFile, ModelFiles } from "@holdfast/recovery";
import type { InventoryIndex } from "./model.ts";

/** The files of a fleet, as far as nobody contradicts: a name may be of one file here, another there. */
export interface FleetFiles {
  readonly files: ReadonlyMap<string, ModelFile>;
  /** Hashes that more than one name has: only those can tell that two names are of one file. */
  readonly sharedHashes: ReadonlySet<string>;
}

/** Brings together what the inventories tell. Takes its time where there are many files: keep it. */
export function mergeFiles(inventories: readonly InventoryIndex[]): FleetFiles {
  const files = new Map<string, ModelFile>();
  for (const { modelFiles } of inventories) {
    for (const [key, file] of modelFiles) {
      const before = files.get(key);
      files.set(key, before === undefined ? file : agreement(before, file));
    }
  }
  const seen = new Set<string>();
  const sharedHashes = new Set<string>();
  for (const { tensorHash } of files.values()) {
    if (tensorHash === null) continue;
    if (seen.has(tensorHash)) sharedHashes.add(tensorHash);
    seen.add(tensorHash);
  }
  return { files, sharedHashes };
}

/** {@link mergeFiles} that keeps its last answer: a fleet changes less often than jobs fail. */
export function createFilesMerger(): typeof mergeFiles {
  let last: { readonly of: string; readonly merged: FleetFiles } | undefined;
  return (inventories) => {
    const of = inventories.map(({ digest }) => digest).join();
    if (last?.of !== of) last = { of, merged: mergeFiles(inventories) };
    return last.merged;
  };
}

/**
 * The files as these places see them: where one of them has a file and does not tell its hash, the hash
 * proves nothing.
 */
export function filesAt(fleet: () => FleetFiles, places: readonly InventoryIndex[]): ModelFiles {
  const here = [...new Set(places)];
  return {
    get(key) {
      const { files, sharedHashes } = fleet();
      const file = files.get(key);
      if (file === undefined || file.tensorHash === null) return file;
      if (!sharedHashes.has(file.tensorHash)) return file;
      const isDoubted = here.some(
        ({ models, modelFiles }) =>
          models.has(key) && (modelFiles.get(key)?.tensorHash ?? null) === null,
      );
      return isDoubted ? { ...file, tensorHash: null } : file;
    },
  };
}

/** What two instances say alike; what differs is not known. */
function agreement(one: ModelFile, two: ModelFile): ModelFile {
  return {
    family: one.family === two.family ? one.family : null,
    tensorHash: one.tensorHash === two.tensorHash ? one.tensorHash : null,
    sizeBytes: one.sizeBytes === two.sizeBytes ? one.sizeBytes : null,
  };
}
