import { attemptResumeSchema, jobErrorSchema, type OutputView } from "@holdfast/contract";
import { z } from "zod";
import { statement, toTimestamp, type Queryable } from "../platform/db.ts";
import type { ListOrder } from "./cursor.ts";
import { toJobWithLease, type JobViewRow } from "./job-rows.ts";
import type { JobState, JobWithLease } from "./model.ts";
import type { AttemptFacts, CheckpointFacts } from "./view.ts";

const VIEW_COLUMNS = `j.*, r.waiting_reason as requirement_waiting_reason,
  l.phase as lease_phase, l.progress as lease_progress`;
const VIEW_JOINS = `left join leases l on l.job_id = j.id
  left join requirements r on r.id = j.requirement_id and j.state = 'queued'`;

const BY_IDS = statement(
  "jobs.by_ids",
  `select ${VIEW_COLUMNS} from jobs j ${VIEW_JOINS} where j.id = any($1::text[])`,
);
const BY_NUMBER = statement(
  "jobs.by_number",
  `select ${VIEW_COLUMNS} from jobs j ${VIEW_JOINS} where j.number = $1`,
);

/** Jobs by id, in no order; those that are not there are left out. */
export async function readJobs(db: Queryable, ids: readonly string[]): Promise<JobWithLease[]> {
  const { rows } = await db.query<JobViewRow>(BY_IDS, [ids]);
  return rows.map(toJobWithLease);
}

/** The job of that number. */
export async function readJobByNumber(
  db: Queryable,
  number: number,
): Promise<JobWithLease | undefined> {
  const { rows } = await db.query<JobViewRow>(BY_NUMBER, [number]);
  return rows[0] === undefined ? undefined : toJobWithLease(rows[0]);
}

/** Which jobs to list. Everything that is given must fit. */
export interface JobFilter {
  /** Null: of all callers. */
  readonly owner: string | null;
  /** Empty: in every state. */
  readonly slices: readonly StateSlice[];
  readonly tag: string | null;
  readonly batchId: string | null;
  readonly createdAfter: number | null;
  readonly createdBefore: number | null;
  /** Bounds of the ids, where they are known from the times: they spare a walk over all others. */
  readonly idFrom: string | null;
  readonly idBefore: string | null;
}

/** Jobs in one state: all, those never started, or those started before. */
export interface StateSlice {
  readonly state: JobState;
  readonly started: "any" | "never" | "before";
}

/**
 * One page of jobs by id. Each state is read by its own index and limit, then the slices are merged:
 * a rare state is found at once among a million jobs of another.
 */
export async function listJobs(
  db: Queryable,
  filter: JobFilter,
  page: { readonly order: ListOrder; readonly after: string | null; readonly limit: number },
): Promise<JobWithLease[]> {
  const values: unknown[] = [page.limit];
  const bind = (value: unknown): string => `$${values.push(value)}`;
  const direction = page.order === "newest" ? "desc" : "asc";
  const conditions: string[] = [];
  if (page.after !== null) {
    conditions.push(`id ${page.order === "newest" ? "<" : ">"} ${bind(page.after)}`);
  }
  if (filter.owner !== null) conditions.push(`owner = ${bind(filter.owner)}`);
  if (filter.batchId !== null) conditions.push(`batch_id = ${bind(filter.batchId)}`);
  if (filter.tag !== null) conditions.push(`tags @> array[${bind(filter.tag)}::text]`);
  if (filter.tag !== null) conditions.push("tags <> '{}'");
  if (filter.idFrom !== null) conditions.push(`id >= ${bind(filter.idFrom)}`);
  if (filter.idBefore !== null) conditions.push(`id < ${bind(filter.idBefore)}`);
  if (filter.createdAfter !== null) {
    conditions.push(`created_at >= ${bind(toTimestamp(filter.createdAfter))}::timestamptz`);
  }
  if (filter.createdBefore !== null) {
    conditions.push(`created_at < ${bind(toTimestamp(filter.createdBefore))}::timestamptz`);
  }
  const select = (more: readonly string[]): string => {
    const all = [...conditions, ...more];
    const where = all.length === 0 ? "" : `where ${all.join(" and ")}`;
    return `(select * from jobs ${where} order by id ${direction} limit $1)`;
  };
  const source =
    filter.slices.length === 0
      ? select([])
      : `(${filter.slices.map((slice) => select(sliceConditions(slice))).join(" union all ")})`;
  const { rows } = await db.query<JobViewRow>(
    `select ${VIEW_COLUMNS} from ${source} j ${VIEW_JOINS} order by j.id ${direction} limit $1`,
    values,
  );
  return rows.map(toJobWithLease);
}

