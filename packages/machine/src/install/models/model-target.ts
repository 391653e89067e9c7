/**
 * Where a model file goes: names that are safe below the model root, and no way out of it by a link.
 */
import { lstat, mkdir, realpath, stat } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { downloadFailure, type DownloadFailure } from "./download-failure.ts";
import { PARTIAL_FOLDER } from "./part-store.ts";

/** A model by its folder and name, as the manifest and ComfyUI name it. */
export interface ModelName {
  readonly folder: string;
  readonly name: string;
}

/** Longest name of a file or folder that Linux takes, in bytes. */
const PART_MAX = 255;
/** Of a whole path below the root; the root's own length comes to it. */
const PATH_MAX = 1_024;

/** A model in one text: `checkpoints/sub/x.safetensors`. */
export function modelKey({ folder, name }: ModelName): string {
  return `${folder}/${name}`;
}

/** Why a folder or name must not be used, in words; null for a safe one. */
export function unsafeReason(model: ModelName): string | null {
  for (const [what, text] of [
    ["folder", model.folder],
    ["name", model.name],
  ] as const) {
    const quoted = JSON.stringify(text.slice(0, 200));
    if (text === "" || text.startsWith("/") || /^[A-Za-z]:/.test(text)) {
      return `the ${what} ${quoted} is no relative path`;
    }
    // oxlint-disable-next-line no-control-regex -- these are what is looked for
    if (/[\\\u0000-\u001f\u007f]/.test(text))
      return `the ${what} ${quoted} holds a character that no file name should`;
    for (const part of text.split("/")) {
      if (part === "" || part === "." || part === "..") {
        return `the ${what} ${quoted} has the part ${JSON.stringify(part)}`;
      }
      if (Buffer.byteLength(part) > PART_MAX) return `the ${what} ${quoted} is too long`;
    }
  }
  if (modelKey(model).split("/").includes(PARTIAL_FOLDER)) {
    return `${PARTIAL_FOLDER} is where parts of files are kept`;
  }
  return Buffer.byteLength(modelKey(model)) > PATH_MAX ? "folder and name are too long" : null;
}

/** Two models that cannot both be there. */
export interface ModelCollision {
  readonly first: ModelName;
  readonly second: ModelName;
  readonly reason: string;
}

/**
 * Models of a manifest that would get into each other's way: the same file twice, names that differ in
 * their case alone (one file on many disks and shares), a file where another needs a folder.
 */
export function findCollisions(models: readonly ModelName[]): readonly ModelCollision[] {
  const files = new Map<string, ModelName>();
  const folders = new Map<string, ModelName>();
  const found: ModelCollision[] = [];
  for (const model of models) {
    const path = folded(modelKey(model));
    const same = files.get(path);
    if (same !== undefined) {
      const isEqual = modelKey(same) === modelKey(model);
      const reason = isEqual
        ? "is named twice"
        : "differs from another in upper and lower case alone";
      found.push({ first: same, second: model, reason });
      continue;
    }
    const above = parentsOf(path);
    const inTheWay = folders.get(path) ?? above.map((folder) => files.get(folder)).find(Boolean);
    if (inTheWay !== undefined) {
      found.push({
        first: inTheWay,
        second: model,
        reason: "needs a folder where another is a file",
      });
      continue;
    }
    files.set(path, model);
    for (const folder of above) if (!folders.has(folder)) folders.set(folder, model);
  }
  return found;
}

/** As a disk that does not tell case apart, or composes letters, sees it. */
function folded(path: string): string {
  return path.normalize("NFC").toLowerCase();
}

function parentsOf(path: string): readonly string[] {
  const parts = path.split("/");
  return parts.slice(1).map((_, at) => parts.slice(0, at + 1).join("/"));
}

/** A model's place on the disk. */
export interface ModelTarget {
  readonly path: string;
  readonly parent: string;
  /** The deepest folder above it that is there: what is asked for its disk. */
  readonly existing: string;
}

/** A target, or why there is none. */
export type TargetFound =
  | { readonly kind: "target"; readonly target: ModelTarget }
  | { readonly kind: "failed"; readonly failure: DownloadFailure };

/**
 * The place of a model below a root. Changes nothing. A folder on the way that is a link out of the
 * root is refused: what is fetched there would land in, or replace, somebody else's files.
 */
export async function findTarget(root: string, model: ModelName): Promise<TargetFound> {
  const reason = unsafeReason(model);
  if (reason !== null) return refused(reason);
  const path = join(root, modelKey(model));
  const parent = dirname(path);
  const existing = await deepestExisting(parent);
  const escape = await escapeReason(root, existing);
  if (escape !== null) return refused(escape);
  return { kind: "target", target: { path, parent, existing } };
}

/** Makes the folder of a target, and looks again whether it is below the root. */
export async function prepareTarget(
  root: string,
  target: ModelTarget,
): Promise<DownloadFailure | null> {
  await mkdir(target.parent, { recursive: true });
  const escape = await escapeReason(root, target.parent);
  return escape === null ? null : refused(escape).failure;
}

async function escapeReason(root: string, folder: string): Promise<string | null> {
  // A root that is not there yet has no links in it.
  const realRoot = await realpath(root).catch(() => null);
  if (realRoot === null) return null;
  const real = await realpath(folder).catch(() => null);
  if (real === null) return `${folder} is a link that leads nowhere`;
  // Above the root nothing of the path was made yet, and so nothing leads out of it.
  if (relative(folder, root) === "" || !isInside(root, folder)) return null;
  if (!isInside(realRoot, real)) return `${folder} is a link that leads out of ${root}, to ${real}`;
  return (await stat(real)).isDirectory() ? null : `${folder} is no folder`;
}

/** Whether a path is a folder's or below it; both absolute and without links. */
export function isInside(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way === "" || (way !== ".." && !way.startsWith(`..${sep}`));
}

async function deepestExisting(folder: string): Promise<string> {
  for (let at = folder; ; at = dirname(at)) {
    // A link that leads nowhere is there: it would be followed.
    const isThere = await lstat(at).then(
      () => true,
      () => false,
    );
    if (isThere || at === dirname(at)) return at;
  }
}

function refused(reason: string): Extract<TargetFound, { kind: "failed" }> {
  const failure = downloadFailure(
    "target_refused",
    reason,
    "Correct folder and name of the model in machine.yaml; models elsewhere belong under modelFolders.extraPaths.",
  );
  return { kind: "failed", failure };
}
