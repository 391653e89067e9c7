/**
 * The ends of attempts in SQL. Every statement names job and epoch, and does nothing when the epoch
 * has moved on: zero rows is `lease_lost` (P2).
 */
import { SURPLUS, type JobError } from "@holdfast/contract";
import type { GraphPatch } from "@holdfast/comfyui/protocol";
import type {
  EarlierFailure,
  ErrorClass,
  FailedOutcome,
  LossLevel,
  RetryReason,
  RungName,
} from "@holdfast/recovery";
import { statement, toJson, type Queryable } from "../platform/db.ts";
import type { Needs } from "../machines/model.ts";
import type { JobPlan } from "./model.ts";

/** An output to write, with the id minted for it. */
export interface OutputRow {
  readonly id: string;
  readonly nodeId: string;
  readonly ordinal: number;
  readonly kind: string;
  readonly name: string;
  readonly mediaType: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly temporary: boolean;
  readonly text: string | null;
}

/** Which attempt ended, under which epoch, and what its agent measured. */
export interface EndedAttempt {
  readonly jobId: string;
  readonly attemptId: string;
  readonly leaseEpoch: number;
  readonly started: boolean;
  readonly executeMs: number;
  readonly timings: Readonly<Record<string, number>>;
}

/** What a report is judged by: the attempt, and whether the job still is where the report thinks. */
export interface ReportFacts {
  readonly attemptOutcome: string | null;
  readonly jobEpoch: number;
  readonly jobState: string;
  /** Node ids that must each give at least one output (P3). */
  readonly promisedNodes: readonly string[];
  /** Nodes that gave outputs to an earlier attempt of the lineage. */
  readonly storedNodes: readonly string[];
  /** Announced hashes that the file store does not have. */
  readonly missingBlobs: readonly string[];
}

const REPORT_FACTS = statement(
  "scheduler.report_facts",
  `select a.outcome as "attemptOutcome", j.lease_epoch as "jobEpoch", j.state as "jobState",
     coalesce((select array_agg(p ->> 'nodeId') from jsonb_array_elements(j.promised) p),
       '{}') as "promisedNodes",
     case when j.attempt_count > 1 then coalesce((
       select array_agg(distinct o.node_id) from outputs o
       where o.job_id = j.id and o.lineage = j.lineage), '{}') else '{}' end as "storedNodes",
     coalesce((select array_agg(h) from unnest($3::text[]) h
       where not exists (select from blobs b where b.sha256 = h)), '{}') as "missingBlobs"
   from jobs j join attempts a on a.id = $2 and a.job_id = j.id
   where j.id = $1`,
);

/** Reads {@link ReportFacts}; null when there is no such job or attempt. */
export async function readReportFacts(
  db: Queryable,
  jobId: string,
  attemptId: string,
  sha256: readonly string[],
): Promise<ReportFacts | null> {
  const { rows } = await db.query<ReportFacts & Record<string, unknown>>(REPORT_FACTS, [
    jobId,
    attemptId,
    sha256,
  ]);
  return rows[0] ?? null;
}

const OUTPUT_ROWS = (from: number): string => {
  const p = (offset: number): string => `$${from + offset}`;
  return `unnest(${p(0)}::text[], ${p(1)}::text[], ${p(2)}::int[], ${p(3)}::text[], ${p(4)}::text[],
    ${p(5)}::text[], ${p(6)}::bigint[], ${p(7)}::text[], ${p(8)}::boolean[], ${p(9)}::text[])
    as o (id, node_id, ordinal, kind, name, media_type, size_bytes, sha256, temporary, text)`;
};

/** The columns of {@link OutputRow}, as arrays, in the order in which it names them. */
export function outputValues(outputs: readonly OutputRow[]): unknown[] {
  return [
    outputs.map((output) => output.id),
    outputs.map((output) => output.nodeId),
    outputs.map((output) => output.ordinal),
    outputs.map((output) => output.kind),
    outputs.map((output) => output.name),
    outputs.map((output) => output.mediaType),
    outputs.map((output) => output.sizeBytes),
    outputs.map((output) => output.sha256),
    outputs.map((output) => output.temporary),
    outputs.map((output) => output.text),
  ];
}

/** What a failed attempt's decision looks at, read under the job's row lock. */
export interface FailureFacts {
  readonly number: number;
  readonly owner: string;
  readonly batchId: string | null;
  readonly requirementId: number;
  readonly attemptNumber: number;
  readonly instanceId: string;
  readonly round: number;
  readonly lineage: number;
  readonly failureCount: number;
  readonly recoveryCount: number;
  readonly deadInstances: readonly string[];
  readonly avoidInstances: readonly string[];
  readonly timeoutMs: number;
  readonly executionMs: number;
  readonly maxRetryAttempts: number | null;
  readonly maxLoss: LossLevel | null;
  readonly plan: JobPlan | null;
  readonly graphId: number;
  /** The caller's values for the template. */
  readonly patch: GraphPatch | null;
  readonly held: boolean;
}

