import type { GraphPatch } from "@holdfast/comfyui/protocol";
import type { CheckpointMode, JobChanges, Lease } from "@holdfast/contract";
import type { LossLevel, Recipe } from "@holdfast/recovery";
import type { Needs } from "../machines/model.ts";
import type { Transaction } from "../platform/db.ts";

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
  /** Where it waits to run, for a while yet; null when anybody may take it. */
  readonly preferredInstance: string | null;
  /** Under which its cost is known; null where it is not, or its graph was changed. */
  readonly costKey: string | null;
}

/** A head, with the memory that it should find on its card; null: any. */
export interface SizedHead extends QueueHead {
  readonly wantedVramBytes: number | null;
}

/** An instance that wants work, with the requirements it can serve among those that have jobs. */
export interface WantingInstance {
  readonly instanceId: string;
  readonly wants: number;
  readonly servable: ReadonlySet<number>;
  /** The requirement it served last: its models are loaded. */
  readonly lastRequirementId: number | null;
  /** Nothing runs there, and nothing waits to. */
  readonly isIdle: boolean;
  /** The memory of its card; null when it does not tell. */
  readonly vramTotalBytes: number | null;
}

/** An idle instance of another machine, which will take a job of its own. */
export interface IdleElsewhere {
  readonly instanceId: string;
  readonly servable: Pick<ReadonlySet<number>, "has">;
  readonly vramTotalBytes: number | null;
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
  readonly before: Lease["before"];
  /** The instance that `restart_instance` is meant for. */
  readonly restartAt?: string;
  /** From the caller's graph to the one to run; made by `recipe`. */
  readonly patch: GraphPatch | null;
  readonly recipe?: Recipe;
  /** For whoever asks what the job's outputs are of. */
  readonly changes?: JobChanges;
  /** How much longer than its limit the job may execute. */
  readonly extendedMs?: number;
  /** What the caller's own graph needs, where the one to run needs something else. */
  readonly ownNeeds?: Needs;
  /** Changes that were made while the job waited, without an attempt. Written by the database. */
  readonly replanned?: readonly ReplanNote[];
}

/** A change that was made while a job waited. */
export interface ReplanNote {
  readonly at: number;
  readonly rung: string;
  readonly explain: string;
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
  readonly costKey: string | null;
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

/** An attempt that failed: for the statistics. */
export interface FailedAttempt {
  readonly attemptId: string;
  readonly jobId: string;
  readonly owner: string;
  readonly class: string;
  readonly strategy: string;
  /** What was decided, by its stable name. */
  readonly rung: string;
  readonly nodeType: string | null;
}

/** Notes a failed attempt in the transaction that ends it, before its job ends; `services.ts` fills it. */
export type RecordFailure = (tx: Transaction, failed: FailedAttempt) => Promise<void>;

/** A job that nobody could serve, for the statistics. */
export interface UnservedJob extends Omit<FailedAttempt, "attemptId" | "nodeType"> {
  /** Made up: there was no attempt. */
  readonly id: string;
}

/** Notes one in the transaction that changes its job for that; `services.ts` fills it. */
export type RecordUnserved = (tx: Transaction, unserved: UnservedJob) => Promise<void>;

/** When a silent run counts as stalled. */
export interface StallSettings {
  readonly progressMs: number;
  readonly firstLoadMs: number;
  /** Which of these an operator has set: profiles do not change them. */
  readonly isFixed: { readonly progress: boolean; readonly firstLoad: boolean };
}

/** Times and limits of scheduling; all in ms. */
export interface SchedulerSettings {
  readonly leaseTtlMs: number;
  readonly renewEveryMs: number;
  readonly pollWaitMs: number;
  readonly stalls: StallSettings;
  readonly maxRetryAttempts: number;
  readonly recoveryEnabled: boolean;
  /** What `SWITCH_MODEL` takes for a checkpoint of which nothing alike is there, in this order. */
  readonly fallbackModels: readonly string[];
  /** How long jobs wait for a model that no machine has before they get another. */
  readonly modelWaitMs: number;
  /** For jobs whose policy does not say. */
  readonly checkpoints: CheckpointMode;
  /** Steps × megapixels × pictures from which a sampler's latent is put away. */
  readonly checkpointMinWork: number;
}
