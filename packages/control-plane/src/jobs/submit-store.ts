import { statement, type Queryable } from "../platform/db.ts";
import { HOLD_REASON, HOLD_SETTING, type JobInput } from "./model.ts";
import type { PlannedJob } from "./submission.ts";

/** A template to store once. */
export interface NewGraph {
  readonly hash: string;
  readonly body: string;
  readonly nodeCount: number;
  readonly sizeBytes: number;
}

const INSERT_GRAPHS = statement(
  "jobs.insert_graphs",
  `insert into graphs (hash, body, node_count, size_bytes)
   select * from unnest($1::text[], $2::json[], $3::int[], $4::int[])
     as g (hash, body, node_count, size_bytes)
   order by g.hash
   on conflict (hash) do nothing`,
);

/** Stores templates that are not there yet. Two callers with the same one: the first wins. */
export async function insertGraphs(db: Queryable, graphs: readonly NewGraph[]): Promise<void> {
  await db.query(INSERT_GRAPHS, [
    graphs.map((graph) => graph.hash),
    graphs.map((graph) => graph.body),
    graphs.map((graph) => graph.nodeCount),
    graphs.map((graph) => graph.sizeBytes),
  ]);
}

/**
 * Ids of templates by hash; those that are not there are left out. They stay until the transaction
 * ends: whoever removes what no job names takes the lock that this one excludes.
 */
export async function readGraphIds(
  db: Queryable,
  hashes: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const { rows } = await db.query<{ hash: string; id: number }>(
    "select hash, id from graphs where hash = any($1::text[]) for key share",
    [hashes],
  );
  return new Map(rows.map((row) => [row.hash, row.id]));
}

/** Needs to store once. */
export interface NewRequirement {
  readonly hash: string;
  readonly needs: PlannedJob["needs"];
}

const INSERT_REQUIREMENTS = statement(
  "jobs.insert_requirements",
  `insert into requirements (hash, needs)
   select * from unnest($1::text[], $2::jsonb[]) as r (hash, needs)
   order by r.hash
   on conflict (hash) do nothing`,
);

/** Stores requirements that are not there yet. */
export async function insertRequirements(
  db: Queryable,
  requirements: readonly NewRequirement[],
): Promise<void> {
  await db.query(INSERT_REQUIREMENTS, [
    requirements.map((requirement) => requirement.hash),
    requirements.map((requirement) => JSON.stringify(requirement.needs)),
  ]);
}

/** Ids of requirements by hash, as {@link readGraphIds} gives those of templates. */
export async function readRequirementIds(
  db: Queryable,
  hashes: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const { rows } = await db.query<{ hash: string; id: number }>(
    "select hash, id from requirements where hash = any($1::text[]) for key share",
    [hashes],
  );
  return new Map(rows.map((row) => [row.hash, row.id]));
}

/** A key that a caller gave, and what it was given for. */
export interface IdempotencyClaim {
  readonly owner: string;
  readonly key: string;
  readonly requestHash: string;
  readonly jobIds: readonly string[];
}

/** What is stored under a key. */
export interface StoredKey {
  readonly owner: string;
  readonly key: string;
  readonly requestHash: string;
  readonly jobIds: readonly string[];
}

/**
 * Takes keys; returns those that were free. A key that another transaction is just taking is waited
 * for. Rows go in by key order, so that two groups of keys cannot lock each other out.
 */
export async function claimKeys(
  db: Queryable,
  claims: readonly IdempotencyClaim[],
): Promise<{ owner: string; key: string }[]> {
  const { rows } = await db.query<{ owner: string; key: string }>(
    `insert into idempotency_keys (owner, key, request_hash, job_ids)
     select owner, key, request_hash, string_to_array(job_ids, ',')
     from unnest($1::text[], $2::text[], $3::text[], $4::text[])
       as k (owner, key, request_hash, job_ids)
     order by owner, key
     on conflict (owner, key) do nothing
     returning owner, key`,
    [
      claims.map((claim) => claim.owner),
      claims.map((claim) => claim.key),
      claims.map((claim) => claim.requestHash),
      claims.map((claim) => claim.jobIds.join(",")),
    ],
  );
  return rows;
}

/** What is stored under these keys of their owners. */
export async function readKeys(
  db: Queryable,
  keys: readonly { readonly owner: string; readonly key: string }[],
): Promise<StoredKey[]> {
  const { rows } = await db.query<{
    owner: string;
    key: string;
    request_hash: string;
    job_ids: string[];
  }>(
    `select owner, key, request_hash, job_ids from idempotency_keys
     where (owner, key) in (select * from unnest($1::text[], $2::text[]))`,
    [keys.map(({ owner }) => owner), keys.map(({ key }) => key)],
  );
  return rows.map((row) => ({
    owner: row.owner,
    key: row.key,
    requestHash: row.request_hash,
    jobIds: row.job_ids,
  }));
}

/** Forgets keys older than this, at most `limit`; returns how many. */
export async function pruneKeys(
  db: Queryable,
  olderThanMs: number,
  limit: number,
): Promise<number> {
  const { rowCount } = await db.query(
    `delete from idempotency_keys where (owner, key) in (
       select owner, key from idempotency_keys
       where created_at < now() - make_interval(secs => $1::float8 / 1000) limit $2)`,
    [olderThanMs, limit],
  );
  return rowCount;
}