/** Locks the job of a live lease and reads its facts; null when the lease is somebody else's. */
export async function lockForFailure(
  tx: Queryable,
  jobId: string,
  leaseEpoch: number,
): Promise<FailureFacts | null> {
  const { rows } = await tx.query<FailureFacts & Record<string, unknown>>(
    `select j.number, j.owner, j.batch_id as "batchId", j.requirement_id as "requirementId",
       j.attempt_count as "attemptNumber", l.instance_id as "instanceId", j.round, j.lineage,
       j.failure_count as "failureCount", j.recovery_count as "recoveryCount",
       j.dead_instances as "deadInstances", j.avoid_instances as "avoidInstances",
       j.timeout_ms as "timeoutMs", j.execution_ms as "executionMs",
       (j.policy ->> 'maxRetryAttempts')::int as "maxRetryAttempts",
       j.policy ->> 'maxLoss' as "maxLoss", j.plan, j.graph_id as "graphId", j.patch, j.held
     from jobs j join leases l on l.job_id = j.id
     where j.id = $1 and j.lease_epoch = $2 and j.state = 'processing'
     for update of j`,
    [jobId, leaseEpoch],
  );
  return rows[0] ?? null;
}

/** The requirement of a job; null when there is no such job. */
export async function readRequirementOf(db: Queryable, jobId: string): Promise<number | null> {
  const { rows } = await db.query<{ id: number }>(
    "select requirement_id as id from jobs where id = $1",
    [jobId],
  );
  return rows[0]?.id ?? null;
}

/** How earlier attempts of this round ended that did not complete the job. */
export interface EarlierEnds {
  readonly failures: readonly EarlierFailure[];
  /** Free ends, those that were surplus apart. */
  readonly freeReturns: number;
  readonly surplusReturns: number;
}

/** Earlier ends of this round, the failures in order. */
export async function readEarlierEnds(
  tx: Queryable,
  jobId: string,
  round: number,
): Promise<EarlierEnds> {
  const { rows } = await tx.query<{
    outcome: string;
    class: ErrorClass;
    instanceId: string;
    customType: string | null;
    rule: string | null;
  }>(
    `select outcome, error ->> 'customType' as "customType", coalesce(error ->> 'class', 'unknown') as class, instance_id as "instanceId",
       decision ->> 'rule' as rule
     from attempts where job_id = $1 and round = $2 and outcome is not null order by number`,
    [jobId, round],
  );
  const failures: EarlierFailure[] = [];
  let freeReturns = 0;
  let surplusReturns = 0;
  for (const row of rows) {
    if (row.rule === HELD) continue;
    if (isFailedOutcome(row.outcome)) failures.push({ ...row, outcome: row.outcome });
    else if (row.rule === SURPLUS) surplusReturns += 1;
    else if (row.outcome !== "succeeded") freeReturns += 1;
  }
  return { failures, freeReturns, surplusReturns };
}

/** The rule of attempts that an emergency stop ended: they cost nothing, not even a free return. */
const HELD = "held";

function isFailedOutcome(outcome: string): outcome is FailedOutcome {
  return outcome === "failed" || outcome === "stalled" || outcome === "instance_died";
}
/** How an attempt ended that did not complete its job. */
export interface AttemptEnd {
  readonly outcome: string;
  readonly error: JobError | null;
  readonly evidence: unknown;
  readonly decision: {
    readonly action: string;
    readonly rule: RetryReason;
    /** In words for a person. */
    readonly reason: string;
    readonly delayMs: number | null;
    readonly rung: RungName | null;
  };
}

/** Ends an attempt and its lease inside the transaction that holds the job's row lock. */
export async function endAttempt(
  tx: Queryable,
  ended: EndedAttempt,
  end: AttemptEnd,
): Promise<void> {
  await tx.query(
    `with freed as (delete from leases where job_id = $1 and lease_epoch = $3)
     update attempts set outcome = $4, ended_at = now(), started = $5, timings = $6, error = $7,
       evidence = $8, decision = $9,
       started_at = case when $5 then now() - make_interval(secs => $10::float8 / 1000) end
     where id = $2 and outcome is null`,
    [
      ended.jobId,
      ended.attemptId,
      ended.leaseEpoch,
      end.outcome,
      ended.started,
      toJson(ended.timings),
      end.error === null ? null : toJson(end.error),
      end.evidence === null ? null : toJson(end.evidence),
      toJson(end.decision),
      ended.executeMs,
    ],
  );
}

