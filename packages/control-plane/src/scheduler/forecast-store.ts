import { statement, type Queryable } from "../platform/db.ts";

/** A job that waits, as a forecast looks at it. */
export interface WaitingRow {
  readonly jobId: string;
  readonly requirementId: number;
  readonly priority: number;
  readonly rank: number;
  readonly costKey: string | null;
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

/** All work at one instant. */
export interface QueueRows {
  /** The head of the whole queue by rank. */
  readonly waiting: readonly WaitingRow[];
  /** The leases, the longest granted first. */
  readonly live: readonly LiveRow[];
}

/** One statement sees one instant: a job that is claimed between two would be in neither, or in both. */
const QUEUE = statement(
  "scheduler.forecast_queue",
  `(select id as "jobId", requirement_id as "requirementId", priority, rank,
      case when plan is null then cost_key end as "costKey", null as "instanceId", null as phase,
      null::float8 as "runMs", null::float8 as "ageMs"
    from jobs where state = 'queued' and not held order by rank limit $1)
   union all
   (select l.job_id, null, null, null, case when j.plan is null then j.cost_key end, l.instance_id,
      l.phase, (l.progress ->> 'runMs')::float8,
      greatest(0, extract(epoch from now() - l.lease_until) * 1000 + $3)::float8
    from leases l join jobs j on j.id = l.job_id
    order by l.granted_at, l.job_id limit $2)`,
);

type QueueRow =
  ({ readonly instanceId: null } & WaitingRow) | ({ readonly instanceId: string } & LiveRow);

/** At most so many waiting jobs and leases. */
export async function readQueue(
  db: Queryable,
  limits: { readonly waiting: number; readonly live: number },
  leaseTtlMs: number,
): Promise<QueueRows> {
  const values = [limits.waiting, limits.live, leaseTtlMs];
  const { rows } = await db.query<QueueRow & Record<string, unknown>>(QUEUE, values);
  const waiting: WaitingRow[] = [];
  const live: LiveRow[] = [];
  for (const row of rows) {
    if (row.instanceId === null) waiting.push(row);
    else live.push(row);
  }
  return { waiting, live };
}
