import { jobErrorSchema, jobPolicySchema } from "@holdfast/contract";
import { z } from "zod";
import {
  jobInputSchema,
  promisedSchema,
  webhookColumnSchema,
  type Job,
  type JobState,
  type JobWithLease,
  type LeaseFacts,
} from "./model.ts";

/** A row of `jobs`. */
export interface JobRow {
  readonly id: string;
  readonly number: number;
  readonly owner: string;
  readonly state: JobState;
  readonly held: boolean;
  readonly poison: boolean;
  readonly priority: number;
  readonly requirement_id: number;
  readonly graph_id: number;
  readonly cost_key: string | null;
  readonly patch: unknown;
  readonly plan: unknown;
  readonly lineage: number;
  readonly round: number;
  readonly inputs: unknown;
  readonly promised: unknown;
  readonly lease_epoch: number;
  readonly attempt_count: number;
  readonly failure_count: number;
  readonly recovery_count: number;
  readonly run_at: number | null;
  readonly waiting_reason: string | null;
  readonly timeout_ms: number;
  readonly execution_ms: number;
  readonly policy: unknown;
  readonly name: string | null;
  readonly tags: string[];
  readonly batch_id: string | null;
  readonly metadata: Record<string, unknown>;
  readonly webhook: unknown;
  readonly error: unknown;
  readonly output_count: number;
  readonly created_at: number;
  readonly started_at: number | null;
  readonly ended_at: number | null;
}

/** A row of `jobs` beside its lease, and the reason why nobody can serve its requirement. */
export interface JobViewRow extends JobRow {
  readonly requirement_waiting_reason: string | null;
  readonly lease_phase: LeaseFacts["phase"] | null;
  readonly lease_progress: unknown;
}

const inputsSchema = z.array(jobInputSchema);
const promisedListSchema = z.array(promisedSchema);

/** A job's row as a domain value. Throws when a JSON column does not hold what this code writes. */
export function toJob(row: JobRow): Job {
  return {
    id: row.id,
    number: row.number,
    owner: row.owner,
    state: row.state,
    held: row.held,
    poison: row.poison,
    priority: row.priority,
    requirementId: row.requirement_id,
    graphId: row.graph_id,
    costKey: row.cost_key,
    patch: row.patch as Job["patch"],
    plan: row.plan as Job["plan"],
    lineage: row.lineage,
    round: row.round,
    inputs: inputsSchema.parse(row.inputs),
    promised: promisedListSchema.parse(row.promised),
    leaseEpoch: row.lease_epoch,
    attemptCount: row.attempt_count,
    failureCount: row.failure_count,
    recoveryCount: row.recovery_count,
    runAt: row.run_at,
    waitingReason: row.waiting_reason,
    timeoutMs: row.timeout_ms,
    executionMs: row.execution_ms,
    policy: jobPolicySchema.parse(row.policy),
    name: row.name,
    tags: row.tags,
    batchId: row.batch_id,
    metadata: row.metadata,
    webhook: row.webhook === null ? null : webhookColumnSchema.parse(row.webhook),
    error: row.error === null ? null : jobErrorSchema.parse(row.error),
    outputCount: row.output_count,
    createdAt: row.created_at,
    startedAt: row.started_at,
    endedAt: row.ended_at,
  };
}

/** A row with lease and requirement as a domain value. */
export function toJobWithLease(row: JobViewRow): JobWithLease {
  const job = toJob(row);
  // Who could serve it does not matter while it is held.
  const ofRequirement = job.held ? null : row.requirement_waiting_reason;
  return {
    job: { ...job, waitingReason: job.waitingReason ?? ofRequirement },
    lease:
      row.lease_phase === null ? null : { phase: row.lease_phase, progress: row.lease_progress },
  };
}
