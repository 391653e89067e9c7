/** What went wrong with jobs lately, in SQL: for whoever alerts operators. */
import type { InstanceState } from "@holdfast/contract";
import type { Queryable } from "../platform/db.ts";
import type { JobState } from "./model.ts";

/** A job that was set aside because two instances died during it. */
export interface PoisonedJob {
  readonly number: number;
  /** How its last attempt ended, in words. */
  readonly message: string;
}

/** Jobs that became poison within this time, newest first. One that was redriven is none any more. */
export async function readPoisonedJobs(
  db: Queryable,
  withinMs: number,
  limit: number,
): Promise<PoisonedJob[]> {
  const { rows } = await db.query<PoisonedJob & Record<string, unknown>>(
    `select number, coalesce(error ->> 'message', 'two instances died during it') as message
     from jobs
     where poison and ended_at > now() - make_interval(secs => $1::float8 / 1000)
     order by ended_at desc limit $2`,
    [withinMs, limit],
  );
  return rows;
}

/** An instance that died while it ran jobs. */
export interface InstanceDeaths {
  readonly instance: string;
  readonly machine: string;
  readonly deaths: number;
  /** The job of the last death, and what became of it. */
  readonly jobNumber: number;
  readonly jobState: JobState;
  readonly now: InstanceNow;
}

/** How an instance is that died. `silent`: its machine has not told since; `gone`: it was removed. */
export type InstanceNow =
  | { readonly kind: "known"; readonly state: InstanceState; readonly reason: string | null }
  | { readonly kind: "silent" }
  | { readonly kind: "gone" };

/** Instances that died during an attempt within this time. */
export async function readInstanceDeaths(
  db: Queryable,
  withinMs: number,
  limit: number,
): Promise<InstanceDeaths[]> {
  const { rows } = await db.query<DeathsRow>(
    `select coalesce(max(i.name), a.instance_id) as instance,
       coalesce(max(m.name), max(a.machine_id)) as machine, count(*)::int as deaths,
       (array_agg(j.number order by a.ended_at desc))[1] as "jobNumber",
       (array_agg(j.state order by a.ended_at desc))[1] as "jobState",
       max(i.state) as state, max(i.reason) as reason,
       coalesce(bool_or(m.state = 'online') and max(m.last_heartbeat_at) > max(a.ended_at), false)
         as "isTold"
     from attempts a
     join jobs j on j.id = a.job_id
     left join instances i on i.id = a.instance_id
     left join machines m on m.id = a.machine_id
     where a.outcome = 'instance_died'
       and a.ended_at > now() - make_interval(secs => $1::float8 / 1000)
     group by a.instance_id order by max(a.ended_at) desc limit $2`,
    [withinMs, limit],
  );
  return rows.map(({ state, reason, isTold, ...deaths }) => ({
    ...deaths,
    now: toInstanceNow(state, reason, isTold),
  }));
}

interface DeathsRow extends Omit<InstanceDeaths, "now"> {
  readonly state: InstanceState | null;
  readonly reason: string | null;
  /** Its machine sent a heartbeat since: what was told before the last death says nothing of now. */
  readonly isTold: boolean;
}

function toInstanceNow(
  state: InstanceState | null,
  reason: string | null,
  isTold: boolean,
): InstanceNow {
  if (state === null) return { kind: "gone" };
  return isTold ? { kind: "known", state, reason } : { kind: "silent" };
}

/** Needs that no machine can serve, while jobs wait that have them. */
export interface UnservedNeeds {
  readonly requirementId: number;
  readonly reason: string;
  /** Jobs that wait, counted up to {@link UNSERVED_COUNTED}. */
  readonly jobs: number;
}

/** Waiting jobs of one requirement are counted up to here. */
export const UNSERVED_COUNTED = 1_000;

/** Needs for which jobs wait in vain. */
export async function readUnservedNeeds(db: Queryable, limit: number): Promise<UnservedNeeds[]> {
  const { rows } = await db.query<UnservedNeeds & Record<string, unknown>>(
    `select r.id as "requirementId", r.waiting_reason as reason, w.jobs
     from requirements r cross join lateral (
       select count(*)::int as jobs from (
         select from jobs j
         where j.requirement_id = r.id and j.state = 'queued' and not j.held
         limit ${UNSERVED_COUNTED}) as waiting) as w
     where r.waiting_reason is not null and w.jobs > 0
     order by w.jobs desc, r.id limit $1`,
    [limit],
  );
  return rows;
}
