import { readdir, readFile, readlink, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@holdfast/runtime";
import type { Manifest } from "../../manifest/model.ts";
import type { MachinePlaces } from "../../machine-places.ts";
import { mirrorName } from "../git/git-cache.ts";
import { cleanParts } from "../models/clean-parts.ts";
import { PARTIAL_FOLDER } from "../models/part-store.ts";
import { removeOldLogs, RUNS_KEPT } from "../install-log.ts";
import { removeTrash, type ReleaseEntry, type Releases } from "./releases.ts";

/** Which of these folders a live process uses (runs from it, or is in it). */
export type FindUsed = (folders: readonly string[]) => Promise<ReadonlySet<string>>;

/** What `clean` removed and what it left, in words. */
export interface Cleaned {
  readonly removed: readonly string[];
  /** What would have been removed, and why it was not. */
  readonly kept: readonly { readonly what: string; readonly reason: string }[];
}

/**
 * Removes releases nobody needs, unused clones of git, checkouts, parts of downloads and old logs.
 * `manifests`: the file's, and the one in force, which may be another.
 */
export async function cleanUp(
  places: MachinePlaces,
  releases: Releases,
  manifests: readonly Manifest[],
  { findUsed, clock }: { readonly findUsed: FindUsed; readonly clock: Clock },
): Promise<Cleaned> {
  const removed: string[] = [];
  if (await removeTrash(places)) removed.push("rests of an earlier removal");
  const entries = await releases.list();
  const used = await findUsed(entries.map(({ id }) => releases.folder(id)));
  const { remove, kept } = decideReleases(entries, (id) => used.has(releases.folder(id)));
  for (const id of remove) {
    await releases.remove(id);
    removed.push(`release ${id}`);
  }
  const left = entries.filter(({ id }) => !remove.includes(id));
  removed.push(...(await cleanRepositories(places, left)));
  removed.push(...(await cleanGitCache(places, manifests)));
  const wanted = new Set(manifests.flatMap(({ models }) => models.map(({ sha256 }) => sha256)));
  const roots = new Set(manifests.map(({ modelFolders }) => modelFolders.root ?? places.models));
  const keptParts: Cleaned["kept"][number][] = [];
  for (const root of roots) {
    const parts = await cleanParts(join(root, PARTIAL_FOLDER), wanted, clock);
    removed.push(...parts.removed);
    keptParts.push(...parts.kept);
  }
  const logs = await removeOldLogs(places.installLogs, RUNS_KEPT);
  removed.push(...logs.map((name) => `log ${name}`));
  return { removed, kept: [...kept, ...keptParts] };
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

async function cleanRepositories(
  places: MachinePlaces,
  left: readonly ReleaseEntry[],
): Promise<string[]> {
  const needed = new Set(
    left
      .flatMap(({ lock }) => lock?.repositories ?? [])
      .map(({ name, commit }) => `${name}/${commit}`),
  );
  // Without a release nothing says which are needed: links may lead to any of them.
  if (!left.some(({ lock }) => lock !== null)) return [];
  const removed: string[] = [];
  for (const name of await readdir(places.repositories).catch(() => [])) {
    for (const commit of await readdir(join(places.repositories, name)).catch(() => [])) {
      if (needed.has(`${name}/${commit}`)) continue;
      await rm(join(places.repositories, name, commit), { recursive: true, force: true });
      removed.push(
        name.startsWith(".") ? "a half-made checkout" : `repository ${name} at ${commit}`,
      );
    }
  }
  return removed;
}

async function cleanGitCache(
  places: MachinePlaces,
  manifests: readonly Manifest[],
): Promise<string[]> {
  const urls = manifests.flatMap(({ comfyui, nodes, repositories }) => [
    ...(comfyui !== undefined && "repo" in comfyui ? [comfyui.repo] : []),
    ...[...nodes, ...repositories].map(({ repo }) => repo),
  ]);
  const needed = new Set(urls.map(mirrorName));
  const removed: string[] = [];
  for (const name of await readdir(places.gitCache).catch(() => [])) {
    if (!name.endsWith(".git") || needed.has(name)) continue;
    await rm(join(places.gitCache, name), { recursive: true, force: true });
    removed.push(`clone ${name}`);
  }
  return removed;
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
