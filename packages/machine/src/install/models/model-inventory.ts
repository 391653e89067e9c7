/** The model files of a machine by folder, for its report. */
import { opendir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Manifest } from "../../manifest/model.ts";
import type { HashCache } from "./hash-cache.ts";

/** A model file. */
export interface ModelFile {
  /** As ComfyUI names it: `checkpoints`. */
  readonly folder: string;
  /** Below the folder, with `/` between parts. */
  readonly name: string;
  readonly path: string;
  readonly sizeBytes: number;
  /** Null while the file was not read. */
  readonly sha256: string | null;
}

/** Model files, at most as many as asked for. */
export interface ModelFiles {
  /** By folder and name. */
  readonly files: readonly ModelFile[];
  /** More were there. */
  readonly isCut: boolean;
  /** Folders that could not be read, at most {@link UNREADABLE_MAX}. */
  readonly unreadable: readonly string[];
}

/** Where to look. */
export interface ModelPlacesToList {
  readonly root: string;
  readonly extraPaths: Manifest["modelFolders"]["extraPaths"];
}

/** Most files that are listed, unless another number is given. */
export const MODEL_FILES_MAX = 20_000;
const UNREADABLE_MAX = 100;
const DEPTH_MAX = 12;

interface Listing {
  readonly files: Map<string, ModelFile>;
  readonly unreadable: string[];
  readonly max: number;
  readonly hashes: Pick<HashCache, "known">;
  readonly signal: AbortSignal;
  isCut: boolean;
}

/**
 * Lists model files as ComfyUI finds them: links are followed, the first of two of one name counts (that
 * of the root), hidden and empty files (`put_models_here`) are left out. Reads no file.
 */
export async function listModelFiles(
  places: ModelPlacesToList,
  hashes: Pick<HashCache, "known">,
  signal: AbortSignal,
  max = MODEL_FILES_MAX,
): Promise<ModelFiles> {
  const listing: Listing = {
    files: new Map(),
    unreadable: [],
    max,
    hashes,
    signal,
    isCut: false,
  };
  for (const folder of await foldersOf(places.root)) {
    await listFolder(listing, folder, join(places.root, folder), "", []);
  }
  for (const { basePath, folders } of places.extraPaths) {
    for (const [folder, path] of Object.entries(folders)) {
      await listFolder(listing, folder, join(basePath, path), "", []);
    }
  }
  const files = [...listing.files.values()].sort(
    (a, b) => compare(a.folder, b.folder) || compare(a.name, b.name),
  );
  return { files, isCut: listing.isCut, unreadable: listing.unreadable };
}

async function foldersOf(root: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of await namesIn(root).catch(() => [])) {
    const facts = isSkipped(name) ? null : await stat(join(root, name)).catch(() => null);
    if (facts?.isDirectory() === true) found.push(name);
  }
  return found;
}

/** `above`: the real folders on the way here, so that a link back to one of them ends there. */
async function listFolder(
  listing: Listing,
  folder: string,
  path: string,
  below: string,
  above: readonly string[],
): Promise<void> {
  listing.signal.throwIfAborted();
  const real = await realpath(path).catch(() => null);
  if (real === null || above.includes(real) || above.length >= DEPTH_MAX) return;
  const names = await namesIn(path).catch(() => null);
  if (names === null) {
    if (listing.unreadable.length < UNREADABLE_MAX) listing.unreadable.push(path);
    return;
  }
  for (const name of names) {
    if (listing.isCut) return;
    if (isSkipped(name)) continue;
    const at = join(path, name);
    const facts = await stat(at).catch(() => null);
    if (facts === null) continue;
    if (facts.isDirectory()) {
      await listFolder(listing, folder, at, `${below}${name}/`, [...above, real]);
    } else if (facts.isFile() && facts.size > 0) {
      take(listing, { folder, name: `${below}${name}`, path: at, sizeBytes: facts.size });
    }
  }
}

function take(listing: Listing, file: Omit<ModelFile, "sha256">): void {
  const key = `${file.folder}\n${file.name}`;
  if (listing.files.has(key)) return;
  if (listing.files.size >= listing.max) {
    listing.isCut = true;
    return;
  }
  listing.files.set(key, { ...file, sha256: listing.hashes.known(file.path) ?? null });
}

/** In order, so that what is cut off is the same each time. */
async function namesIn(path: string): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const entry of await opendir(path)) names.push(entry.name);
  return names.sort();
}

/** Parts of downloads and `.git` are hidden too. */
function isSkipped(name: string): boolean {
  return name.startsWith(".");
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
