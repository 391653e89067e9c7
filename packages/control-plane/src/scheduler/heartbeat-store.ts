/**
 * Heartbeats in SQL: those of many machines in one statement, for a statement for a hundred costs the
 * database little more than one for one.
 */
import type { HeldAttempt } from "@holdfast/contract";
import { statement, toJson, type Queryable } from "../platform/db.ts";
import type { AgentSession, LiveLease } from "./model.ts";

const HEARTBEATS = statement(
  "scheduler.heartbeats",
  `with known as materialized (
     select a.at, a.machine_id as id, m.session
     from unnest($1::text[]) with ordinality as a (machine_id, at)
     -- A limit keeps the plan from reading every machine there is, sorted, to merge it with these.
     cross join lateral (select session from machines where id = a.machine_id limit 1) m
   ),
   -- Skipped, here and below: a row that another statement is just writing. Nobody waits, nobody deadlocks.
   due as (
     select m.id from unnest($1::text[], $2::int[]) as a (machine_id, session)
     join machines m on m.id = a.machine_id and m.session = a.session
     where m.state <> 'online' or m.last_heartbeat_at < now() - interval '2 seconds'
     for no key update of m skip locked
   ),
   beat as (
     update machines m set last_heartbeat_at = now(), state = 'online'
     from due where m.id = due.id
   ),
   mine as (
     select l.job_id, h.phase, h.progress
     from unnest($4::int[], $5::int[], $6::text[], $7::int[], $8::text[], $9::jsonb[])
       as h (at, session, job_id, lease_epoch, phase, progress)
     join known on known.at = h.at and known.session = h.session
     join leases l on l.job_id = h.job_id and l.lease_epoch = h.lease_epoch
       and l.machine_id = known.id
     for update of l skip locked
   ),
   renewed as (
     update leases l set
       lease_until = now() + make_interval(secs => $3::float8 / 1000),
       phase = mine.phase, progress = mine.progress
     from mine where l.job_id = mine.job_id
   )
   select known.at, known.session,
     (select json_agg(json_build_object(
        'jobId', l.job_id, 'attemptId', l.attempt_id, 'instanceId', l.instance_id,
        'leaseEpoch', l.lease_epoch)) from leases l where l.machine_id = known.id) as leases,
     (select json_agg(json_build_object(
        'instanceId', i.id, 'state', i.state, 'reason', i.reason,
        'inventoryDigest', i.inventory_digest, 'cordoned',
        i.cordoned or coalesce(i.quarantined_until > now(), false)))
      from instances i where i.machine_id = known.id) as instances
   from known`,
);

/** What a machine says: that it is there, and what it holds. */
export interface Beat {
  readonly agent: AgentSession;
  /** Renewed, as far as these are its leases and the session its newest. */
  readonly held: readonly HeldAttempt[];
}

/** What a heartbeat finds: the machine's session now, and every lease the machine should hold. */
export interface Heartbeat {
  readonly session: number;
  readonly leases: readonly LiveLease[];
  /** The machine's instances as the database has them. */
  readonly instances: readonly KnownInstance[];
}

/** What the database has of an instance: reports that say the same are not written. */
export interface KnownInstance {
  readonly instanceId: string;
  readonly state: string;
  readonly reason: string | null;
  readonly inventoryDigest: string | null;
  /** Given no new work: cordoned, or in quarantine. */
  readonly cordoned: boolean;
}

/**
 * Renews what machines hold and reads what they should hold: one answer a beat, in order; null where
 * the machine is unknown. Of what is held twice the later word is written.
 */
export async function writeHeartbeats(
  db: Queryable,
  beats: readonly Beat[],
  leaseTtlMs: number,
): Promise<readonly (Heartbeat | null)[]> {
  const held = newestWordOf(beats);
  const { rows } = await db.query<{
    at: number;
    session: number;
    leases: LiveLease[] | null;
    instances: KnownInstance[] | null;
  }>(HEARTBEATS, [
    beats.map(({ agent }) => agent.machineId),
    beats.map(({ agent }) => agent.session),
    leaseTtlMs,
    held.map(({ at }) => at),
    held.map(({ session }) => session),
    held.map(({ attempt }) => attempt.jobId),
    held.map(({ attempt }) => attempt.leaseEpoch),
    held.map(({ attempt }) => attempt.phase),
    held.map(({ attempt }) => (attempt.progress === null ? null : toJson(attempt.progress))),
  ]);
  const answers: (Heartbeat | null)[] = beats.map(() => null);
  for (const { at, session, leases, instances } of rows) {
    answers[at - 1] = { session, leases: leases ?? [], instances: instances ?? [] };
  }
  return answers;
}

/** A machine's poll and its renewal may come together, and both name what it holds. */
function newestWordOf(beats: readonly Beat[]) {
  const newest = new Map<string, { at: number; session: number; attempt: HeldAttempt }>();
  for (const [index, { agent, held }] of beats.entries()) {
    const { machineId, session } = agent;
    for (const attempt of held) {
      const of = `${machineId}:${session}:${attempt.jobId}:${attempt.leaseEpoch}`;
      newest.set(of, { at: index + 1, session, attempt });
    }
  }
  return [...newest.values()];
}
