/**
 * Leases in SQL. Invariants:
 * I1  A job has at most one row in `leases`, and then its state is `processing`.
 * I2  Every grant makes `jobs.lease_epoch` grow; every write under a lease names the epoch it holds.
 * I3  Whether a lease has run out is decided by the database's clock alone.
 */
import type { Needs } from "../machines/model.ts";
import { statement, type Queryable } from "../platform/db.ts";
import type { AgentSession, GrantedJob, JobPlan, Placement, QueueHead } from "./model.ts";

const HEAD_COLUMNS = `j.id as "jobId", j.requirement_id as "requirementId", j.priority, j.rank,
  (extract(epoch from now() - j.created_at) * 1000)::float8 as "ageMs",
  j.avoid_instances as "avoidInstances",
  case when j.prefer_until > now() then j.prefer_instance end as "preferredInstance",
  case when j.plan is null then j.cost_key end as "costKey"`;

const QUEUE_HEADS = statement(
  "scheduler.queue_heads",
  `select ${HEAD_COLUMNS}
   from unnest($1::bigint[]) as r (id)
   cross join lateral (
     select id, requirement_id, priority, rank, created_at, avoid_instances, prefer_instance,
       prefer_until, plan, cost_key
     from jobs
     where state = 'queued' and not held and requirement_id = r.id
       and not avoid_instances @> $2::text[]
       and (prefer_until is null or prefer_until <= now() or prefer_instance = any($2::text[]))
     order by priority desc, rank, id limit $3
   ) j
   order by j.priority desc, j.rank, j.id limit $3`,
);

/** How many heads a plan of its own is kept for; more are asked for by {@link QUEUE_HEADS}. */
const HEAD_COUNTS = [16, 64, 256];

/**
 * The heads of one requirement, as most claims ask. Postgres plans the statement above anew at every
 * call, for longer than it runs: a plan for any number of requirements and heads looks dearer to it. The
 * count stands in the text here, so that the one plan it makes is as good as one for the call.
 */
const HEADS_OF_ONE = HEAD_COUNTS.map((count) => ({
  count,
  statement: statement(
    `scheduler.queue_heads.${count}`,
    `select ${HEAD_COLUMNS} from jobs j
     where state = 'queued' and not held and requirement_id = $1
       and not avoid_instances @> $2::text[]
       and (prefer_until is null or prefer_until <= now() or prefer_instance = any($2::text[]))
     order by priority desc, rank, id limit ${count}`,
  ),
}));

/**
 * The first `limit` queued jobs among these requirements, in the order of the queue, without those
 * that avoid every one of the instances.
 */
export async function readQueueHeads(
  db: Queryable,
  requirementIds: readonly number[],
  limit: number,
  instanceIds: readonly string[],
): Promise<QueueHead[]> {
  const ofOne = HEADS_OF_ONE.find(({ count }) => count >= limit);
  if (requirementIds.length === 1 && ofOne !== undefined) {
    const { rows } = await db.query<QueueHead & Record<string, unknown>>(ofOne.statement, [
      requirementIds[0],
      instanceIds,
    ]);
    return rows.slice(0, limit);
  }
  const { rows } = await db.query<QueueHead & Record<string, unknown>>(QUEUE_HEADS, [
    requirementIds,
    instanceIds,
    limit,
  ]);
  return rows;
}

/** One grant to write: placement plus the ids made for it. */
export interface Grant extends Placement {
  readonly attemptId: string;
  readonly promptId: string;
  readonly eventId: string;
}

interface GrantedRow {
  readonly job_id: string;
  readonly attempt_id: string;
  readonly prompt_id: string;
  readonly attempt_number: number;
  readonly lease_epoch: number;
  readonly instance_id: string;
  readonly machine_id: string;
  readonly graph_id: number;
  readonly cost_key: string | null;
  readonly patch: GrantedJob["patch"];
  readonly plan: JobPlan | null;
  readonly inputs: GrantedJob["inputs"];
  readonly stored_outputs: GrantedJob["storedOutputs"] | null;
  readonly timeout_ms: number;
  readonly execution_ms: number;
  readonly checkpoints: GrantedJob["checkpoints"];
  readonly max_loss: GrantedJob["maxLoss"];
}