/** How long a job waits for the instance that it is to run on again, while others would take it. */
const PREFERENCE_MS = 10_000;

/** What becomes of a job whose attempt did not complete it. */
export interface JobChange {
  readonly state: "queued" | "recovering" | "failed" | "timeout";
  readonly delayMs: number;
  readonly executionMs: number;
  readonly failureCount: number;
  readonly recoveryCount: number;
  readonly deadInstances: readonly string[];
  readonly avoidInstances: readonly string[];
  /** Where it waits to run again, for {@link PREFERENCE_MS} after its backoff; null: anywhere. */
  readonly preferInstance: string | null;
  readonly poison: boolean;
  readonly error: JobError | null;
  readonly waitingReason: string | null;
  readonly plan: JobPlan | null;
  /** Outputs of earlier attempts are not those of the next: its pixels are others. */
  readonly startsLineage: boolean;
  /** Needs of the caller's own graph and of the one to run, where they part now; null where not. */
  readonly needs: { readonly own: Needs; readonly next: Needs } | null;
}

/** Writes the change; the epoch moves on, so that nobody can write under the old lease. */
export async function changeJob(
  tx: Queryable,
  jobId: string,
  leaseEpoch: number,
  change: JobChange,
  /** Of the graph to run; null leaves the requirement as it is. */
  requirementId: number | null,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `update jobs set state = $3, lease_epoch = lease_epoch + 1,
       -- An emergency stop may have come while it ran.
       held = $3 in ('queued', 'recovering') and exists (
         select from settings where key = 'hold' and value not in ('null', 'false')),
       run_at = case when $3 = 'recovering' then now() + make_interval(secs => $4::float8 / 1000) end,
       ended_at = case when $3 in ('failed', 'timeout') then now() end,
       execution_ms = execution_ms + $5, failure_count = $6, recovery_count = $7,
       dead_instances = $8, avoid_instances = $9, poison = $10, error = $11, waiting_reason = $12,
       plan = $13, lineage = lineage + $14, requirement_id = coalesce($15, requirement_id),
       prefer_instance = $16::text,
       prefer_until = case when $16::text is not null
         then now() + make_interval(secs => ($4::float8 + ${PREFERENCE_MS}) / 1000) end
     where id = $1 and lease_epoch = $2 and state = 'processing'`,
    [
      jobId,
      leaseEpoch,
      change.state,
      change.delayMs,
      Math.round(change.executionMs),
      change.failureCount,
      change.recoveryCount,
      change.deadInstances,
      change.avoidInstances,
      change.poison,
      change.error === null ? null : toJson(change.error),
      change.waitingReason,
      change.plan === null ? null : toJson(change.plan),
      change.startsLineage ? 1 : 0,
      requirementId,
      change.preferInstance,
    ],
  );
  return rowCount === 1;
}

/** Keeps outputs of a failed attempt for the next one of the lineage (never rendered again). */
export async function keepOutputs(
  tx: Queryable,
  jobId: string,
  attemptId: string,
  lineage: number,
  outputs: readonly OutputRow[],
): Promise<void> {
  if (outputs.length === 0) return;
  await tx.query(
    `insert into outputs (id, job_id, attempt_id, lineage, node_id, ordinal, kind, name,
       media_type, size_bytes, sha256, temporary, text)
     select o.id, $1, $2, $3, o.node_id, o.ordinal, o.kind, o.name, o.media_type, o.size_bytes,
       o.sha256, o.temporary, o.text
     from ${OUTPUT_ROWS(4)} where exists (select from blobs b where b.sha256 = o.sha256)
     on conflict (job_id, lineage, node_id, ordinal) do nothing`,
    [jobId, attemptId, lineage, ...outputValues(outputs)],
  );
}

/** A lease whose time is over by the database's clock. */
export interface ExpiredLease {
  readonly jobId: string;
  readonly attemptId: string;
  readonly leaseEpoch: number;
  readonly phase: string;
  /** Its machine gave no sign for the time of a lease: taken for dead. */
  readonly machineLost: boolean;
}

/**
 * Leases that have run out. Not locked: everybody locks the job first and its lease after it, so
 * the taker asks {@link isLeaseExpired} again once it holds the job.
 */
