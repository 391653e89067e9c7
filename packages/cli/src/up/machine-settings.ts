import { join, resolve } from "node:path";
import type { ControlPlaneSettings } from "@holdfast/control-plane/process";
import { defaultMachineRoot, type Listening, type MachineOptions } from "@holdfast/machine";

/** What settings say of the machine. */
export type MachineSettings = Pick<
  MachineOptions,
  "health" | "isManifestNamed" | "manifestPath" | "programs" | "root"
>;

/** Name of the manifest in the home folder. */
const MANIFEST_FILE = "machine.yaml";

/** The machine's part of the settings; paths are made absolute. */
export function machineSettings(settings: ControlPlaneSettings): MachineSettings {
  const { home, machineManifest, machineDir, healthHost, healthPort, healthTokenFile } = settings;
  return {
    root: resolve(machineDir ?? defaultMachineRoot(home)),
    manifestPath: resolve(machineManifest ?? join(home, MANIFEST_FILE)),
    isManifestNamed: machineManifest !== undefined,
    health: {
      host: healthHost ?? null,
      port: healthPort === undefined ? null : Number(healthPort),
      tokenFile: healthTokenFile ?? null,
    },
    programs: {
      uv: settings.uvProgram ?? null,
      pm2: settings.pm2Program ?? null,
      nvidiaSmi: settings.nvidiaSmiProgram ?? null,
    },
  };
}

/** Where the health server listens, as `up` and `agent` print it. */
export function listeningText({ url, movedFrom }: Listening): string {
  const moved =
    movedFrom === null ? "" : ` (port ${movedFrom.port} is taken by ${movedFrom.holder})`;
  return `  health      ${url}/health${moved}`;
}
