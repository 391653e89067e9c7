/** What is known of the fleet's machines by their agents, in SQL: few statements for all of them. */
import { SIGNED_OFF } from "@holdfast/contract";
import { statement, toTimestamp, type Queryable } from "../platform/db.ts";

/** What a machine's agent has told. Instants are epoch ms. */
export interface ReadSigns {
  readonly machineId: string;
  readonly name: string;
  readonly heartbeatAt: number;
  readonly hasSignedOff: boolean;
  /** Of its registration or its last report. */
  readonly progressAt: number;
  readonly isHealthy: boolean;
  /** None of its healthy instances is given work: cordoned by a person, or in quarantine. */
  readonly isSetAside: boolean;
  readonly jobCount: number;
  /** The first service that is unhealthy, or whose installation failed. */
  readonly fault: string | null;
  readonly healthPort: number | null;
}

interface SignsRow {
  readonly machine_id: string;
  readonly name: string;
  readonly heartbeat_at: number;
  readonly progress_at: number;
  readonly has_signed_off: boolean | null;
  readonly is_healthy: boolean | null;
  readonly is_set_aside: boolean | null;
  readonly jobs: number | null;
  readonly fault: { readonly name: string; readonly reason: string } | null;
  readonly health_port: number | null;
}

// Joined by hashes of whole tables: a lookup for each of 10,000 machines takes five times as long.
const SIGNS = statement(
  "fleet.signs",
  `select m.id as machine_id, m.name, m.last_heartbeat_at as heartbeat_at,
     greatest(m.registered_at, r.reported_at) as progress_at,
     i.has_signed_off,
     i.is_healthy and m.state = 'online'
       and m.last_heartbeat_at > $3::timestamptz - make_interval(secs => $1::float8 / 1000) as is_healthy,
     i.is_set_aside, l.jobs,
     jsonb_path_query_first(r.summary, '$.problems[*] ? (@.state == "unhealthy"
       || @.reason starts with "its installation failed")') as fault,
     (r.summary ->> 'healthPort')::int as health_port
   from machines m
   left join machine_reports r on r.machine_id = m.id
   left join (
     select machine_id, bool_and(state = 'stopped' and reason = $2) as has_signed_off,
       bool_or(state = 'healthy') as is_healthy,
       bool_and((cordoned and not cordoned_by_fleet) or coalesce(quarantined_until > now(), false))
         filter (where state = 'healthy') as is_set_aside
     from instances where declared group by machine_id) i on i.machine_id = m.id
   left join (
     select machine_id, count(*)::int as jobs from leases group by machine_id) l
     on l.machine_id = m.id
   where m.last_heartbeat_at > $3::timestamptz - interval '7 days'`,
);

/** Signs of all machines that have registered and were heard of in the last week. */
export async function readSigns(
  db: Queryable,
  heartbeatFreshMs: number,
  now: number,
): Promise<readonly ReadSigns[]> {
  const { rows } = await db.query<SignsRow>(SIGNS, [
    heartbeatFreshMs,
    SIGNED_OFF,
    toTimestamp(now),
  ]);
  return rows.map((row) => ({
    machineId: row.machine_id,
    name: row.name,
    heartbeatAt: row.heartbeat_at,
    hasSignedOff: row.has_signed_off === true,
    progressAt: row.progress_at,
    isHealthy: row.is_healthy === true,
    isSetAside: row.is_set_aside === true,
    jobCount: row.jobs ?? 0,
    fault: row.fault === null ? null : `${row.fault.name}: ${row.fault.reason}`,
    healthPort: row.health_port,
  }));
}

/** When machines last told a step of their start; those that never did are left out. */
export async function readStepTimes(
  db: Queryable,
  machineIds: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  if (machineIds.length === 0) return new Map();
  const { rows } = await db.query<{ machine_id: string; at: number }>(
    `select machine_id, max(updated_at) as at from startup_runs
     where machine_id = any($1) group by machine_id`,
    [[...machineIds]],
  );
  return new Map(rows.map((row) => [row.machine_id, row.at]));
}

/** When the last attempt on each of these machines ended; those without one are left out. */
export async function readLastJobTimes(
  db: Queryable,
  machineIds: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  if (machineIds.length === 0) return new Map();
  const { rows } = await db.query<{ machine_id: string; at: number }>(
    `select i.machine_id, max(a.ended_at) as at from instances i
     join lateral (
       select ended_at from attempts where instance_id = i.id order by id desc limit 1) a on true
     where i.machine_id = any($1) and a.ended_at is not null group by i.machine_id`,
    [[...machineIds]],
  );
  return new Map(rows.map((row) => [row.machine_id, row.at]));
}
