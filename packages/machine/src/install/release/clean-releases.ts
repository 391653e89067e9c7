import { readdir, readFile, readlink, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@holdfast/runtime";
import type { Manifest } from "../../manifest/model.ts";
import type { MachinePlaces } from "../../machine-places.ts";
import { mirrorName } from "../git/git-cache.ts";
import { unwantedParts } from "../models/clean-parts.ts";
import { PARTIAL_FOLDER } from "../models/part-store.ts";
import { oldLogs, RUNS_KEPT } from "../install-log.ts";
import type { PrunedUvCache } from "../uv-cache.ts";
import { createFreedBytes, type FreedBytes } from "./freed-bytes.ts";
import { findTrash, type ReleaseEntry, type Releases } from "./releases.ts";

/** Which of these folders a live process uses (runs from it, or is in it). */
export type FindUsed = (folders: readonly string[]) => Promise<ReadonlySet<string>>;

/** Something that goes, or would, in words. */
export interface CleanedThing extends FreedBytes {
  readonly what: string;
}

/** What `clean` removed and what it left. */
export interface Cleaned {
  readonly removed: readonly CleanedThing[];
  /** What would have been removed, and why it was not. */
  readonly kept: readonly { readonly what: string; readonly reason: string }[];
  /** By what was removed, uv's cache apart. */
  readonly freedBytes: number;
  readonly uvCache: PrunedUvCache;
  /** Nothing was removed: this is what would be. */
  readonly isDryRun: boolean;
}

/** What cleaning needs. */
export interface CleanOptions {
  readonly places: MachinePlaces;
  readonly releases: Releases;
  /** The file's, and the one in force, which may be another. */
  readonly manifests: readonly Manifest[];
  readonly findUsed: FindUsed;
  readonly clock: Clock;
  readonly isDryRun: boolean;
  /** Asked last: what releases held of its cache is free then. */
  readonly pruneUvCache: () => Promise<PrunedUvCache>;
}

/** Something that nobody needs. */
interface Unneeded {
  readonly what: string;
  readonly paths: readonly string[];
  /** Rejects when somebody has it in hand: then it stays. */
  readonly remove: () => Promise<void>;
}

/** Removes releases nobody needs, unused clones of git, checkouts, parts of downloads and old logs. */
export async function cleanUp(options: CleanOptions): Promise<Cleaned> {
  const { isDryRun } = options;
  const { unneeded, kept } = await findUnneeded(options);
  const measure = createFreedBytes();
  // Before anything goes: afterwards nobody could tell which links a file had.
  const measured: { readonly one: Unneeded; readonly freed: FreedBytes }[] = [];
  for (const one of unneeded) measured.push({ one, freed: await measure(one.paths) });
  const removed: CleanedThing[] = [];
  const left: Cleaned["kept"][number][] = [...kept];
  for (const { one, freed } of measured) {
    const { what } = one;
    try {
      if (!isDryRun) await one.remove();
      removed.push({ what, ...freed });
    } catch (error) {
      left.push({ what, reason: error instanceof Error ? error.message : String(error) });
    }
  }
  const freedBytes = removed.reduce((sum, one) => sum + one.freedBytes, 0);
  return { removed, kept: left, freedBytes, uvCache: await options.pruneUvCache(), isDryRun };
}

async function findUnneeded({
  places,
  releases,
  manifests,
  findUsed,
  clock,
}: CleanOptions): Promise<{
  readonly unneeded: readonly Unneeded[];
  readonly kept: Cleaned["kept"];
}> {
  const trash = await findTrash(places);
  const entries = await releases.list();
  const used = await findUsed(entries.map(({ id }) => releases.folder(id)));
  const { remove, kept } = decideReleases(entries, (id) => used.has(releases.folder(id)));
  const left = entries.filter(({ id }) => !remove.includes(id));
  const wanted = new Set(manifests.flatMap(({ models }) => models.map(({ sha256 }) => sha256)));
  const roots = new Set(manifests.map(({ modelFolders }) => modelFolders.root ?? places.models));
  const parts = [];
  for (const root of roots) {
    parts.push(...(await unwantedParts(join(root, PARTIAL_FOLDER), wanted, clock)));
  }
  const unneeded = [
    ...(trash.length === 0 ? [] : [thing("rests of an earlier removal", ...trash)]),
    ...remove.map((id) => ({
      what: `release ${id}`,
      paths: [releases.folder(id)],
      remove: () => releases.remove(id),
    })),
    ...(await unneededCheckouts(places, left)),
    ...(await unneededClones(places, manifests)),
    ...parts.filter(({ keptReason }) => keptReason === null),
    ...(await oldLogs(places.installLogs, RUNS_KEPT)).map((name) =>
      thing(`log ${name}`, join(places.installLogs, name)),
    ),
  ];
  const young = parts.flatMap(({ what, keptReason }) =>
    keptReason === null ? [] : [{ what, reason: keptReason }],
  );
  return { unneeded, kept: [...kept, ...young] };
}

/** Files and folders that go as they are. */
function thing(what: string, ...paths: readonly string[]): Unneeded {
  return {
    what,
    paths,
    async remove() {
      for (const path of paths) await rm(path, { recursive: true, force: true });
    },
  };
}

/** Decides which releases go: all but the current, the previous, and those in use. */
export function decideReleases(
  entries: readonly ReleaseEntry[],
  isUsed: (id: string) => boolean,
): { readonly remove: readonly string[]; readonly kept: Cleaned["kept"] } {
  const spare = entries.filter((entry) => !entry.isCurrent && !entry.isPrevious);
  return {
    remove: spare.filter(({ id }) => !isUsed(id)).map(({ id }) => id),
    kept: spare
      .filter(({ id }) => isUsed(id))
      .map(({ id }) => ({ what: `release ${id}`, reason: "a process runs from it" })),
  };
}

async function unneededCheckouts(
  places: MachinePlaces,
  left: readonly ReleaseEntry[],
): Promise<readonly Unneeded[]> {
  const needed = new Set(
    left
      .flatMap(({ lock }) => lock?.repositories ?? [])
      .map(({ name, commit }) => `${name}/${commit}`),
  );
  // Without a release nothing says which are needed: links may lead to any of them.
  if (!left.some(({ lock }) => lock !== null)) return [];
  const unneeded: Unneeded[] = [];
  for (const name of await readdir(places.repositories).catch(() => [])) {
    for (const commit of await readdir(join(places.repositories, name)).catch(() => [])) {
      if (needed.has(`${name}/${commit}`)) continue;
      const what = name.startsWith(".")
        ? "a half-made checkout"
        : `repository ${name} at ${commit}`;
      unneeded.push(thing(what, join(places.repositories, name, commit)));
    }
  }
  return unneeded;
}

async function unneededClones(
  places: MachinePlaces,
  manifests: readonly Manifest[],
): Promise<readonly Unneeded[]> {
  const urls = manifests.flatMap(({ comfyui, nodes, repositories }) => [
    ...(comfyui !== undefined && "repo" in comfyui ? [comfyui.repo] : []),
    ...[...nodes, ...repositories].map(({ repo }) => repo),
  ]);
  const needed = new Set(urls.map(mirrorName));
  const names = await readdir(places.gitCache).catch(() => []);
  return names
    .filter((name) => name.endsWith(".git") && !needed.has(name))
    .map((name) => thing(`clone ${name}`, join(places.gitCache, name)));
}

/**
 * Looks at the command line and the folder of every process. Where the platform shows no folders
 * (all but Linux) nothing is known, and everything counts as used that is asked about.
 */
export async function findUsedByProcesses(
  folders: readonly string[],
): Promise<ReadonlySet<string>> {
  if (process.platform !== "linux") return new Set(folders);
  const used = new Set<string>();
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    // Gone meanwhile, or not to be read: then it is no process of ours.
    const command = await readFile(`/proc/${name}/cmdline`, "utf8").catch(() => "");
    const cwd = await readlink(`/proc/${name}/cwd`).catch(() => "");
    const words = [...command.split("\0"), cwd];
    for (const folder of folders) {
      if (words.some((word) => word === folder || word.includes(`${folder}/`))) used.add(folder);
    }
  }
  return used;
}
