/** A machine folder for whoever works on it at the command line, beside an agent or without one. */
import { problemLines } from "@holdfast/yaml-file";
import type { Installer } from "../install/installer.ts";
import { machinePlaces, type MachinePlaces } from "../machine-places.ts";
import { readManifestText } from "../manifest/read-manifest-file.ts";
import { readManifest } from "../manifest/read-manifest.ts";
import { createInstallerParts, type InstallerPartsOptions } from "./installer-parts.ts";
import { applyManifest, readApplied, type ReadManifest } from "./manifest-watch.ts";

/** How to open it. */
export interface MachineFolderOptions extends Omit<InstallerPartsOptions, "places"> {
  readonly root: string;
  readonly manifestPath: string;
  /**
   * For what must work at any time (status, rollback, cleaning): when the file cannot be used, what is
   * in force takes its place, and the file's problems are told as warnings.
   */
  readonly orApplied?: boolean;
}

/** A machine folder with a manifest that can be worked with. */
export interface MachineFolder {
  readonly places: MachinePlaces;
  readonly installer: Installer;
  /** Unwise things in the manifest, in lines. */
  readonly warnings: readonly string[];
  /** File with the token that the machine's health server asks for; null for none. */
  readonly healthTokenFile: string | null;
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
  const places = machinePlaces(root);
  const read = await readManifestText(manifestPath);
  const reading = read.kind === "refused" ? read : readManifest(read.text);
  const lines = (of: typeof reading): readonly string[] =>
    problemLines(of.kind === "ok" ? of.warnings : of.problems, manifestPath);
  const open = async (
    manifest: ReadManifest,
    warnings: readonly string[],
    apply: () => Promise<void>,
  ): Promise<{ readonly kind: "opened"; readonly folder: MachineFolder }> => {
    const parts = await createInstallerParts(manifest, { ...options, places });
    const { installer } = parts;
    const healthTokenFile = manifest.manifest.health.tokenFile ?? null;
    const close = (): Promise<void> => parts.close();
    return {
      kind: "opened",
      folder: { places, installer, warnings, healthTokenFile, apply, close },
    };
  };
  if (read.kind === "text" && reading.kind === "ok") {
    // Exactly the text that was read, whatever the file has become meanwhile.
    return await open(reading, lines(reading), () =>
      applyManifest(read.text, places.appliedManifest),
    );
  }
  const applied = options.orApplied === true ? await readApplied(places.appliedManifest) : null;
  if (applied === null) return { kind: "refused", problems: lines(reading) };
  const what = "what is in force is gone by instead";
  return await open(applied, [...lines(reading), what], () => Promise.resolve());
}
