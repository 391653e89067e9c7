/** ComfyUI instances of a machine: what each should be, and what the supervisor needs of others. */
import type { GpuIdentity } from "@holdfast/gpu";

/** The card of a plan. */
export interface PlannedGpu extends Omit<GpuIdentity, "uuid"> {
  /** Null: it is ill and does not tell. Nothing is started on it, or locked, by such a plan. */
  readonly uuid: string | null;
}

/** One ComfyUI as the manifest and the machine's cards ask for it. */
export interface InstancePlan {
  /** `comfyui-gpu0`, `comfyui-cpu0`: name of the process, the service and the folder. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** Base URL, and its key at the control plane. */
  readonly url: string;
  /** Null: `--cpu`. */
  readonly gpu: PlannedGpu | null;
  /** Its card was ill when this was planned: why nothing can be done on it until it is planned anew. */
  readonly cardFault?: string;
  /** Arguments beside address, folders and device. */
  readonly flags: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly recycleAboveBytes: number | null;
  readonly memoryLimitBytes: number | null;
  readonly startTimeoutMs: number;
  readonly drainMs: number;
  readonly stopTimeoutMs: number;
}

/** An installation that instances can be started from. */
export interface Release {
  /** Id of the release; `adopted-…` for a folder of somebody else's. */
  readonly id: string;
  /** ComfyUI's folder, in which `main.py` is. */
  readonly comfyuiFolder: string;
  /** Absolute path of its Python. */
  readonly python: string;
  /** `extra_model_paths.yaml` to start with; null for none. */
  readonly extraModelPaths: string | null;
  /** What it promises: an instance that lacks one is unhealthy. */
  readonly nodeClasses: readonly string[];
  readonly models: readonly { readonly folder: string; readonly name: string }[];
}

/** How the runner finds an instance: it looks into the queue, not at the process alone (F26). */
export interface InstanceHealth {
  readonly state: "starting" | "healthy" | "unhealthy" | "stopped";
  readonly reason: string | null;
  /** A prompt of ours is in ComfyUI. */
  readonly isBusy: boolean;
  /** Prompts wait in its queue and nothing runs them; missing: nobody knows. */
  readonly isStuck?: boolean;
  /**
   * False for an unhealthy one that a new start would not mend (it lacks a model): it is left running.
   * Without it, it is started anew.
   */
  readonly isMendedByRestart?: boolean;
}

/** What the supervisor needs of the runner that serves the instances. */
export interface InstanceRunner {
  /** By base URL; undefined for one that it does not know. Cheap. */
  health(url: string): InstanceHealth | undefined;
  /** Takes no more work there and waits for what runs; false when that took longer. */
  pause(url: string, withinMs: number, signal: AbortSignal): Promise<boolean>;
  /** Takes work there again. */
  resume(url: string): void;
}