/** A job to insert. */
export interface NewJob {
  readonly id: string;
  readonly owner: string;
  readonly rank: number;
  readonly requirementId: number;
  readonly graphId: number;
  readonly inputs: readonly JobInput[];
  readonly plan: PlannedJob;
  /** Ids for the events `job.queued` and, should it be held, `job.held`. */
  readonly queuedEventId: string;
  readonly heldEventId: string;
}

/** What the database added to an inserted job. */
export interface InsertedJob {
  readonly id: string;
  readonly number: number;
  readonly held: boolean;
  readonly createdAt: number;
  /** The rank of its caller's newest job, over all replicas. */
  readonly lastRank: number;
}

const INSERT_JOBS = statement(
  "jobs.insert",
  `with incoming as (
     select * from json_to_recordset($1::json) as r (
       place int, id text, owner text, priority smallint, rank bigint, requirement_id bigint,
       graph_id bigint, patch jsonb, inputs jsonb, promised jsonb, timeout_ms int, policy jsonb,
       name text, tags text[], batch_id text, metadata jsonb, webhook jsonb,
       cost_key text, queued_event_id text, held_event_id text)
   ),
   stop as (
     select coalesce(
       (select value not in ('null', 'false') from settings where key = '${HOLD_SETTING}'),
       false) as is_on
   ),
   ranks as (
     insert into caller_ranks as c (owner, last_rank)
     select owner, max(rank) from incoming group by owner order by owner
     on conflict (owner) do update set last_rank = greatest(c.last_rank, excluded.last_rank)
     returning owner, last_rank
   ),
   inserted as (
     insert into jobs (id, owner, state, held, priority, rank, requirement_id, graph_id, patch,
       inputs, promised, timeout_ms, policy, name, tags, batch_id, metadata, webhook, cost_key)
     select id, owner, 'queued', stop.is_on, priority, rank, requirement_id, graph_id, patch,
       inputs, promised, timeout_ms, policy, name, tags, batch_id, metadata, webhook, cost_key
     from incoming, stop order by place
     returning id, number, owner, held, batch_id, created_at
   ),
   told as (
     insert into events (id, type, version, owner, job_id, payload)
     select e.id, e.type, 1, i.owner, i.id, e.payload
     from inserted i join incoming n on n.id = i.id
     cross join lateral (
       select n.queued_event_id as id, 'job.queued' as type, jsonb_build_object(
         'jobId', i.id, 'number', i.number, 'batchId', i.batch_id) as payload
       union all
       select n.held_event_id, 'job.held', jsonb_build_object(
         'jobId', i.id, 'number', i.number, 'batchId', i.batch_id, 'reason', '${HOLD_REASON}')
       where i.held
     ) e
     order by n.place, e.type desc
   )
   select i.id, i.number, i.held, i.created_at as "createdAt", r.last_rank as "lastRank"
   from inserted i join ranks r on r.owner = i.owner`,
);

/**
 * Inserts jobs with their events and their callers' ranks, all or none, in one statement. During an
 * emergency stop they are inserted held. Rows come back in no order.
 */
export async function insertJobs(db: Queryable, jobs: readonly NewJob[]): Promise<InsertedJob[]> {
  const { rows } = await db.query<InsertedJob & Record<string, unknown>>(INSERT_JOBS, [
    JSON.stringify(jobs.map(toRecord)),
  ]);
  return rows;
}

function toRecord(job: NewJob, place: number): Record<string, unknown> {
  const { plan } = job;
  return {
    place,
    id: job.id,
    owner: job.owner,
    priority: plan.priority,
    rank: job.rank,
    requirement_id: job.requirementId,
    graph_id: job.graphId,
    patch: plan.patch.set.length === 0 ? null : plan.patch,
    inputs: job.inputs,
    promised: plan.promised,
    timeout_ms: plan.timeoutMs,
    policy: plan.policy,
    name: plan.name,
    tags: plan.tags,
    batch_id: plan.batchId,
    metadata: plan.metadata,
    webhook: plan.webhook,
    cost_key: plan.costKey,
    queued_event_id: job.queuedEventId,
    held_event_id: job.heldEventId,
  };
}

/** Ranks of the jobs that were claimed lately, by priority: where the queue is served now. */
export async function readServedRanks(
  db: Queryable,
  sample: number,
): Promise<ReadonlyMap<number, number>> {
  const { rows } = await db.query<{ priority: number; rank: number }>(
    `select j.priority, max(j.rank) as rank
     from (select job_id from attempts order by id desc limit $1) a join jobs j on j.id = a.job_id
     group by j.priority`,
    [sample],
  );
  return new Map(rows.map((row) => [row.priority, row.rank]));
}

/** The smallest rank that waits, or else the newest rank given; 0 in an empty database. */
export async function readHeadRank(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ rank: number }>(
    `select coalesce(
       (select rank from jobs where state = 'queued' order by rank limit 1),
       (select max(last_rank) from caller_ranks), 0) as rank`,
  );
  return rows[0]?.rank ?? 0;
}

/** The rank of each caller's newest job; callers without one are left out. */
export async function readLastRanks(
  db: Queryable,
  owners: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const { rows } = await db.query<{ owner: string; last_rank: number }>(
    "select owner, last_rank from caller_ranks where owner = any($1::text[])",
    [owners],
  );
  return new Map(rows.map((row) => [row.owner, row.last_rank]));
}
