import type { AgentLog } from "@holdfast/agent";
import type { Clock } from "@holdfast/runtime";
import type { MachinePlaces } from "../machine-places.ts";
import type { Manifest } from "../manifest/model.ts";
import type { Step } from "./model.ts";
import type { PlannedModels } from "./plan-install.ts";
import type { HostEnvironment } from "./program-environment.ts";
import type { FindUsed } from "./release/clean-releases.ts";
import type { InstallLimits } from "./release/release-build.ts";
import type { RunProgram } from "./run-program.ts";
import type { ChosenTorch } from "./torch-decision.ts";

/** What the installer needs of other rooms; all of it may be left out. */
export interface InstallerPorts {
  /** The models' steps; `lifetime` is aborted when the run is over, however it ended. */
  readonly modelSteps?: (lifetime: AbortSignal) => readonly Step[];
  /** What fetching models would do. */
  readonly planModels?: (signal: AbortSignal) => Promise<PlannedModels>;
  /** Further steps: PM2, files beside the release. */
  readonly extraSteps?: () => readonly Step[];
  /** What `torch.backend: auto` comes to on this machine; without it uv finds out itself. */
  readonly chooseTorchBackend?: (signal: AbortSignal) => Promise<ChosenTorch>;
  /** `extra_model_paths.yaml` that instances start with; null for none. */
  readonly extraModelPaths?: () => string | null;
  /** The manifest that a running agent goes by; null when there is none. */
  readonly manifestInForce?: () => Promise<Manifest | null>;
  /** Starts programs. */
  readonly runProgram?: RunProgram;
  /** Which releases are in use. */
  readonly findUsed?: FindUsed;
}

/** Settings of the installer that are not of the manifest. */
export interface InstallerSettings {
  readonly hostEnvironment: HostEnvironment;
  /** A uv to use, and no other. */
  readonly uvProgram?: string;
  /** Whether uv may download a Python that the machine does not have. */
  readonly allowPythonDownloads: boolean;
  /** How long another installer of the same machine is waited for. */
  readonly lockWaitMs: number;
  readonly limits?: Partial<InstallLimits>;
  /** Texts that never reach a log. */
  readonly secrets?: readonly string[];
}

/** What an installer is made of. */
export interface InstallerOptions {
  readonly manifest: Manifest;
  /** SHA-256 of the manifest. */
  readonly digest: string;
  readonly places: MachinePlaces;
  readonly settings: InstallerSettings;
  readonly clock: Clock;
  readonly log: AgentLog;
  readonly ports: InstallerPorts;
}
