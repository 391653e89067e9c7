import { statement, type Queryable } from "../platform/db.ts";

/** A job that waits, as a forecast looks at it. */
export interface WaitingRow {
  readonly jobId: string;
  readonly requirementId: number;
  readonly priority: number;
  readonly rank: number;
  readonly costKey: string | null;
}

const WAITING = statement(
  "scheduler.forecast_waiting",
  `select id as "jobId", requirement_id as "requirementId", priority, rank,
     case when plan is null then cost_key end as "costKey"
   from jobs where state = 'queued' and not held order by rank limit $1`,
);

/** The head of the whole queue by rank. */
export async function readWaiting(db: Queryable, limit: number): Promise<WaitingRow[]> {
  const { rows } = await db.query<WaitingRow & Record<string, unknown>>(WAITING, [limit]);
  return rows;
}

/** A lease, as a forecast looks at it. */
export interface LiveRow {
  readonly jobId: string;
  readonly instanceId: string;
  readonly phase: "staged" | "running" | "collecting";
  readonly costKey: string | null;
  /** How long it had run at the last renewal; null when its agent does not say. */
  readonly runMs: number | null;
  /** How long ago that renewal was. */
  readonly ageMs: number;
}

const LIVE = statement(
  "scheduler.forecast_live",
  `select l.job_id as "jobId", l.instance_id as "instanceId", l.phase,
     case when j.plan is null then j.cost_key end as "costKey",
     (l.progress ->> 'runMs')::float8 as "runMs",
     greatest(0, extract(epoch from now() - l.lease_until) * 1000 + $2)::float8 as "ageMs"
   from leases l join jobs j on j.id = l.job_id
   order by l.granted_at, l.job_id limit $1`,
);

/** The leases, the longest granted first. */
export async function readLive(
  db: Queryable,
  limit: number,
  leaseTtlMs: number,
): Promise<LiveRow[]> {
  const { rows } = await db.query<LiveRow & Record<string, unknown>>(LIVE, [limit, leaseTtlMs]);
  return rows;
}