function toGrantedJob(row: GrantedRow): GrantedJob {
  return {
    jobId: row.job_id,
    attemptId: row.attempt_id,
    promptId: row.prompt_id,
    attemptNumber: row.attempt_number,
    leaseEpoch: row.lease_epoch,
    instanceId: row.instance_id,
    machineId: row.machine_id,
    graphId: row.graph_id,
    costKey: row.cost_key,
    patch: row.patch,
    plan: row.plan,
    inputs: row.inputs,
    storedOutputs: row.stored_outputs ?? [],
    timeoutMs: row.timeout_ms,
    executionMs: row.execution_ms,
    checkpoints: row.checkpoints,
    maxLoss: row.max_loss,
  };
}

const GRANTED_COLUMNS = `
  c.id as job_id, c.lease_epoch, c.graph_id, c.cost_key, c.patch, c.plan, c.inputs, c.timeout_ms,
  c.execution_ms, c.policy ->> 'checkpoints' as checkpoints,
  c.policy ->> 'maxLoss' as max_loss,
  case when c.attempt_count > 1 then (
    select json_agg(json_build_object(
      'nodeId', o.node_id, 'ordinal', o.ordinal, 'sha256', o.sha256))
    from outputs o where o.job_id = c.id and o.lineage = c.lineage
  ) end as stored_outputs`;

const CLAIM = statement(
  "scheduler.claim",
  `with agent as materialized (
     -- Locked, so that a registration that has begun a newer session is waited for, and seen.
     -- During an emergency stop nobody is granted anything.
     select id from machines where id = $1 and session = $9
       and not exists (
         select from settings where key = 'hold' and value not in ('null', 'false'))
     for share
   ),
   want as materialized (
     select w.* from agent
     join instances i on i.machine_id = agent.id and not i.cordoned
       and not coalesce(i.quarantined_until > now(), false)
     join unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[])
       as w (job_id, instance_id, attempt_id, prompt_id, event_id, requirement_id)
       on w.instance_id = i.id
   ),
   next as (
     select id from jobs where id in (select job_id from want) and state = 'queued' and not held
     order by id for update skip locked
   ),
   claimed as (
     update jobs j set state = 'processing', lease_epoch = lease_epoch + 1,
       attempt_count = attempt_count + 1, started_at = coalesce(started_at, now()),
       run_at = null, waiting_reason = null
     from next where j.id = next.id returning j.*
   ),
   granted as (
     insert into leases (job_id, lease_epoch, attempt_id, instance_id, machine_id, lease_until)
     select c.id, c.lease_epoch, w.attempt_id, w.instance_id, $1,
       now() + make_interval(secs => $2::float8 / 1000)
     from claimed c join want w on w.job_id = c.id
   ),
   tried as (
     insert into attempts
       (id, job_id, number, round, lease_epoch, lineage, machine_id, instance_id, prompt_id)
     select w.attempt_id, c.id, c.attempt_count, c.round, c.lease_epoch, c.lineage, $1,
       w.instance_id, w.prompt_id
     from claimed c join want w on w.job_id = c.id
   ),
   told as (
     insert into events (id, type, version, owner, job_id, payload)
     select w.event_id, 'attempt.started', 1, c.owner, c.id, jsonb_build_object(
       'jobId', c.id, 'number', c.number, 'batchId', c.batch_id, 'attemptId', w.attempt_id,
       'attempt', c.attempt_count, 'instanceId', w.instance_id)
     from claimed c join want w on w.job_id = c.id
   ),
   loaded as (
     update instances i set last_requirement_id = w.requirement_id
     from want w join claimed c on c.id = w.job_id
     where i.id = w.instance_id and i.last_requirement_id is distinct from w.requirement_id
   )
   select ${GRANTED_COLUMNS}, w.attempt_id, w.prompt_id, c.attempt_count as attempt_number,
     w.instance_id, $1 as machine_id
   from claimed c join want w on w.job_id = c.id`,
);

/**
 * Grants leases on the jobs that are still queued and nobody else is just taking; none when the
 * session has ended, none on instances that are cordoned. The prompt ids are on disk from here on,
 * before any POST (P2).
 */
