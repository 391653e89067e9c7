/** Jobs that wait for models nobody has, in SQL. */
import type { GraphPatch } from "@holdfast/comfyui/protocol";
import type { LossLevel } from "@holdfast/recovery";
import { toJson, type Queryable } from "../platform/db.ts";
import type { JobPlan } from "./model.ts";

/** A job that waits, with what a change of its graph looks at. */
export interface WaitingJob {
  readonly id: string;
  readonly number: number;
  readonly owner: string;
  readonly batchId: string | null;
  readonly graphId: number;
  readonly patch: GraphPatch | null;
  readonly plan: JobPlan | null;
  readonly maxRetryAttempts: number | null;
  readonly maxLoss: LossLevel | null;
  readonly recoveryCount: number;
}

/** Locks the next jobs that wait under a requirement, after this id; those somebody works on are left out. */
export async function lockWaitingJobs(
  tx: Queryable,
  requirementId: number,
  afterId: string,
  limit: number,
): Promise<WaitingJob[]> {
  const { rows } = await tx.query<WaitingJob & Record<string, unknown>>(
    `select id, number, owner, batch_id as "batchId", graph_id as "graphId", patch, plan,
       (policy ->> 'maxRetryAttempts')::int as "maxRetryAttempts",
       policy ->> 'maxLoss' as "maxLoss", recovery_count as "recoveryCount"
     from jobs
     where state = 'queued' and not held and requirement_id = $1 and id > $2
     order by id limit $3 for update skip locked`,
    [requirementId, afterId, limit],
  );
  return rows;
}

/** Gives a locked, waiting job another graph and what that needs. */
export async function replanWaitingJob(
  tx: Queryable,
  jobId: string,
  change: {
    readonly plan: JobPlan;
    readonly requirementId: number;
    readonly startsLineage: boolean;
    readonly rung: string;
    readonly explain: string;
  },
): Promise<void> {
  await tx.query(
    `update jobs set
       plan = jsonb_set($2::jsonb, '{replanned}', coalesce($2::jsonb -> 'replanned', '[]'::jsonb)
         || jsonb_build_object('at', floor(extract(epoch from now()) * 1000), 'rung', $6::text,
              'explain', $5::text)),
       requirement_id = $3, lineage = lineage + $4,
       recovery_count = recovery_count + 1, avoid_instances = '{}', waiting_reason = $5::text
     where id = $1`,
    [
      jobId,
      toJson(change.plan),
      change.requirementId,
      change.startsLineage ? 1 : 0,
      change.explain,
      change.rung,
    ],
  );
}
