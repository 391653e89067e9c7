/** What is known of the fleet's machines by their agents, in one statement. */
import type { MachineSigns } from "@holdfast/fleet";
import { toTimestamp, type Queryable } from "../platform/db.ts";

/** Signs of a machine, and who its agent is. */
export interface ReadSigns extends Omit<MachineSigns, "silence" | "fault" | "idleSince"> {
  readonly machineId: string;
  readonly name: string;
  /** Why no instance of it works, where its report says so; null when one does, or it says nothing. */
  readonly faultReason: string | null;
  /** Epoch ms since when its services are as they are. */
  readonly faultSince: number | null;
  readonly healthPort: number | null;
  /** Epoch ms of the end of its last attempt; null without one. */
  readonly lastJobAt: number | null;
}

interface SignsRow {
  readonly machine_id: string;
  readonly name: string;
  readonly heartbeat_at: number;
  readonly progress_at: number;
  readonly has_signed_off: boolean | null;
  readonly is_healthy: boolean | null;
  readonly jobs: number;
  readonly fault: { readonly reason: string; readonly since: number } | null;
  readonly health_port: number | null;
  readonly last_job_at: number | null;
}

/** What `sign-off.ts` of the agent writes at every instance. */
const SIGNED_OFF = "its agent has stopped";

/**
 * Signs of machines: of all that have registered and are not forgotten, by the id of the machine. The
 * fault is the first service that is broken or unhealthy of a machine none of whose instances works.
 */
export async function readSigns(
  db: Queryable,
  heartbeatFreshMs: number,
  now: number,
): Promise<readonly ReadSigns[]> {
  const { rows } = await db.query<SignsRow>(
    `select m.id as machine_id, m.name, m.last_heartbeat_at as heartbeat_at,
       greatest(m.registered_at, r.reported_at, s.updated_at) as progress_at,
       i.has_signed_off, i.is_healthy and m.state = 'online'
         and m.last_heartbeat_at > $3::timestamptz - make_interval(secs => $1::float8 / 1000) as is_healthy,
       coalesce(l.jobs, 0)::int as jobs,
       f.fault, (r.report ->> 'healthPort')::int as health_port, a.ended_at as last_job_at
     from machines m
     left join machine_reports r on r.machine_id = m.id
     left join lateral (
       select max(updated_at) as updated_at from startup_runs where machine_id = m.id) s on true
     left join lateral (
       select bool_and(state = 'stopped' and reason = $2) as has_signed_off,
         bool_or(state = 'healthy') as is_healthy
       from instances where machine_id = m.id and declared) i on true
     left join lateral (select count(*) as jobs from leases where machine_id = m.id) l on true
     left join lateral (
       select max(t.ended_at) as ended_at from instances o
       join lateral (
         select ended_at from attempts where instance_id = o.id order by id desc limit 1) t on true
       where o.machine_id = m.id) a on true
     left join lateral (
       select jsonb_build_object('reason', (service ->> 'name') || ': ' || (service ->> 'reason'),
         'since', (service ->> 'since')::bigint) as fault
       from jsonb_array_elements(r.report -> 'services') service
       where service ->> 'state' = 'unhealthy'
         or service -> 'installation' ->> 'state' = 'broken'
       limit 1) f on true
     where m.last_heartbeat_at > $3::timestamptz - interval '7 days'`,
    [heartbeatFreshMs, SIGNED_OFF, toTimestamp(now)],
  );
  return rows.map((row) => ({
    machineId: row.machine_id,
    name: row.name,
    heartbeatAt: row.heartbeat_at,
    hasSignedOff: row.has_signed_off === true,
    progressAt: row.progress_at,
    isHealthy: row.is_healthy === true,
    jobCount: row.jobs,
    faultReason: row.fault?.reason ?? null,
    faultSince: row.fault?.since ?? null,
    healthPort: row.health_port,
    lastJobAt: row.last_job_at,
  }));
}