export async function claim(
  db: Queryable,
  agent: AgentSession,
  leaseTtlMs: number,
  grants: readonly Grant[],
): Promise<GrantedJob[]> {
  const { rows } = await db.query<GrantedRow>(CLAIM, [
    agent.machineId,
    leaseTtlMs,
    grants.map((grant) => grant.jobId),
    grants.map((grant) => grant.instanceId),
    grants.map((grant) => grant.attemptId),
    grants.map((grant) => grant.promptId),
    grants.map((grant) => grant.eventId),
    grants.map((grant) => grant.requirementId),
    agent.session,
  ]);
  return rows.map(toGrantedJob);
}

/**
 * Takes over the leases of an earlier process of this machine: every one gets a new epoch, so that
 * the earlier process can write nothing any more (P2). Leases on instances that are not declared any
 * more are left to run out.
 */
export async function takeOverLeases(
  tx: Queryable,
  machineId: string,
  instanceIds: readonly string[],
  leaseTtlMs: number,
): Promise<GrantedJob[]> {
  const { rows } = await tx.query<GrantedRow>(
    `with c as (
       update jobs j set lease_epoch = j.lease_epoch + 1 from leases l
       -- The epoch is asked again of a row that was waited for: by then the lease may be another's.
       where l.job_id = j.id and l.machine_id = $1 and l.instance_id = any($2::text[])
         and j.state = 'processing' and l.lease_epoch = j.lease_epoch
       returning j.*
     ),
     taken as (
       update leases l set lease_epoch = c.lease_epoch,
         lease_until = now() + make_interval(secs => $3::float8 / 1000)
       from c where l.job_id = c.id
     ),
     a as (
       update attempts a set lease_epoch = c.lease_epoch from c
       where a.job_id = c.id and a.number = c.attempt_count returning a.*
     )
     select ${GRANTED_COLUMNS}, a.id as attempt_id, a.prompt_id, a.number as attempt_number,
       a.instance_id, a.machine_id
     from c join a on a.job_id = c.id`,
    [machineId, instanceIds, leaseTtlMs],
  );
  return rows.map(toGrantedJob);
}

/**
 * Gives back to an instance the jobs whose prompts it still has, when their leases had run out and
 * nobody has started them anew: the last attempt of a job that waits again, of the same lineage.
 */
export async function readoptPrompts(
  tx: Queryable,
  machineId: string,
  instanceId: string,
  promptIds: readonly string[],
  leaseTtlMs: number,
): Promise<GrantedJob[]> {
  const { rows } = await tx.query<GrantedRow>(
    `with found as (
       select a.* from attempts a join jobs j on j.id = a.job_id
       where a.prompt_id = any($3::text[]) and a.instance_id = $2 and a.outcome = 'lease_lost'
         and j.state in ('queued', 'recovering') and not j.held
         and j.attempt_count = a.number and j.lineage = a.lineage
       order by j.id for update of j
     ),
     c as (
       update jobs j set state = 'processing', lease_epoch = j.lease_epoch + 1, run_at = null,
         waiting_reason = null
       from found f where j.id = f.job_id returning j.*
     ),
     a as (
       update attempts a set lease_epoch = c.lease_epoch, outcome = null, ended_at = null,
         decision = null, error = null, evidence = null
       from c, found f where a.id = f.id and f.job_id = c.id returning a.*
     ),
     granted as (
       insert into leases (job_id, lease_epoch, attempt_id, instance_id, machine_id, lease_until)
       select a.job_id, a.lease_epoch, a.id, $2, $1,
         now() + make_interval(secs => $4::float8 / 1000)
       from a
     )
     select ${GRANTED_COLUMNS}, a.id as attempt_id, a.prompt_id, a.number as attempt_number,
       a.instance_id, a.machine_id
     from c join a on a.job_id = c.id`,
    [machineId, instanceId, promptIds, leaseTtlMs],
  );
  return rows.map(toGrantedJob);
}

/**
 * The grants behind live leases: to send a lease again whose first answer was lost. None when the
 * session has ended: epoch and session are read at one instant, so what a newer process has taken over
 * is never handed, under its new epoch, to the older one.
 */
