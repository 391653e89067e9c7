import type { GraphPatch } from "@holdfast/comfyui/protocol";
import type { CheckpointMode, JobChanges } from "@holdfast/contract";
import type { LossLevel, Recipe } from "@holdfast/recovery";

/** The head of a queue: what ranking looks at. */
export interface QueueHead {
  readonly jobId: string;
  readonly requirementId: number;
  readonly priority: number;
  readonly rank: number;
  /** Time since it was created. */
  readonly ageMs: number;
  /** Instances where it has failed and another one could serve it. */
  readonly avoidInstances: readonly string[];
}

/** An instance that wants work, with the requirements it can serve among those that have jobs. */
export interface WantingInstance {
  readonly instanceId: string;
  readonly wants: number;
  readonly servable: ReadonlySet<number>;
  /** The requirement it served last: its models are loaded. */
  readonly lastRequirementId: number | null;
}

/** One placement: this job on that instance. */
export interface Placement {
  readonly jobId: string;
  readonly requirementId: number;
  readonly instanceId: string;
}

/** A plan of recovery in force for a job: kept in `jobs.plan`. */
export interface JobPlan {
  readonly version: number;
  readonly before: "nothing" | "free_memory";
  /** From the caller's graph to the one to run; made by `recipe`. */
  readonly patch: GraphPatch | null;
  readonly recipe?: Recipe;
  /** For whoever asks what the job's outputs are of. */
  readonly changes?: JobChanges;
}

/** A claimed or taken-over job, as the lease is made from. */
export interface GrantedJob {
  readonly jobId: string;
  readonly attemptId: string;
  readonly promptId: string;
  readonly attemptNumber: number;
  readonly leaseEpoch: number;
  readonly instanceId: string;
  readonly machineId: string;
  readonly graphId: number;
  readonly patch: GraphPatch | null;
  readonly plan: JobPlan | null;
  readonly inputs: readonly {
    readonly nodeId: string;
    readonly input: string;
    readonly name: string;
    readonly sha256: string;
    readonly sizeBytes: number;
  }[];
  readonly storedOutputs: readonly {
    readonly nodeId: string;
    readonly ordinal: number;
    readonly sha256: string;
  }[];
  readonly timeoutMs: number;
  readonly executionMs: number;
  /** As the job's policy says; null: as the settings say. */
  readonly checkpoints: CheckpointMode | null;
  /** The most that may be changed in the picture; null: anything. */
  readonly maxLoss: LossLevel | null;
}

/** A live lease as the database has it. */
export interface LiveLease {
  readonly jobId: string;
  readonly attemptId: string;
  readonly instanceId: string;
  readonly leaseEpoch: number;
}

/** An agent process that speaks: which machine, and which of its sessions. */
export interface AgentSession {
  readonly machineId: string;
  readonly session: number;
}

/** Times and limits of scheduling; all in ms. */
export interface SchedulerSettings {
  readonly leaseTtlMs: number;
  readonly renewEveryMs: number;
  readonly pollWaitMs: number;
  readonly stallMs: number;
  readonly firstLoadStallMs: number;
  readonly maxRetryAttempts: number;
  readonly recoveryEnabled: boolean;
  /** For jobs whose policy does not say. */
  readonly checkpoints: CheckpointMode;
}
