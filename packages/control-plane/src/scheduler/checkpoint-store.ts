/** Latents that attempts put away, in SQL: see `checkpoint-plan.ts` for what becomes of them. */
import type { AttemptResume, CheckpointRequest, SavedCheckpoint } from "@holdfast/contract";
import { statement, type Queryable } from "../platform/db.ts";
import type { JobCheckpoints, KnownCheckpoint } from "./checkpoint-plan.ts";

/** A latent is gone on from while it is not older than this (C1). */
const USABLE_HOURS = 24;

/** The attempt that speaks, when it holds its job's lease. */
export interface SpeakingAttempt {
  readonly number: number;
  readonly owner: string;
  readonly batchId: string | null;
  readonly attemptNumber: number;
  /** What it went on from. */
  readonly resume: AttemptResume | null;
}

/** Locks the job of a live lease against its end; null when the lease is somebody else's (P2). */
export async function lockForCheckpoints(
  tx: Queryable,
  { jobId, attemptId, leaseEpoch }: CheckpointRequest,
): Promise<SpeakingAttempt | null> {
  const { rows } = await tx.query<SpeakingAttempt & Record<string, unknown>>(
    `select j.number, j.owner, j.batch_id as "batchId", a.number as "attemptNumber", a.resume
     from jobs j join attempts a on a.id = $2 and a.job_id = j.id
     where j.id = $1 and j.lease_epoch = $3 and j.state = 'processing' for share of j`,
    [jobId, attemptId, leaseEpoch],
  );
  return rows[0] ?? null;
}

/** Writes what was saved; returns the keys that are new. What has a problem stays as it is. */
export async function saveCheckpoints(
  tx: Queryable,
  { jobId, attemptId }: CheckpointRequest,
  attempt: Pick<SpeakingAttempt, "attemptNumber" | "resume">,
  saved: readonly SavedCheckpoint[],
): Promise<ReadonlySet<string>> {
  const { rows } = await tx.query<{ key: string }>(
    `insert into checkpoints as c (job_id, key, attempt_id, attempt_number, node_id, sha256,
       size_bytes, percent, spent_ms)
     select $1, s.key, $2, $3, s.node_id, s.sha256, s.size_bytes, s.percent, s.after_ms + $4::float8
     from unnest($5::text[], $6::text[], $7::text[], $8::bigint[], $9::float8[], $10::float8[])
       as s (key, node_id, sha256, size_bytes, percent, after_ms)
     where exists (select from blobs b where b.sha256 = s.sha256)
     on conflict (job_id, key) do update set attempt_id = excluded.attempt_id,
       attempt_number = excluded.attempt_number, sha256 = excluded.sha256,
       size_bytes = excluded.size_bytes, percent = excluded.percent, spent_ms = excluded.spent_ms,
       created_at = now()
     where c.problem is null and c.sha256 <> excluded.sha256
     returning key`,
    [
      jobId,
      attemptId,
      attempt.attemptNumber,
      attempt.resume?.savedMs ?? 0,
      saved.map(({ key }) => key),
      saved.map(({ nodeId }) => nodeId),
      saved.map(({ sha256 }) => sha256),
      saved.map(({ sizeBytes }) => sizeBytes),
      saved.map(({ percent }) => percent),
      saved.map(({ afterMs }) => afterMs),
    ],
  );
  return new Set(rows.map(({ key }) => key));
}

/** Notes that these are of no use: neither gone on from nor saved for this job any more. */
export async function markUnusable(
  tx: Queryable,
  { jobId, attemptId, unusable }: CheckpointRequest,
  attemptNumber: number,
): Promise<void> {
  await tx.query(
    `insert into checkpoints as c (job_id, key, attempt_id, attempt_number, node_id, sha256,
       size_bytes, percent, spent_ms, problem)
     select $1, u.key, $2, $3, u.node_id, null, 0, 0, 0, u.reason
     from unnest($4::text[], $5::text[], $6::text[]) as u (key, node_id, reason)
     on conflict (job_id, key) do update set sha256 = null, problem = excluded.problem`,
    [
      jobId,
      attemptId,
      attemptNumber,
      unusable.map(({ key }) => key),
      unusable.map(({ nodeId }) => nodeId),
      unusable.map(({ reason }) => reason),
    ],
  );
}

/** Keeps a job's newest latents, up to so many and so many bytes together. */
export async function trimCheckpoints(
  tx: Queryable,
  jobId: string,
  limits: { readonly count: number; readonly bytes: number },
): Promise<void> {
  await tx.query(
    `delete from checkpoints c using (
       select key, row_number() over newest as place, sum(size_bytes) over newest as bytes
       from checkpoints where job_id = $1 and sha256 is not null
       window newest as (order by created_at desc, spent_ms desc, key rows unbounded preceding)
     ) as ranked
     where c.job_id = $1 and c.key = ranked.key
       and (ranked.place > $2 or ranked.place > 1 and ranked.bytes > $3)`,
    [jobId, limits.count, limits.bytes],
  );
}

