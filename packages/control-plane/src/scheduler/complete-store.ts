/**
 * Successes in SQL: many jobs in one statement, each fenced by its own epoch (P2). The statement asks
 * everything that a success must hold (P3), so that the usual report needs no look beforehand; what
 * it leaves alone is looked at one by one.
 */
import { statement, toJson, type Queryable } from "../platform/db.ts";
import { outputValues, type EndedAttempt, type OutputRow } from "./outcome-store.ts";

/** A success to write, with the ids minted for it. */
export interface Completion {
  readonly ended: EndedAttempt;
  readonly eventId: string;
  readonly outputs: readonly OutputRow[];
}

/** Bytes that the store confirmed and whose row may not be written yet. */
export interface ConfirmedBlob {
  readonly sha256: string;
  readonly sizeBytes: number;
}

// Job rows are locked in the order of their ids, as everywhere, so that two groups cannot block each
// other. What a row says is asked again when it was waited for: by then it may be another's.
const COMPLETE = statement(
  "scheduler.complete",
  `with given as materialized (
     select * from unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::boolean[],
       $6::jsonb[], $7::text[])
       as g (job_id, attempt_id, lease_epoch, execute_ms, started, timings, event_id)
   ),
   o as materialized (
     select * from unnest($8::text[], $9::text[], $10::text[], $11::int[], $12::text[], $13::text[],
       $14::text[], $15::bigint[], $16::text[], $17::boolean[], $18::text[])
       as o (job_id, id, node_id, ordinal, kind, name, media_type, size_bytes, sha256, temporary,
         text)
   ),
   confirmed as materialized (
     select * from unnest($19::text[], $20::bigint[]) as c (sha256, size_bytes)
   ),
   stored as (
     insert into blobs (sha256, size_bytes) select sha256, size_bytes from confirmed order by sha256
     on conflict (sha256) do nothing
   ),
   locked as materialized (
     select id from jobs where id = any($1::text[]) order by id for update
   ),
   job as (
     update jobs j set state = 'completed', ended_at = now(),
       execution_ms = j.execution_ms + g.execute_ms, error = null, waiting_reason = null,
       -- What made the outputs, and what was waited for, stays to be seen; what was to be done before
       -- the attempt is done.
       plan = case when j.plan ->> 'patch' is null and j.plan -> 'replanned' is null then null
         else j.plan || '{"before": "nothing"}' end,
       output_count = case when j.attempt_count = 1
         then (select count(*) from o where o.job_id = j.id)
         else (select count(*) from (
           select o.node_id, o.ordinal from o where o.job_id = j.id
           union
           select s.node_id, s.ordinal from outputs s
           where s.job_id = j.id and s.lineage = j.lineage) as all_given)
         end
     from given g join locked on locked.id = g.job_id
     where j.id = g.job_id and j.lease_epoch = g.lease_epoch and j.state = 'processing'
       and exists (select from attempts a
         where a.id = g.attempt_id and a.job_id = j.id and a.outcome is null)
       and not exists (select from jsonb_array_elements(j.promised) p
         where not exists (select from o where o.job_id = j.id and o.node_id = p ->> 'nodeId')
           and (j.attempt_count = 1 or not exists (select from outputs s
             where s.job_id = j.id and s.lineage = j.lineage and s.node_id = p ->> 'nodeId')))
       and not exists (select from o where o.job_id = j.id
         and not exists (select from confirmed c where c.sha256 = o.sha256)
         and not exists (select from blobs b where b.sha256 = o.sha256))
     returning j.id, j.number, j.owner, j.batch_id, j.lineage, j.output_count, j.attempt_count,
       g.attempt_id, g.execute_ms, g.started, g.timings, g.event_id
   ),
   freed as (delete from leases using job where leases.job_id = job.id),
   tried as (
     update attempts a set outcome = 'succeeded', ended_at = now(), started = job.started,
       timings = job.timings,
       started_at = now() - make_interval(secs => job.execute_ms::float8 / 1000)
     from job where a.id = job.attempt_id
   ),
   kept as (
     insert into outputs (id, job_id, attempt_id, lineage, node_id, ordinal, kind, name,
       media_type, size_bytes, sha256, temporary, text)
     select o.id, job.id, job.attempt_id, job.lineage, o.node_id, o.ordinal, o.kind, o.name,
       o.media_type, o.size_bytes, o.sha256, o.temporary, o.text
     from job join o on o.job_id = job.id
     on conflict (job_id, lineage, node_id, ordinal) do nothing
   ),
   told as (
     insert into events (id, type, version, owner, job_id, payload)
     select event_id, 'job.completed', 1, owner, id, jsonb_build_object(
       'jobId', id, 'number', number, 'batchId', batch_id, 'outputCount', output_count,
       'attempts', attempt_count)
     from job
   )
   select attempt_id from job`,
);

/**
 * Ends jobs as completed with their outputs. Returns the attempts for which it was done: those of a
 * live lease, not ended yet, with every promised output among theirs or their lineage's, and every
 * output's bytes in the store. `confirmed` are registered along the way.
 */
export async function completeMany(
  db: Queryable,
  completions: readonly Completion[],
  confirmed: readonly ConfirmedBlob[],
): Promise<ReadonlySet<string>> {
  const outputs = completions.flatMap(({ ended, outputs: own }) =>
    own.map((output) => ({ ...output, jobId: ended.jobId })),
  );
  const { rows } = await db.query<{ attempt_id: string }>(COMPLETE, [
    completions.map(({ ended }) => ended.jobId),
    completions.map(({ ended }) => ended.attemptId),
    completions.map(({ ended }) => ended.leaseEpoch),
    completions.map(({ ended }) => Math.round(ended.executeMs)),
    completions.map(({ ended }) => ended.started),
    completions.map(({ ended }) => toJson(ended.timings)),
    completions.map(({ eventId }) => eventId),
    outputs.map((output) => output.jobId),
    ...outputValues(outputs),
    confirmed.map((blob) => blob.sha256),
    confirmed.map((blob) => blob.sizeBytes),
  ]);
  return new Set(rows.map((row) => row.attempt_id));
}
