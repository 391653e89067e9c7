import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@holdfast/runtime";
import type { GitCache } from "../git/git-cache.ts";
import type { GitOptions } from "../git/git-program.ts";
import { isFolder } from "../install-files.ts";
import type { MachineLock, Step } from "../model.ts";
import type { HostEnvironment } from "../program-environment.ts";
import type { PackageSettings } from "../python/package-sources.ts";
import type { UvCaller } from "../python/uv-pip.ts";
import type { RunProgram } from "../run-program.ts";
import { lookAtRelease, type ReleaseCondition } from "./release-condition.ts";
import type { ReleaseInputs } from "./release-inputs.ts";
import type { Releases } from "./releases.ts";

/** What a step of a release works with. */
export interface ReleaseBuild {
  readonly id: string;
  readonly inputs: ReleaseInputs;
  readonly settings: PackageSettings;
  readonly places: ReleasePlaces;
  readonly git: GitOptions;
  readonly cache: GitCache;
  readonly uv: UvCaller;
  readonly run: RunProgram;
  readonly clock: Clock;
  readonly hostEnvironment: HostEnvironment;
  readonly machineRoot: string;
  readonly allowPythonDownloads: boolean;
  readonly limits: InstallLimits;
  /** The lock and the condition of this release when it is complete; looked at once a run. */
  readonly condition: () => Promise<
    { readonly lock: MachineLock; readonly parts: ReleaseCondition } | undefined
  >;
  /** Something may run from it: nothing of it is changed but what is written down about it. */
  readonly isInUse: boolean;
  /** It takes the place of a damaged one of the same inputs, which is no way back. */
  readonly isReplacement: boolean;
  /** Optional packs that are left out, and why. Grows while steps run. */
  readonly missing: Map<string, string>;
}

/** How long programs of others may take. */
export interface InstallLimits {
  readonly installScriptMs: number;
  readonly quickTestMs: number;
  readonly serverStartMs: number;
}

/** Limits that fit a slow disk and a cold cache. */
export const DEFAULT_INSTALL_LIMITS: InstallLimits = {
  installScriptMs: 1_800_000,
  quickTestMs: 900_000,
  serverStartMs: 600_000,
};

/** Where the parts of a release are. */
export interface ReleasePlaces {
  readonly release: string;
  readonly comfyui: string;
  readonly customNodes: string;
  readonly venv: string;
  readonly python: string;
  /** What the building of it needs to remember, and where checkouts are put together. */
  readonly build: string;
}

/** The places of a release that we make. */
export function releasePlaces(folder: string): ReleasePlaces {
  return {
    release: folder,
    comfyui: join(folder, "comfyui"),
    customNodes: join(folder, "comfyui", "custom_nodes"),
    venv: join(folder, "venv"),
    python: join(folder, "venv", "bin", "python"),
    build: join(folder, "build"),
  };
}

/**
 * A look at the release that is made once, and not at all with `isThorough`: then every step looks
 * for itself.
 */
export function createCondition(
  releases: Releases,
  id: string,
  isThorough: boolean,
): ReleaseBuild["condition"] {
  let look: ReturnType<ReleaseBuild["condition"]> | undefined;
  return () =>
    (look ??= (async () => {
      const lock = isThorough ? undefined : await releases.lockOf(id);
      if (lock === undefined) return undefined;
      return { lock, parts: await lookAtRelease(releases.folder(id), lock) };
    })());
}

/** Folder of a pack that is left out: ComfyUI loads nothing whose name ends so. */
export const setAsideFolder = (build: ReleaseBuild, name: string): string =>
  join(build.places.customNodes, `${name}.disabled`);

/** Takes a pack out of what ComfyUI loads, and keeps it for a look. */
export async function setPackAside(build: ReleaseBuild, name: string): Promise<void> {
  const folder = join(build.places.customNodes, name);
  if (!(await isFolder(folder))) return;
  const aside = setAsideFolder(build, name);
  await rm(aside, { recursive: true, force: true });
  await rename(folder, aside);
}

/** Has a step of an optional pack note why the pack is left out when it fails. */
export function noteWhenMissing(build: ReleaseBuild, name: string, step: Step): Step {
  if (!step.isOptional) return step;
  const noting = async <T>(work: Promise<T>, signal: AbortSignal): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      if (!signal.aborted) build.missing.set(name, (error as Error).message);
      throw error;
    }
  };
  return {
    ...step,
    check: (context) => noting(step.check(context), context.signal),
    apply: (context) => noting(step.apply(context), context.signal),
    verify: (context) => noting(step.verify(context), context.signal),
  };
}
