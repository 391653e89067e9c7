import { stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { isProgram, readIfThere, writeWhole } from "../install-files.ts";
import type { MachineLock } from "../model.ts";
import { comfyuiFolder } from "./releases.ts";

const FACTS_FILE = "facts.json";
const factsSchema = z.object({ sitePackages: z.string(), changedAtMs: z.number() });

/** Whether the parts of a complete release are still as they were made, as far as looks can tell. */
export interface ReleaseCondition {
  readonly comfyui: boolean;
  readonly environment: boolean;
  /** Names of packs whose folders hold their commit. */
  readonly packs: ReadonlySet<string>;
}

/** Writes down by what a later look sees that the environment was changed. */
export async function recordFacts(releaseFolder: string, sitePackages: string): Promise<void> {
  const { mtimeMs } = await stat(sitePackages);
  const facts = { sitePackages, changedAtMs: mtimeMs };
  await writeWhole(join(releaseFolder, FACTS_FILE), `${JSON.stringify(facts)}\n`);
}

/**
 * Looks at a complete release by reading a few small files: no program is started. An environment
 * into which something was installed, or from which something was removed, has another time of
 * change; a checkout names its commit.
 */
export async function lookAtRelease(
  releaseFolder: string,
  lock: MachineLock,
): Promise<ReleaseCondition> {
  const folder = comfyuiFolder(releaseFolder, lock);
  const packs = new Set<string>();
  for (const node of lock.nodes) {
    const checkout = join(folder, "custom_nodes", node.name);
    if (node.missing === null && (await isAt(checkout, node.commit))) packs.add(node.name);
  }
  return {
    comfyui:
      (await isThereFile(join(folder, "main.py"))) && (await isAt(folder, lock.comfyui.commit)),
    environment:
      (await isProgram(lock.python.executable)) && (await isEnvironmentUnchanged(releaseFolder)),
    packs,
  };
}

const isAt = async (checkout: string, commit: string | null): Promise<boolean> =>
  commit === null || (await headCommit(checkout)) === commit;

async function isEnvironmentUnchanged(releaseFolder: string): Promise<boolean> {
  const text = await readIfThere(join(releaseFolder, FACTS_FILE));
  if (text === undefined) return false;
  const facts = factsSchema.safeParse(JSON.parse(text));
  if (!facts.success) return false;
  const info = await stat(facts.data.sitePackages).catch(() => undefined);
  return info?.mtimeMs === facts.data.changedAtMs;
}

const isThereFile = async (path: string): Promise<boolean> =>
  await stat(path).then(
    (info) => info.isFile(),
    () => false,
  );

const COMMIT = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/** Commit that a checkout is at, also on a branch; null when there is none, or it is no checkout. */
export async function headCommit(folder: string): Promise<string | null> {
  const head = (await readIfThere(join(folder, ".git", "HEAD")))?.trim();
  if (head === undefined) return null;
  if (COMMIT.test(head)) return head;
  const ref = /^ref: (refs\/[^\s]+)$/.exec(head)?.[1];
  if (ref === undefined || ref.includes("..")) return null;
  const loose = (await readIfThere(join(folder, ".git", ref)))?.trim();
  if (loose !== undefined && COMMIT.test(loose)) return loose;
  const packed = (await readIfThere(join(folder, ".git", "packed-refs"))) ?? "";
  const line = packed.split("\n").find((entry) => entry.endsWith(` ${ref}`));
  const commit = line?.split(" ")[0] ?? "";
  return COMMIT.test(commit) ? commit : null;
}
