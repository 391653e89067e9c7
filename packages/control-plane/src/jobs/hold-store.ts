/** The emergency stop in SQL. */
import { statement, toJson, type Queryable, type Transaction } from "../platform/db.ts";
import { HOLD_REASON, HOLD_SETTING } from "./model.ts";

/** The setting that says that a release has not come to its end. */
const RELEASING_SETTING = "hold.releasing";

/** Where the emergency stop stands. */
export interface HoldState {
  /** New jobs are held, nothing is claimed. */
  readonly isOn: boolean;
  /** Jobs are held, or may be, that a release was to let go: a submit that saw the stop may commit after it. */
  readonly isReleasing: boolean;
}

const READ = statement(
  "jobs.hold_state",
  `select exists (select from settings where key = '${HOLD_SETTING}'
       and value not in ('null', 'false')) as "isOn",
     exists (select from settings where key = '${RELEASING_SETTING}')
       or exists (select from jobs where held) as "isReleasing"`,
);

/** Reads {@link HoldState}. */
export async function readHoldState(db: Queryable): Promise<HoldState> {
  const { rows } = await db.query<HoldState & Record<string, unknown>>(READ);
  return rows[0] ?? { isOn: false, isReleasing: false };
}

/**
 * Whether everything is held, for the rest of the transaction: whoever turns the stop on or off waits
 * until it has ended.
 */
export async function lockHold(tx: Transaction): Promise<boolean> {
  const { rows } = await tx.query<{ isOn: boolean }>(
    `select value not in ('null', 'false') as "isOn" from settings
     where key = '${HOLD_SETTING}' for share`,
  );
  return rows[0]?.isOn === true;
}

/** Turns the stop on; nothing is released any more. */
export async function setHold(db: Queryable, by: string): Promise<void> {
  await db.query(
    `with over as (delete from settings where key = '${RELEASING_SETTING}')
     insert into settings as s (key, value) values ('${HOLD_SETTING}', $1)
     on conflict (key) do update set value = excluded.value, updated_at = now()
     where s.value in ('null', 'false')`,
    [toJson({ by })],
  );
}

/** Turns the stop off, and notes that jobs are to be released; false when it was not on. */
export async function liftHold(db: Queryable): Promise<boolean> {
  const { rowCount } = await db.query(
    `with lifted as (
       update settings set value = 'false', updated_at = now()
       where key = '${HOLD_SETTING}' and value not in ('null', 'false') returning key
     )
     insert into settings (key, value) select '${RELEASING_SETTING}', 'true' from lifted
     on conflict (key) do nothing`,
  );
  return rowCount > 0;
}

/** Notes that everything was released. */
export async function noteReleased(db: Queryable): Promise<void> {
  await db.query(`delete from settings where key = '${RELEASING_SETTING}'`);
}

/** Locks jobs that run, at most `limit`; those that somebody has locked are left for the next look. */
export async function lockRunning(tx: Transaction, limit: number): Promise<string[]> {
  const { rows } = await tx.query<{ id: string }>(
    `select id from jobs where state = 'processing' order by id limit $1 for update skip locked`,
    [limit],
  );
  return rows.map((row) => row.id);
}

/** The event that tells of each held job. */
const TOLD = `insert into events (id, type, version, owner, job_id, payload)
  select event_id, 'job.held', 1, owner, id, jsonb_build_object(
    'jobId', id, 'number', number, 'batchId', batch_id, 'reason', '${HOLD_REASON}')
  from held order by id`;

const HOLD_RUNNING = statement(
  "jobs.hold_running",
  `with target as (select * from unnest($1::text[], $2::text[]) as t (id, event_id)),
   held as (
     update jobs j set state = 'queued', held = true, run_at = null, waiting_reason = null,
       lease_epoch = lease_epoch + 1
     from target t where j.id = t.id and j.state = 'processing'
     returning j.id, j.number, j.owner, j.batch_id, t.event_id
   ),
   freed as (
     delete from leases l using held h where l.job_id = h.id
     returning l.machine_id, l.attempt_id
   ),
   closed as (
     update attempts a set outcome = 'interrupted', ended_at = now(),
       decision = jsonb_build_object('action', 'held', 'rule', 'held',
         'reason', '${HOLD_REASON}', 'delayMs', null)
     from freed f where a.id = f.attempt_id and a.outcome is null
   ),
   told as (${TOLD})
   select (select count(*)::int from held) as interrupted,
     (select coalesce(array_agg(distinct machine_id), '{}') from freed) as "machineIds"`,
);

/** Jobs that were taken from their instances. */
export interface Interrupted {
  readonly interrupted: number;
  /** Machines that held a lease on one of them: they should be told at once. */
  readonly machineIds: readonly string[];
}

/**
 * Puts locked jobs that run back into the queue, held, at no cost: their leases are gone, their epochs
 * have grown, so the holders can write nothing more.
 */
export async function holdRunning(
  tx: Transaction,
  jobs: readonly { readonly id: string; readonly eventId: string }[],
): Promise<Interrupted> {
  const { rows } = await tx.query<Interrupted & Record<string, unknown>>(HOLD_RUNNING, [
    jobs.map((job) => job.id),
    jobs.map((job) => job.eventId),
  ]);
  return rows[0] ?? { interrupted: 0, machineIds: [] };
}

/**
 * Locks jobs that wait and are not held, by the indexes that hold no others, so that a look costs the
 * same however many are held already.
 */
export async function lockWaiting(tx: Transaction, limit: number): Promise<string[]> {
  const { rows } = await tx.query<{ id: string }>(
    `with found as materialized (
       (select id from jobs where state = 'queued' and not held limit $1)
       union all
       (select id from jobs where state = 'recovering' and not held limit $1)
     )
     select id from jobs
     where id in (select id from found) and state in ('queued', 'recovering') and not held
     order by id for update skip locked`,
    [limit],
  );
  return rows.map((row) => row.id);
}

const HOLD_WAITING = statement(
  "jobs.hold_waiting",
  `with target as (select * from unnest($1::text[], $2::text[]) as t (id, event_id)),
   held as (
     update jobs j set held = true from target t where j.id = t.id
     returning j.id, j.number, j.owner, j.batch_id, t.event_id
   ),
   told as (${TOLD})
   select count(*)::int as held from held`,
);

/** Holds locked jobs that wait; returns how many. */
export async function holdWaiting(
  tx: Transaction,
  jobs: readonly { readonly id: string; readonly eventId: string }[],
): Promise<number> {
  const { rows } = await tx.query<{ held: number }>(HOLD_WAITING, [
    jobs.map((job) => job.id),
    jobs.map((job) => job.eventId),
  ]);
  return rows[0]?.held ?? 0;
}

/** Lets held jobs go, at most `limit`; gives the requirements they wait under, one entry a job. */
export async function releaseHeld(tx: Transaction, limit: number): Promise<number[]> {
  const { rows } = await tx.query<{ requirement_id: number }>(
    `with found as (select id from jobs where held order by id limit $1 for update skip locked)
     update jobs j set held = false from found where j.id = found.id returning j.requirement_id`,
    [limit],
  );
  return rows.map((row) => row.requirement_id);
}
