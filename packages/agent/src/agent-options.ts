import type { ComfyTimeouts } from "@holdfast/comfyui";
import type { ControlPlaneLink, HeldAttempt, InstanceState } from "@holdfast/contract";
import type { Clock, Failpoints, IdSource, Random, Service } from "@holdfast/runtime";
import type { AgentLog } from "./agent-log.ts";
import type { Disk } from "./disk.ts";
import type { ComfyTransport } from "./instance-deps.ts";
import type { InventoryPromise } from "./inventory-promise.ts";
import type { AgentLimits } from "./limits.ts";
import type { OwnReport } from "./machine-report-fit.ts";
import type { ToldRun } from "./machine-teller.ts";
import type { FetchModels } from "./model-fetches.ts";
import type { InstanceControl } from "./instance-control.ts";

/** A ComfyUI to serve. */
export interface ServedInstance {
  /** Base URL, and its key at the control plane. */
  readonly url: string;
  readonly name?: string;
  /** Why it lacks something that is promised of it: then it is unhealthy, though it works. */
  readonly promise?: InventoryPromise;
}

/** Settings of an agent. */
export interface AgentOptions {
  readonly link: ControlPlaneLink;
  /** The ComfyUIs to attach to; none is well, they may come later (`setInstances`). */
  readonly instances: readonly ServedInstance[];
  /** A folder of the agent's own: its id, undelivered reports, outputs on their way. */
  readonly stateDir: string;
  readonly machineName: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly ids?: IdSource;
  readonly log: AgentLog;
  readonly failpoints?: Failpoints;
  readonly limits?: Partial<AgentLimits>;
  /** How long calls to ComfyUI may take. */
  readonly timeouts?: Partial<ComfyTimeouts>;
  /** Takes the place of the network between agent and ComfyUI. */
  readonly transport?: ComfyTransport;
  /** Takes the place of the machine's disk, on which {@link stateDir} is. */
  readonly disk?: Disk;
  /** Starts processes of instances anew; without it none can be. */
  readonly control?: InstanceControl;
  /** What the machine is now; undefined while nobody knows. Looked at often: cheap. */
  readonly report?: () => OwnReport | undefined;
  /**
   * Fetches models that jobs wait for and that {@link report} offers. Resolves when they are there:
   * what the instances have is then read again. One call at a time.
   */
  readonly onModelsWanted?: FetchModels;
}

/** What an agent says of itself. */
export interface AgentStatus {
  readonly machineId: string | null;
  readonly isRegistered: boolean;
  /** The control plane answered when it was asked for work last; true before it was asked. */
  readonly isAnswered: boolean;
  /** A newer process of this machine has taken over: this one does nothing any more. */
  readonly isSuperseded: boolean;
  readonly instances: readonly {
    readonly key: string;
    readonly name: string;
    readonly state: InstanceState;
    readonly reason: string | null;
    readonly wants: number;
    readonly held: readonly HeldAttempt[];
  }[];
  readonly spoolBytes: number;
  readonly unsentReports: number;
}

/** How an instance is, for whoever looks after its process. */
export interface ServedHealth {
  readonly state: InstanceState;
  readonly reason: string | null;
  /** A prompt of ours is in ComfyUI. */
  readonly isBusy: boolean;
  /** Whether a new process could be well where this one is not; missing: nobody knows. */
  readonly isMendedByRestart?: boolean;
  /** Prompts wait in its queue and nothing runs them: no job is under way. Missing: nobody knows. */
  readonly isStuck?: boolean;
}

/** Runs leased jobs on the ComfyUIs of one machine. */
export interface Agent extends Service {
  status(): AgentStatus;
  /**
   * Takes no more work, gives back what is staged and waits for what runs, at most so long. True
   * when nothing is left. `stop` then leaves what still runs to the next agent.
   */
  drain(withinMs: number): Promise<boolean>;
  /** How an instance is, by its base URL; undefined for one that is not served. Cheap. */
  instanceHealth(url: string): ServedHealth | undefined;
  /**
   * No more work for an instance, whose process is to end: what is staged is given back at no cost,
   * and what runs is waited for, files on their way too. False when that took longer: then what still
   * runs is given back free when the process ends. True at once for one that is not served.
   */
  pauseInstance(url: string, withinMs: number, signal: AbortSignal): Promise<boolean>;
  /** Work for it again; as soon as its process has proved itself. */
  resumeInstance(url: string): void;
  /**
   * Serves these from now on. New ones are declared at once; those that are not named any more take no
   * more work, may end what they run, and are then left. Resolves when that is done; at once before
   * the start. Calls are carried out one after the other.
   */
  setInstances(instances: readonly ServedInstance[]): Promise<void>;
  /** What instances have is read again: models or nodes have come or gone. */
  refreshInventories(): void;
  /** What the machine is may have changed: it is told soon. */
  reportMachine(): void;
  /** Tells the control plane how a start or an installation goes; delivered when it can be. */
  tellRun(run: ToldRun): void;
}