/** The states are this program's own words, never a caller's text. */
function sliceConditions({ state, started }: StateSlice): string[] {
  const inState = `state = '${state}'`;
  if (started === "any") return [inState];
  return [inState, started === "never" ? "attempt_count = 0" : "attempt_count > 0"];
}

/**
 * The id of the first job created at or after an instant, or of the last one created before it;
 * undefined when there is none.
 */
export async function readIdNear(
  db: Queryable,
  side: "first_from" | "last_before",
  epochMs: number,
): Promise<string | undefined> {
  const { rows } = await db.query<{ id: string }>(
    side === "first_from"
      ? "select id from jobs where created_at >= $1::timestamptz order by created_at limit 1"
      : "select id from jobs where created_at < $1::timestamptz order by created_at desc limit 1",
    [toTimestamp(epochMs)],
  );
  return rows[0]?.id;
}

/** What a graph is made from: the template's body. */
export async function readGraphBody(db: Queryable, graphId: number): Promise<unknown> {
  const { rows } = await db.query<{ body: unknown }>("select body from graphs where id = $1", [
    graphId,
  ]);
  return rows[0]?.body;
}

const decisionSchema = z.object({
  action: z.string(),
  reason: z.string(),
  delayMs: z.int().nullable().default(null),
});
const timingsSchema = z.record(z.string(), z.number());
const evidenceSchema = z.record(z.string(), z.unknown());

interface AttemptRow {
  readonly id: string;
  readonly number: number;
  readonly round: number;
  readonly instance_id: string;
  readonly instance_name: string;
  readonly machine_id: string;
  readonly prompt_id: string;
  readonly has_started: boolean;
  readonly outcome: string | null;
  readonly error: unknown;
  readonly evidence: unknown;
  readonly decision: unknown;
  readonly timings: unknown;
  readonly resume: unknown;
  readonly granted_at: number;
  readonly started_at: number | null;
  readonly ended_at: number | null;
}

/** A job's attempts, first one first, at most `limit`. */
export async function readAttempts(
  db: Queryable,
  jobId: string,
  limit: number,
): Promise<AttemptFacts[]> {
  const { rows } = await db.query<AttemptRow>(
    // While it is leased, the last renewal knows whether it runs: its row says so when it has ended.
    `select a.*, coalesce(i.name, a.instance_id) as instance_name,
       a.started or coalesce(l.phase <> 'staged', false) as has_started
     from attempts a left join instances i on i.id = a.instance_id
       left join leases l on l.job_id = a.job_id and l.attempt_id = a.id
     where a.job_id = $1 order by a.number limit $2`,
    [jobId, limit],
  );
  return rows.map((row) => ({
    id: row.id,
    number: row.number,
    round: row.round,
    instanceId: row.instance_id,
    instanceName: row.instance_name,
    machineId: row.machine_id,
    promptId: row.prompt_id,
    isStarted: row.has_started,
    outcome: row.outcome,
    error: jobErrorSchema.nullable().catch(null).parse(row.error),
    evidence: evidenceSchema.nullable().catch(null).parse(row.evidence),
    decision: decisionSchema.nullable().catch(null).parse(row.decision),
    timings: timingsSchema.catch({}).parse(row.timings),
    resume: attemptResumeSchema.nullable().catch(null).parse(row.resume),
    grantedAt: row.granted_at,
    startedAt: row.started_at,
    endedAt: row.ended_at,
  }));
}

/** What a job's attempts have put away and is still kept, at most `limit`, first saved first. */
export async function readCheckpoints(
  db: Queryable,
  jobId: string,
  limit: number,
): Promise<CheckpointFacts[]> {
  const { rows } = await db.query<CheckpointFacts & Record<string, unknown>>(
    `select attempt_id as "attemptId", node_id as "nodeId", size_bytes as "sizeBytes", percent,
       spent_ms as "spentMs", created_at as "savedAt", problem
     from checkpoints where job_id = $1 order by created_at, key limit $2`,
    [jobId, limit],
  );
  return rows;
}

interface OutputRow {
  readonly id: string;
  readonly job_id: string;
  readonly node_id: string;
  readonly ordinal: number;
  readonly kind: OutputView["kind"];
  readonly name: string;
  readonly media_type: string;
  readonly size_bytes: number;
  readonly sha256: string;
  readonly temporary: boolean;
  readonly text: string | null;
}

/** A statement for each way to name a job: Postgres would plan one for both anew at every call. */
const JOB_OUTPUTS = {
  byId: statement("jobs.outputs", outputsWhere("j.id = $1")),
  byNumber: statement("jobs.outputs_by_number", outputsWhere("j.number = $1")),
};

