/**
 * A job: its states, the transitions between them, and the shapes of its JSON columns.
 *
 * I1 A job leaves an end only by a redrive, which opens a new round.
 * I2 `held` is a flag on a job that waits, never a state.
 * I3 Every transition out of `processing` by somebody else than the lease's holder makes
 *    `lease_epoch` grow, so that the holder can write nothing any more.
 * I4 Outwards a job that was once started is never `queued` again: it shows as `recovering`.
 */
import {
  isEndedStatus,
  type JobChanges,
  type JobError,
  type JobPolicy,
  type JobStatus,
} from "@holdfast/contract";
import type { GraphPatch } from "@holdfast/comfyui/protocol";
import { z } from "zod";
import type { Needs } from "../machines/model.ts";

/** The states in the database; the words are the same outside, but see {@link outwardStatus}. */
export type JobState = JobStatus;

/** The states of a job that has not ended. */
export const LIVE_STATES = ["queued", "processing", "recovering"] as const;

/**
 * Where each state may lead. `processing → queued` is work given back at no cost; an end → `queued`
 * is a redrive (I1).
 */
const TRANSITIONS: Readonly<Record<JobState, readonly JobState[]>> = {
  queued: ["processing", "cancelled", "failed", "timeout"],
  processing: ["completed", "recovering", "queued", "failed", "timeout", "cancelled"],
  recovering: ["queued", "processing", "failed", "timeout", "cancelled"],
  completed: ["queued"],
  failed: ["queued"],
  timeout: ["queued"],
  cancelled: ["queued"],
};

/** Whether a job may go from one state to another. */
export function canTransition(from: JobState, to: JobState): boolean {
  return TRANSITIONS[from].includes(to);
}

/** Whether a job in this state has ended. */
export const isEnded: (state: JobState) => boolean = isEndedStatus;

/** What callers see of a state (I4). */
export function outwardStatus(job: {
  readonly state: JobState;
  readonly attemptCount: number;
}): JobStatus {
  return job.state === "queued" && job.attemptCount > 0 ? "recovering" : job.state;
}

/** An input file of a job, with the bytes its owner meant when it was submitted. */
export const jobInputSchema = z.object({
  nodeId: z.string(),
  input: z.string(),
  name: z.string(),
  sha256: z.string(),
  sizeBytes: z.number(),
});
/** See {@link jobInputSchema}. */
export type JobInput = z.infer<typeof jobInputSchema>;

/** An output that the graph promises; `completed` means that all of them are there (P3). */
export const promisedSchema = z.object({
  nodeId: z.string(),
  classType: z.string(),
  kind: z.enum(["file", "temp", "any"]),
});
/** See {@link promisedSchema}. */
export type Promised = z.infer<typeof promisedSchema>;

/** Where to tell about one job, beside the standing endpoints. */
export const webhookColumnSchema = z.object({
  url: z.string(),
  events: z.array(z.string()).optional(),
});
/** See {@link webhookColumnSchema}. */
export type JobWebhook = z.infer<typeof webhookColumnSchema>;

/** What the JSON column `plan` holds that graphs are made from. The scheduler owns the rest of it. */
export interface PlanInForce {
  readonly patch: GraphPatch | null;
  readonly changes?: JobChanges;
  /** What the caller's own graph needs, where the one to run needs something else. */
  readonly ownNeeds?: Needs;
  /** Changes that were made while the job waited, without an attempt. Instants in epoch ms. */
  readonly replanned?: readonly {
    readonly at: number;
    readonly rung: string;
    readonly explain: string;
  }[];
}

/** A job. Instants are epoch milliseconds; the graph itself is template `graphId` plus `patch`. */
export interface Job {
  readonly id: string;
  readonly number: number;
  readonly owner: string;
  readonly state: JobState;
  readonly held: boolean;
  readonly poison: boolean;
  readonly priority: number;
  readonly requirementId: number;
  readonly graphId: number;
  /** Under which the cost of the graph as it was submitted is known; null: of before there were profiles. */
  readonly costKey: string | null;
  readonly patch: GraphPatch | null;
  readonly plan: PlanInForce | null;
  readonly lineage: number;
  readonly round: number;
  readonly inputs: readonly JobInput[];
  readonly promised: readonly Promised[];
  readonly leaseEpoch: number;
  readonly attemptCount: number;
  readonly failureCount: number;
  readonly recoveryCount: number;
  readonly runAt: number | null;
  readonly waitingReason: string | null;
  readonly timeoutMs: number;
  readonly executionMs: number;
  readonly policy: JobPolicy;
  readonly name: string | null;
  readonly tags: readonly string[];
  readonly batchId: string | null;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly webhook: JobWebhook | null;
  readonly error: JobError | null;
  readonly outputCount: number;
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
}

/** What a live lease adds to a job's page. */
export interface LeaseFacts {
  readonly phase: "staged" | "running" | "collecting";
  readonly progress: unknown;
}

/** A job beside its live lease, if it has one. */
export interface JobWithLease {
  readonly job: Job;
  readonly lease: LeaseFacts | null;
}

/** Limit on execution time when a submit names none. */
export const DEFAULT_JOB_TIMEOUT_MS = 30 * 60 * 1000;
/** Largest metadata of a job, as JSON. */
export const MAX_METADATA_BYTES = 16 * 1024;
/** Lists and objects inside one another in metadata. */
export const MAX_METADATA_DEPTH = 32;
/** Most overrides (`set`) of one job. */
export const MAX_OVERRIDES = 1000;
/** Longest idempotency key. */
export const MAX_IDEMPOTENCY_KEY_LENGTH = 255;
/** How long an idempotency key is remembered. */
export const IDEMPOTENCY_KEPT_MS = 48 * 60 * 60 * 1000;
/** Jobs that may wait at once, over all callers, unless a setting says otherwise. */
export const DEFAULT_MAX_QUEUED_JOBS = 2_000_000;
/** Most jobs that one cancel by batch or tag ends; call again while it says there are more. */
export const MAX_JOBS_PER_CANCEL = 10_000;
/** The setting (a row of `settings`) that holds every new job: the emergency stop. */
export const HOLD_SETTING = "hold";
/** Why a job that was submitted during an emergency stop does not start. */
export const HOLD_REASON = "held: emergency stop";