/** Notes what an attempt goes on from, once; null when that was noted before, or nothing is known. */
export async function noteResume(
  tx: Queryable,
  { jobId, attemptId, resumedFrom }: CheckpointRequest,
): Promise<AttemptResume | null> {
  const { rows } = await tx.query<{ resume: AttemptResume }>(
    `with used as (
       select jsonb_build_object(
         'nodeIds', jsonb_agg(node_id order by spent_ms, node_id),
         'fromAttempt', (array_agg(attempt_number order by spent_ms desc, attempt_number))[1],
         'savedMs', max(spent_ms)) as resume
       from checkpoints where job_id = $1 and key = any($3::text[]) and sha256 is not null
       having count(*) > 0
     )
     update attempts a set resume = used.resume from used
     where a.id = $2 and a.resume is null returning a.resume`,
    [jobId, attemptId, resumedFrom],
  );
  return rows[0]?.resume ?? null;
}

const OF_JOBS = statement(
  "scheduler.checkpoints_of_jobs",
  `select j.id as "jobId",
     coalesce((select array_agg(p ->> 'nodeId') from jsonb_array_elements(j.promised) p), '{}')
       as promised,
     json_agg(json_build_object('key', c.key, 'sha256', c.sha256, 'sizeBytes', c.size_bytes))
       as known
   from jobs j join checkpoints c on c.job_id = j.id
   where j.id = any($1::text[])
     and (c.sha256 is null or c.created_at > now() - make_interval(hours => ${USABLE_HOURS}))
   group by j.id`,
);

/** What is put away of these jobs and not too old; jobs of which nothing is are left out. */
export async function readCheckpoints(
  db: Queryable,
  jobIds: readonly string[],
): Promise<ReadonlyMap<string, JobCheckpoints>> {
  const { rows } = await db.query<{
    jobId: string;
    promised: string[];
    known: KnownCheckpoint[];
  }>(OF_JOBS, [jobIds]);
  return new Map(rows.map(({ jobId, promised, known }) => [jobId, { promised, known }]));
}

/**
 * Deletes at most `limit` checkpoints that are older than `keptMs`, or whose job needs none any more;
 * returns how many. The bytes go with the blobs that nothing names.
 */
export async function deleteOldCheckpoints(
  db: Queryable,
  keptMs: number,
  limit: number,
): Promise<number> {
  const { rowCount } = await db.query(
    `with old as (
       select c.job_id, c.key from checkpoints c join jobs j on j.id = c.job_id
       where c.created_at < now() - make_interval(secs => $1::float8 / 1000)
         or j.state in ('completed', 'cancelled')
       limit $2 for update of c skip locked
     )
     delete from checkpoints c using old where c.job_id = old.job_id and c.key = old.key`,
    [keptMs, limit],
  );
  return rowCount;
}

/** The newest checkpoint that a later attempt of a job can go on from, and how many there are. */
export interface UsableCheckpoints {
  readonly count: number;
  readonly newest: {
    readonly nodeId: string;
    readonly attemptNumber: number;
    readonly percent: number;
    readonly sizeBytes: number;
    readonly savedMs: number;
    readonly createdAt: number;
  } | null;
}

/** What one job can go on from now. */
export async function readUsable(db: Queryable, jobId: string): Promise<UsableCheckpoints> {
  const { rows } = await db.query<
    NonNullable<UsableCheckpoints["newest"]> & { count: number } & Record<string, unknown>
  >(
    `select (count(*) over ())::int as count, node_id as "nodeId",
       attempt_number as "attemptNumber", percent, size_bytes as "sizeBytes",
       spent_ms as "savedMs", created_at as "createdAt"
     from checkpoints
     where job_id = $1 and sha256 is not null
       and created_at > now() - make_interval(hours => ${USABLE_HOURS})
     order by created_at desc, key limit 1`,
    [jobId],
  );
  const [row] = rows;
  if (row === undefined) return { count: 0, newest: null };
  const { count, ...newest } = row;
  return { count, newest };
}

/** Deletes at most `limit` checkpoints of jobs that ended so long ago; returns how many. */
export async function deleteOfEnded(
  db: Queryable,
  endedHoursAgo: number,
  limit: number,
): Promise<number> {
  const { rowCount } = await db.query(
    `with old as (
       select c.job_id, c.key from checkpoints c join jobs j on j.id = c.job_id
       where j.ended_at < now() - make_interval(hours => $1)
       limit $2 for update of c skip locked
     )
     delete from checkpoints c using old where c.job_id = old.job_id and c.key = old.key`,
    [endedHoursAgo, limit],
  );
  return rowCount;
}
