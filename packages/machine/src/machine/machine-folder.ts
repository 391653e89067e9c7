/** A machine folder for whoever works on it at the command line, beside an agent or without one. */
import type { AgentLog } from "@holdfast/agent";
import type { Clock, Random } from "@holdfast/runtime";
import type { GpuQuery } from "../gpu/query-gpus.ts";
import type { Installer } from "../install/installer.ts";
import { machinePlaces, type MachinePlaces } from "../machine-places.ts";
import { readManifestFile } from "../manifest/read-manifest-file.ts";
import { manifestProblemLines } from "../manifest/read-manifest.ts";
import { createInstallerParts } from "./installer-parts.ts";
import type { MachinePrograms } from "./machine-options.ts";
import { applyManifest } from "./manifest-watch.ts";

/** How to open it. */
export interface MachineFolderOptions {
  readonly root: string;
  readonly manifestPath: string;
  readonly programs: MachinePrograms;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly gpus: GpuQuery;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  /** How long another installer of this machine is waited for. */
  readonly lockWaitMs: number;
}

/** A machine folder with a manifest that can be worked with. */
export interface MachineFolder {
  readonly places: MachinePlaces;
  readonly installer: Installer;
  /** Unwise things in the manifest, in lines. */
  readonly warnings: readonly string[];
  /** From now on a running agent goes by the manifest as it is. */
  apply(): Promise<void>;
  close(): Promise<void>;
}

/** Opens it; the problems of the manifest, in lines, when it is refused. */
export async function openMachineFolder(
  options: MachineFolderOptions,
): Promise<
  | { readonly kind: "opened"; readonly folder: MachineFolder }
  | { readonly kind: "refused"; readonly problems: readonly string[] }
> {
  const { root, manifestPath } = options;
  const reading = await readManifestFile(manifestPath);
  if (reading.kind === "refused") {
    return { kind: "refused", problems: manifestProblemLines(reading.problems, manifestPath) };
  }
  const places = machinePlaces(root);
  const { manifest, digest } = reading;
  const parts = await createInstallerParts({ manifest, digest }, { ...options, places });
  return {
    kind: "opened",
    folder: {
      places,
      installer: parts.installer,
      warnings: manifestProblemLines(reading.warnings, manifestPath),
      apply: () => applyManifest(manifestPath, places.appliedManifest),
      close: () => parts.close(),
    },
  };
}
