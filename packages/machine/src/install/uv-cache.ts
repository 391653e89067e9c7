/** uv's cache beside the releases: entries that nothing needs any more are removed by uv itself. */
import { join } from "node:path";
import { isFolder } from "./install-files.ts";
import { callUv } from "./python/uv-pip.ts";
import type { HostEnvironment } from "./program-environment.ts";
import { describeProgramEnd, type RunProgram } from "./run-program.ts";
import type { FoundUv, UvTool } from "./uv-tool.ts";

/** What became of it. */
export type PrunedUvCache =
  /** In uv's own words, with its own count of bytes. */
  | { readonly kind: "pruned"; readonly detail: string }
  /** It would be: how much that frees uv tells only then. */
  | { readonly kind: "planned"; readonly folder: string }
  | { readonly kind: "skipped"; readonly reason: string };

/** What it is pruned with. */
export interface UvCacheOptions {
  readonly machineRoot: string;
  readonly hostEnvironment: HostEnvironment;
  readonly run: RunProgram;
  readonly uv: Pick<UvTool, "find">;
  readonly isDryRun: boolean;
  readonly signal: AbortSignal;
}

/** A cache of many gigabytes on a slow disk; another uv that is at work in it is waited for. */
const TIMEOUT_MS = 600_000;

/** Has uv prune the cache of the machine. One that cannot be pruned fails nothing. */
export async function pruneUvCache(options: UvCacheOptions): Promise<PrunedUvCache> {
  const { machineRoot, hostEnvironment, run, isDryRun, signal } = options;
  const named = hostEnvironment["UV_CACHE_DIR"];
  if (named !== undefined) {
    return skipped(
      `UV_CACHE_DIR names ${named}, which others may use: run \`uv cache prune\` there`,
    );
  }
  const folder = join(machineRoot, "cache", "uv");
  if (!(await isFolder(folder))) return skipped(`there is no cache of uv in ${folder}`);
  const uv = await findUv(options);
  if ("reason" in uv) return skipped(uv.reason);
  if (isDryRun) return { kind: "planned", folder };
  const program = (): Promise<string> => Promise.resolve(uv.program);
  const result = await callUv(
    { run, hostEnvironment, machineRoot, cwd: machineRoot, program },
    { args: ["cache", "prune"], timeoutMs: TIMEOUT_MS, isQuiet: true },
    { signal, progress: () => undefined, log: () => undefined },
  );
  signal.throwIfAborted();
  if (result.kind !== "succeeded") return skipped(describeProgramEnd(result));
  const said = `${result.stdout}\n${result.stderrTail}`.trim().split("\n").at(-1)?.trim() ?? "";
  return { kind: "pruned", detail: said === "" ? "nothing was told of what went" : said };
}

async function findUv({
  uv,
  signal,
}: UvCacheOptions): Promise<FoundUv | { readonly reason: string }> {
  try {
    return (await uv.find(signal)) ?? { reason: "there is no uv on this machine" };
  } catch (error) {
    signal.throwIfAborted();
    return { reason: error instanceof Error ? error.message : String(error) };
  }
}

function skipped(reason: string): PrunedUvCache {
  return { kind: "skipped", reason };
}