export async function readExpiredLeases(
  db: Queryable,
  limit: number,
  longestMs: number,
): Promise<ExpiredLease[]> {
  const { rows } = await db.query<ExpiredLease & Record<string, unknown>>(
    `select job_id as "jobId", attempt_id as "attemptId", lease_epoch as "leaseEpoch", phase,
       exists (
         select from machines m where m.id = machine_id
           and m.last_heartbeat_at < now() - make_interval(secs => $2::float8 / 2000)
       ) as "machineLost"
     from leases
     -- One that runs for longer than any can be granted was written under a clock set back since.
     where lease_until not between now() and now() + make_interval(secs => $2::float8 / 1000)
     order by lease_until limit $1`,
    [limit, longestMs],
  );
  return rows;
}

/**
 * Removes run-out leases that do not belong to the state of their job (any more), and queues jobs
 * that are processing without a lease. Neither should ever be there; a job must not hang for it.
 */
export async function mendLeases(db: Queryable): Promise<number[]> {
  await db.query(
    `delete from leases l using jobs j
     where l.job_id = j.id and l.lease_until < now()
       and (j.state <> 'processing' or j.lease_epoch <> l.lease_epoch)`,
  );
  const { rows } = await db.query<{ requirement_id: number }>(
    `with stray as (
       select j.id from jobs j
       where j.state = 'processing' and not exists (select from leases l where l.job_id = j.id)
       order by j.id limit 100 for update of j skip locked
     )
     update jobs j set state = 'queued', lease_epoch = lease_epoch + 1
     from stray where j.id = stray.id
       and not exists (select from leases l where l.job_id = j.id)
     returning j.requirement_id`,
  );
  return rows.map((row) => row.requirement_id);
}

/**
 * Whether the lease on a job has run out still; call it while holding the job's row lock. The lease
 * is locked too, so that no renewal comes in between.
 */
export async function isLeaseExpired(
  tx: Queryable,
  jobId: string,
  longestMs: number,
): Promise<boolean> {
  const { rows } = await tx.query<{ expired: boolean }>(
    `select not (lease_until between now() and now() + make_interval(secs => $2::float8 / 1000))
       as expired
     from leases where job_id = $1 for update`,
    [jobId, longestMs],
  );
  return rows[0]?.expired === true;
}

/** Jobs whose backoff is over go back into the queue; returns their requirements. */
export async function queueRecovered(db: Queryable, limit: number): Promise<number[]> {
  const { rows } = await db.query<{ requirement_id: number }>(
    `with due as (
       select id from jobs where state = 'recovering' and not held and run_at <= now()
       order by run_at limit $1 for update skip locked
     )
     update jobs j set state = 'queued', waiting_reason = null
     from due where j.id = due.id returning j.requirement_id`,
    [limit],
  );
  return rows.map((row) => row.requirement_id);
}

/**
 * Lets jobs run again where they failed, when nobody else has taken them for this long: the other
 * instance that could have served them may be gone.
 */
export async function forgetAvoidance(
  db: Queryable,
  afterMs: number,
  limit: number,
): Promise<number[]> {
  const { rows } = await db.query<{ requirement_id: number }>(
    `with lonely as (
       select j.id from jobs j
       where j.state = 'queued' and j.attempt_count > 0 and j.avoid_instances <> '{}'
         -- From when it was queued again: it may have waited long before.
         and coalesce(j.run_at < now() - make_interval(secs => $1::float8 / 1000), true)
         and not exists (
           select from attempts a where a.job_id = j.id
             and a.ended_at > now() - make_interval(secs => $1::float8 / 1000))
       order by j.id limit $2 for update of j skip locked
     )
     update jobs j set avoid_instances = '{}' from lonely where j.id = lonely.id
     returning j.requirement_id`,
    [afterMs, limit],
  );
  return rows.map((row) => row.requirement_id);
}

const OUTAGE_KEY = "scheduler.last_reconcile";

/**
 * Records that leases are being watched now. When nobody watched for half a lease's time (every
 * replica was down), all leases are prolonged by `ttlMs` first: their agents had no chance to renew.
 * Returns whether that happened.
 */
export async function noteReconcile(tx: Queryable, ttlMs: number): Promise<boolean> {
  const { rows } = await tx.query<{ was_away: boolean }>(
    `insert into settings as s (key, value) values ($1, to_jsonb(extract(epoch from now())))
     on conflict (key) do update set value = excluded.value, updated_at = now()
     returning coalesce(
       (select extract(epoch from now()) - (o.value #>> '{}')::float8 > $2::float8 / 2000
        from settings o where o.key = $1), false) as was_away`,
    [OUTAGE_KEY, ttlMs],
  );
  const wasAway = rows[0]?.was_away === true;
  if (wasAway) {
    await tx.query(
      "update leases set lease_until = greatest(lease_until, now() + make_interval(secs => $1::float8 / 1000))",
      [ttlMs],
    );
  }
  return wasAway;
}
