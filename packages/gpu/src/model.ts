/** GPUs of a machine as `nvidia-smi` tells of them. What it does not tell is null, never zero. */

/** One run of `nvidia-smi`, whatever became of it. */
export interface SmiRun {
  /** `not_started`: there, but it could not be started. */
  readonly ended: "exited" | "timeout" | "not_found" | "not_started";
  /** Null when a signal ended it, or it never ran. */
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Why `nvidia-smi` did not tell what it was asked for, or did not tell it of one card. */
export type SmiFailure =
  | { readonly kind: "not_found" }
  | { readonly kind: "timeout" }
  | { readonly kind: "no_driver" }
  | { readonly kind: "no_devices" }
  | { readonly kind: "library_missing" }
  | {
      readonly kind: "nvml_mismatch";
      /** Version of the library; null where it is not told. */
      readonly library: string | null;
    }
  | { readonly kind: "nvml_unknown"; readonly text: string }
  | {
      /** Off the bus: only a reboot brings it back. */
      readonly kind: "gpu_lost";
      readonly index: number | null;
      readonly busId: string | null;
    }
  | {
      readonly kind: "device_handle";
      readonly index: number | null;
      readonly busId: string | null;
      readonly text: string;
      /** Cards that were told of all the same. */
      readonly othersSeen: number;
    }
  | { readonly kind: "other"; readonly exitCode: number | null; readonly text: string };

/** What is wrong with a card, and what to do. */
export interface GpuFault {
  /** Null when the card cannot be told by index. */
  readonly index: number | null;
  readonly uuid: string | null;
  readonly kind:
    | "lost"
    | "needs_reset"
    | "no_handle"
    | "missing"
    | "unreadable"
    | "no_uuid"
    | "mig_without_devices"
    | "needs_drain";
  /** False: nothing is started on it. */
  readonly isUsable: boolean;
  readonly reason: string;
  readonly advice: string;
}

/** What one card reported at one time. */
export interface GpuReading {
  readonly index: number;
  readonly uuid: string | null;
  readonly name: string | null;
  readonly busId: string | null;
  readonly driverVersion: string | null;
  /** `8.9`. */
  readonly computeCapability: string | null;
  readonly isMig: boolean | null;
  readonly memoryTotalBytes: number | null;
  readonly memoryUsedBytes: number | null;
  readonly memoryFreeBytes: number | null;
  readonly utilizationPercent: number | null;
  readonly temperatureC: number | null;
  readonly powerDrawW: number | null;
  readonly powerLimitW: number | null;
  /** What the driver wants done: `None`, `GPU Reset`, `Node Reboot`, …; only new drivers say. */
  readonly recoveryAction: string | null;
  /** A value of this row said that the card is lost or has to be reset; or it was errors alone. */
  readonly fault: "lost" | "needs_reset" | "unreadable" | null;
}

/** A card, or a slice of one. */
export interface GpuIdentity {
  readonly index: number;
  /** What goes into `CUDA_VISIBLE_DEVICES`: the GPU's UUID, or a MIG device's. */
  readonly uuid: string;
  readonly name: string;
  readonly memoryTotalBytes: number | null;
}

/** Something that an instance can be bound to. */
export interface GpuDevice {
  readonly gpu: GpuIdentity;
  /** Of a slice: its number on the card; null for a whole card. */
  readonly migIndex: number | null;
}

/** A card that was found. */
export interface FoundGpu {
  readonly index: number;
  readonly uuid: string;
  readonly name: string;
  readonly computeCapability: string | null;
  /** Itself; in MIG mode its slices. Empty for one that cannot be used. */
  readonly devices: readonly GpuDevice[];
}

/** Why cards are not known. */
export interface GpuFailure {
  readonly kind: SmiFailure["kind"];
  /** It says that there is no NVIDIA GPU, rather than that one is ill. */
  readonly isNoGpu: boolean;
  readonly reason: string;
  readonly advice: string;
}

/** All that was found out about a machine's GPUs. */
export interface GpuDiscovery {
  /** By index, those that cannot be used too. */
  readonly gpus: readonly FoundGpu[];
  readonly faults: readonly GpuFault[];
  /** Why nothing was told of any card, or not all that was asked for; null when it was. */
  readonly failure: GpuFailure | null;
  readonly driverVersion: string | null;
  /** Newest CUDA that the driver takes. */
  readonly cudaVersion: string | null;
}
