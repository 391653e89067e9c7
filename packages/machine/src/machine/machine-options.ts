import type { Agent, AgentLog, ServedInstance } from "@holdfast/agent";
import type { ControlPlaneLink } from "@holdfast/contract";
import type { Clock, Failpoints, Random, Service } from "@holdfast/runtime";
import type { Listening } from "../health-server/listen.ts";
import type { InstallEvent } from "../install/model.ts";

/** Programs that are used instead of those that are found or installed; null for none. */
export interface MachinePrograms {
  readonly uv: string | null;
  readonly pm2: string | null;
  /** Default: `nvidia-smi` on PATH. */
  readonly nvidiaSmi: string | null;
}

/** Where the health server listens, as settings have it; what is null comes from the manifest. */
export interface HealthSettings {
  readonly host: string | null;
  /** One that was named never moves to the next free one. */
  readonly port: number | null;
  readonly tokenFile: string | null;
}

/** How to make a machine. */
export interface MachineOptions {
  /** The machine folder: everything that is installed is below it. */
  readonly root: string;
  /** `machine.yaml`. Not there: the machine is not configured, unless the file was named. */
  readonly manifestPath: string;
  readonly isManifestNamed: boolean;
  /** The agent's own folder: its id, undelivered reports, outputs on their way. */
  readonly stateDir: string;
  readonly machineName: string;
  readonly version: string;
  readonly link: ControlPlaneLink;
  /** For people: where the control plane is; null for none. */
  readonly controlPlaneUrl: string | null;
  /** ComfyUIs of somebody else's that are served beside the machine's own. */
  readonly attached: readonly ServedInstance[];
  readonly health: HealthSettings;
  readonly programs: MachinePrograms;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  readonly failpoints?: Failpoints;
  readonly onListening?: (listening: Listening) => void;
  /** What the installer does, for whoever watches. */
  readonly onInstallEvent?: (event: InstallEvent) => void;
  /** Between two looks whether another release serves, or the manifest has changed. */
  readonly watchEveryMs?: number;
}

/** A machine: installer, instances, further services, health server, and the agent that serves them. */
export interface Machine extends Service {
  readonly agent: Agent;
  /** Where the health server listens; undefined while it does not. */
  listening(): Listening | undefined;
  /** Takes no more work, and waits for what runs on attached instances, at most so long. */
  drain(withinMs: number): Promise<boolean>;
  /** Ends everything but the instances and processes: the next agent adopts them. */
  leave(): Promise<void>;
}