export async function readGrants(
  db: Queryable,
  agent: AgentSession,
  jobIds: readonly string[],
): Promise<GrantedJob[]> {
  const { rows } = await db.query<GrantedRow>(
    `select ${GRANTED_COLUMNS}, a.id as attempt_id, a.prompt_id, a.number as attempt_number,
       a.instance_id, a.machine_id
     from leases l join jobs c on c.id = l.job_id and c.lease_epoch = l.lease_epoch
     join attempts a on a.id = l.attempt_id
     join machines m on m.id = l.machine_id and m.session = $3
     where l.job_id = any($1::text[]) and l.machine_id = $2`,
    [jobIds, agent.machineId, agent.session],
  );
  return rows.map(toGrantedJob);
}

/** How these attempts ended, for those that have; `held` for those that an emergency stop ended. */
export async function readOutcomes(
  db: Queryable,
  attemptIds: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const { rows } = await db.query<{ id: string; outcome: string }>(
    `select id, case when decision ->> 'rule' = 'held' then 'held' else outcome end as outcome
     from attempts where id = any($1::text[]) and outcome is not null`,
    [attemptIds],
  );
  return new Map(rows.map((row) => [row.id, row.outcome]));
}

/** A graph template, and the size of its JSON. */
export interface GraphBody {
  readonly body: unknown;
  readonly sizeBytes: number;
}

/** Graph templates by id. */
export async function readGraphBodies(
  db: Queryable,
  ids: readonly number[],
): Promise<ReadonlyMap<number, GraphBody>> {
  const { rows } = await db.query<{ id: number; body: unknown; sizeBytes: number }>(
    'select id, body, size_bytes as "sizeBytes" from graphs where id = any($1::bigint[])',
    [ids],
  );
  return new Map(rows.map(({ id, body, sizeBytes }) => [id, { body, sizeBytes }]));
}

/**
 * Requirements above an id that have queued jobs now, each with its needs, in the order of their
 * ids: a loose scan of the claim index.
 */
export async function readActiveRequirements(
  db: Queryable,
  limit: number,
  afterId: number,
): Promise<{ id: number; needs: unknown; waitingReason: string | null }[]> {
  const { rows } = await db.query<{ id: number; needs: unknown; waitingReason: string | null }>(
    `with recursive active as (
       (select requirement_id from jobs
        where state = 'queued' and not held and requirement_id > $2
        order by requirement_id limit 1)
       union all
       select (select j.requirement_id from jobs j
               where j.state = 'queued' and not j.held and j.requirement_id > a.requirement_id
               order by j.requirement_id limit 1)
       from active a where a.requirement_id is not null
     )
     select r.id, r.needs, r.waiting_reason as "waitingReason"
     from active a join requirements r on r.id = a.requirement_id order by r.id limit $1`,
    [limit, afterId],
  );
  return rows;
}

/** Queued jobs of these requirements, counted up to a limit. */
export async function countQueued(
  db: Queryable,
  requirementIds: readonly number[],
  limit: number,
): Promise<number> {
  const { rows } = await db.query<{ count: number }>(
    `select count(*)::int as count from (
       select from jobs where state = 'queued' and not held and requirement_id = any($1::bigint[])
       limit $2) q`,
    [requirementIds, limit],
  );
  return rows[0]?.count ?? 0;
}

/** Writes why nobody can serve a requirement, or null that somebody can. */
export async function setWaitingReason(
  db: Queryable,
  requirementId: number,
  reason: string | null,
): Promise<void> {
  await db.query("update requirements set waiting_reason = $2 where id = $1", [
    requirementId,
    reason,
  ]);
}

/** The needs of one requirement. Requirements are never deleted. */
export async function readRequirementNeeds(db: Queryable, id: number): Promise<Needs> {
  const { rows } = await db.query<{ needs: Needs }>(
    "select needs from requirements where id = $1",
    [id],
  );
  return rows[0]?.needs ?? { nodeClasses: [], models: [] };
}

/** Instances that hold a lease now. */
export async function countBusyInstances(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ busy: number }>(
    "select count(distinct instance_id)::int as busy from leases",
  );
  return rows[0]?.busy ?? 0;
}
