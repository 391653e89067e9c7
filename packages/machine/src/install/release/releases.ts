import { readdir, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Release } from "../../instances/model.ts";
import type { MachinePlaces } from "../../machine-places.ts";
import { linkAtOnce, linkTarget, readIfThere, writeWhole } from "../install-files.ts";
import { lockSchema, StepFailure, type MachineLock } from "../model.ts";

/** What is removed is given such a name first, so that a kill never leaves half a release. */
const TRASH = /^\.removed-/;

/** A folder of the releases. */
export interface ReleaseEntry {
  readonly id: string;
  /** Null: half-built. */
  readonly lock: MachineLock | null;
  readonly isCurrent: boolean;
  readonly isPrevious: boolean;
}

/** The releases of a machine, and which one serves. */
export interface Releases {
  folder(id: string): string;
  /** The lock of a complete release; undefined for a half-built one or none. */
  lockOf(id: string): Promise<MachineLock | undefined>;
  currentId(): Promise<string | undefined>;
  previousId(): Promise<string | undefined>;
  list(): Promise<readonly ReleaseEntry[]>;
  /** Writes the lock: from now on the release is complete. */
  complete(lock: MachineLock): Promise<void>;
  /**
   * Makes a complete release the one that serves, at once. The one before is kept as previous, unless
   * that is not worth going back to.
   */
  switchTo(id: string, options?: { readonly keepPrevious?: boolean }): Promise<void>;
  remove(id: string): Promise<void>;
}

const LOCK_FILE = "lock.json";
/** The copy of the serving release's lock, for people. */
export const ROOT_LOCK_FILE = "machine.lock.json";

/** Opens the releases below a machine's places. */
export function openReleases(places: MachinePlaces): Releases {
  const folder = (id: string): string => join(places.releases, id);
  const lockOf = async (id: string): Promise<MachineLock | undefined> => {
    const text = await readIfThere(join(folder(id), LOCK_FILE));
    return text === undefined ? undefined : parseLock(text, id);
  };
  const currentId = (): Promise<string | undefined> => linked(places.current);
  const releases: Releases = {
    folder,
    lockOf,
    currentId,
    previousId: () => linked(places.previous),
    async list() {
      const names = await readdir(places.releases).catch(() => []);
      const [current, previous] = [await currentId(), await linked(places.previous)];
      return await Promise.all(
        names
          .filter((name) => !name.startsWith("."))
          .toSorted()
          .map(async (id) => ({
            id,
            lock: (await lockOf(id)) ?? null,
            isCurrent: id === current,
            isPrevious: id === previous,
          })),
      );
    },
    async complete(lock) {
      await writeWhole(join(folder(lock.release), LOCK_FILE), lockText(lock));
    },
    async switchTo(id, { keepPrevious = false } = {}) {
      const lock = await lockOf(id);
      if (lock === undefined) {
        throw new StepFailure(
          `release ${id} is not complete`,
          "Run the installation again; it goes on where it stopped.",
        );
      }
      const before = await currentId();
      // First the previous one: killed between the two lines, the old one still serves.
      const isWayBack = before !== undefined && before !== id && !keepPrevious;
      if (isWayBack && (await lockOf(before)) !== undefined) {
        await link(places.previous, folder(before));
      }
      await link(places.current, folder(id));
      await writeWhole(join(places.root, ROOT_LOCK_FILE), lockText(lock));
    },
    async remove(id) {
      const removed = join(places.releases, `.removed-${id}`);
      await rm(removed, { recursive: true, force: true });
      await rename(folder(id), removed).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") throw error;
      });
      await rm(removed, { recursive: true, force: true });
    },
  };
  return releases;
}

/** Folders that a killed removal left. */
export async function findTrash(places: MachinePlaces): Promise<readonly string[]> {
  const names = await readdir(places.releases).catch(() => []);
  return names.filter((name) => TRASH.test(name)).map((name) => join(places.releases, name));
}

const linked = async (link: string): Promise<string | undefined> => {
  const target = await linkTarget(link);
  return target === undefined ? undefined : basename(target);
};

function parseLock(text: string, id: string): MachineLock | undefined {
  try {
    const lock = lockSchema.parse(JSON.parse(text));
    return lock.release === id ? lock : undefined;
  } catch {
    // Torn or from another version: the release is made anew, which is always possible.
    return undefined;
  }
}

const lockText = (lock: MachineLock): string => `${JSON.stringify(lock, null, 2)}\n`;

async function link(path: string, target: string): Promise<void> {
  if (await linkAtOnce(path, target)) return;
  throw new StepFailure(
    `${path} is there and is not a link`,
    "Move it away: Holdfast keeps the link to the serving release there.",
  );
}

/** Where ComfyUI is in a release. */
export function comfyuiFolder(releaseFolder: string, lock: Pick<MachineLock, "comfyui">): string {
  return lock.comfyui.adopted ?? join(releaseFolder, "comfyui");
}

/** A complete release as the supervisor starts instances from it. */
export function toRelease(
  lock: MachineLock,
  releaseFolder: string,
  options: {
    readonly extraModelPaths: string | null;
    /** Of the manifest: what a release has to have beside what its packs brought. */
    readonly promised: readonly string[];
  },
): Release {
  const ofPacks = lock.nodes
    .filter((node) => node.missing === null)
    .flatMap((node) => node.classes);
  return {
    id: lock.release,
    comfyuiFolder: comfyuiFolder(releaseFolder, lock),
    python: lock.python.executable,
    extraModelPaths: options.extraModelPaths,
    nodeClasses: [...new Set([...ofPacks, ...options.promised])].toSorted(),
    models: lock.models.map(({ folder, name }) => ({ folder, name })),
  };
}
