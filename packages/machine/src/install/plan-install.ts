import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import type { Manifest } from "../manifest/model.ts";
import { bytesText, releaseBytes } from "./disk-estimate.ts";
import { isThere } from "./install-files.ts";
import type { Step, StepContext } from "./model.ts";
import type { ReleaseInputs } from "./release/release-inputs.ts";
import type { ReleaseHold } from "./release/release-hold.ts";
import type { PlannedRef, PlanProblem } from "./resolve-manifest.ts";

/** A step as it is before anything was done. */
export interface PlannedStep {
  readonly id: string;
  readonly title: string;
  readonly isOptional: boolean;
  /** `unknown`: its look failed, or needs something that is not there yet. */
  readonly state: "done" | "needed" | "unknown";
  readonly detail: string;
}

/** What fetching the models would do, as the models' own plan tells it. */
export interface PlannedModels {
  readonly models: readonly {
    readonly id: string;
    readonly problem: { readonly message: string; readonly advice: string } | null;
  }[];
  /** To be fetched. */
  readonly fetchBytes: number;
  /** How many are to be fetched whose size nobody knows. */
  readonly unknownSizes: number;
  /** What keeps all of them from being fetched: the disk, names that collide. */
  readonly problems: readonly { readonly message: string; readonly advice: string }[];
}

/**
 * Everything that can be known before anything is changed. What is not in it: whether the packages
 * of all packs fit together. That takes their files and an index; it is found out by a step of the
 * new release, before the one that serves is touched.
 */
export interface InstallPlan {
  /** Null on a machine without ComfyUI, or when its ref could not be resolved. */
  readonly releaseId: string | null;
  /** A release has to be made; else the one with that id is there. */
  readonly isNewRelease: boolean;
  /** The manifest is held back: what serves stays, and no ref was asked for; null when it is not. */
  readonly hold: ReleaseHold | null;
  readonly torchBackend: string;
  readonly refs: readonly PlannedRef[];
  readonly steps: readonly PlannedStep[];
  /** To be written, models included, as far as it is known. */
  readonly needBytes: number;
  /** Free where releases are. */
  readonly freeBytes: number;
  /** What `needBytes` leaves out; null when it leaves nothing out. */
  readonly diskNote: string | null;
  readonly warnings: readonly string[];
  /** Not empty: an installation is refused before anything was changed. */
  readonly problems: readonly PlanProblem[];
}

/** Looks at every step. A look that fails is no failure of the plan. */
export async function planSteps(
  steps: readonly Step[],
  signal: AbortSignal,
): Promise<PlannedStep[]> {
  const context: StepContext = { signal, progress: () => undefined, log: () => undefined };
  const planned: PlannedStep[] = [];
  for (const step of steps) {
    const { id, title, isOptional } = step;
    try {
      const check = await step.check(context);
      const state = check.kind;
      planned.push({ id, title, isOptional, state, detail: check.detail });
    } catch (error) {
      signal.throwIfAborted();
      const detail = error instanceof Error ? error.message : String(error);
      planned.push({ id, title, isOptional, state: "unknown", detail });
    }
  }
  return planned;
}

/** What a new release needs on the disk, and whether it is there. */
export async function planDisk(
  root: string,
  manifest: Manifest,
  newRelease: ReleaseInputs | null,
): Promise<{ needBytes: number; freeBytes: number; problem: PlanProblem | undefined }> {
  const freeBytes = await freeBytesAt(root);
  const isCloned = newRelease !== null && newRelease.comfyui.kind === "clone";
  const needBytes = isCloned ? releaseBytes(newRelease.torchBackend, newRelease.nodes.length) : 0;
  const problem = decideDisk(root, needBytes, freeBytes, manifest.downloads.keepFreeBytes);
  return { needBytes, freeBytes, problem };
}

/** Whether a disk has room for so much and what must be left free. */
export function decideDisk(
  root: string,
  needBytes: number,
  freeBytes: number,
  keepFreeBytes: number,
): PlanProblem | undefined {
  if (needBytes === 0 || freeBytes >= needBytes + keepFreeBytes) return undefined;
  return {
    subject: "disk",
    message: `a new release needs about ${bytesText(needBytes)}, ${bytesText(keepFreeBytes)} have to stay free, and ${root} has ${bytesText(freeBytes)}`,
    advice:
      "Free space, remove old releases (`holdfast machine clean`), or lower downloads.keepFreeBytes.",
  };
}

/** Free bytes for this user on the disk of a folder, or of the nearest one above that is there. */
async function freeBytesAt(folder: string): Promise<number> {
  let at = folder;
  while (!(await isThere(at)) && dirname(at) !== at) at = dirname(at);
  const { bavail, bsize } = await statfs(at);
  return bavail * bsize;
}