function outputsWhere(condition: string): string {
  return `select j.owner, o.* from jobs j
   left join outputs o on o.job_id = j.id and o.lineage = j.lineage
   where ${condition} order by o.node_id, o.ordinal limit $2`;
}

/**
 * The outputs of a job's present lineage, in the order of nodes and places, at most `limit`, and
 * whose they are; undefined when there is no such job.
 */
export async function readOutputs(
  db: Queryable,
  job: { readonly id: string } | { readonly number: number },
  limit: number,
): Promise<
  { readonly owner: string; readonly outputs: readonly Omit<OutputView, "url">[] } | undefined
> {
  const [asked, name] =
    "id" in job ? [JOB_OUTPUTS.byId, job.id] : [JOB_OUTPUTS.byNumber, job.number];
  const { rows } = await db.query<OutputRow & { readonly owner: string }>(asked, [name, limit]);
  const owner = rows[0]?.owner;
  if (owner === undefined) return undefined;
  // A job without outputs is one row without them.
  const outputs = rows.filter((row) => row.id !== null).map(toOutput);
  return { owner, outputs };
}

const OUTPUTS_OF = statement(
  "jobs.outputs_of",
  `select j.id as of_job, o.* from jobs j
   left join outputs o on o.job_id = j.id and o.lineage = j.lineage
   where j.id = any($1::text[]) order by j.id, o.node_id, o.ordinal limit $2`,
);

/** Outputs of several jobs by job. */
export interface OutputsOfJobs {
  readonly byJob: ReadonlyMap<string, readonly Omit<OutputView, "url">[]>;
  /** There are more than were asked for. */
  readonly isCut: boolean;
}

/**
 * The outputs of several jobs' present lineages, at most `limit`, each job's in the order of nodes and
 * places; jobs that are not there are left out.
 */
export async function readOutputsOf(
  db: Queryable,
  jobIds: readonly string[],
  limit: number,
): Promise<OutputsOfJobs> {
  const { rows } = await db.query<OutputRow & { readonly of_job: string }>(OUTPUTS_OF, [
    jobIds,
    limit + 1,
  ]);
  const byJob = new Map<string, Omit<OutputView, "url">[]>();
  for (const row of rows.slice(0, limit)) {
    const all = byJob.get(row.of_job) ?? [];
    byJob.set(row.of_job, all);
    // A job without outputs is one row without them.
    if (row.id !== null) all.push(toOutput(row));
  }
  return { byJob, isCut: rows.length > limit };
}

function toOutput(row: OutputRow): Omit<OutputView, "url"> {
  return {
    id: row.id,
    jobId: row.job_id,
    nodeId: row.node_id,
    ordinal: row.ordinal,
    kind: row.kind,
    name: row.name,
    mediaType: row.media_type,
    sizeBytes: row.size_bytes,
    sha256: row.sha256,
    temporary: row.temporary,
    text: row.text,
  };
}

/** Which of these jobs nothing more will come of: they have ended, or are not there any more. */
export async function readOverAmong(
  db: Queryable,
  jobIds: readonly string[],
): Promise<ReadonlyMap<string, "ended" | "gone">> {
  const { rows } = await db.query<{ id: string; isThere: boolean }>(
    `select w.id, j.id is not null as "isThere"
     from unnest($1::text[]) as w (id) left join jobs j on j.id = w.id
     where j.id is null or j.ended_at is not null`,
    [jobIds],
  );
  return new Map(rows.map((row) => [row.id, row.isThere ? "ended" : "gone"]));
}

/** The type of an event; undefined when it is gone. */
export async function readEventType(db: Queryable, eventId: string): Promise<string | undefined> {
  const { rows } = await db.query<{ type: string }>("select type from events where id = $1", [
    eventId,
  ]);
  return rows[0]?.type;
}

/** An event of one job's timeline. `at` in epoch milliseconds. */
export interface TimelineEvent {
  readonly id: string;
  readonly type: string;
  readonly version: number;
  readonly at: number;
  readonly payload: Readonly<Record<string, unknown>>;
}

/**
 * A job's events in the order they were written, after the one named. All that are committed: a page
 * that is asked for once has no reader who could skip a slow committer.
 */
export async function readTimeline(
  db: Queryable,
  jobId: string,
  afterEventId: string | null,
  limit: number,
): Promise<TimelineEvent[]> {
  const { rows } = await db.query<TimelineEvent & Record<string, unknown>>(
    `select id, type, version, at, payload from events
     where job_id = $1
       and seq > coalesce((select seq from events where id = $2 and job_id = $1), 0)
     order by seq limit $3`,
    [jobId, afterEventId, limit],
  );
  return rows;
}
