/** What is wrong with machines now, in SQL: for whoever alerts operators. */
import type { Queryable } from "../platform/db.ts";

/** An instance that gets no work, or gives none. */
export interface TroubledInstance {
  readonly instance: string;
  readonly machine: string;
  readonly reason: string;
}

/** Instances that are in quarantine. */
export async function readQuarantined(db: Queryable, limit: number): Promise<TroubledInstance[]> {
  const { rows } = await db.query<TroubledInstance & Record<string, unknown>>(
    `select i.name as instance, m.name as machine, coalesce(i.quarantine_reason, '') as reason
     from instances i join machines m on m.id = i.machine_id
     where i.declared and i.quarantined_until > now() order by i.id limit $1`,
    [limit],
  );
  return rows;
}

/** Instances of machines that are there which say that they are unhealthy, and for how long. */
export async function readUnhealthy(
  db: Queryable,
  limit: number,
): Promise<(TroubledInstance & { readonly forSeconds: number })[]> {
  const { rows } = await db.query<
    TroubledInstance & { readonly forSeconds: number } & Record<string, unknown>
  >(
    `select i.name as instance, m.name as machine, coalesce(i.reason, '') as reason,
       extract(epoch from now() - i.state_since)::float8 as "forSeconds"
     from instances i join machines m on m.id = i.machine_id and m.state = 'online'
     where i.declared and i.state = 'unhealthy' and not i.cordoned order by i.id limit $1`,
    [limit],
  );
  return rows;
}

/** What a machine's last report says of its disk and its GPUs. */
export interface MachineCondition {
  readonly machine: string;
  readonly diskFreeBytes: number | null;
  readonly diskTotalBytes: number | null;
  readonly gpusFaulty: number;
  /** Of the first faulty one. */
  readonly fault: string | null;
}

/** Machines that are there with little room (less than the share) or faulty GPUs. */
export async function readConditions(
  db: Queryable,
  diskShareBelow: number,
  limit: number,
): Promise<MachineCondition[]> {
  const { rows } = await db.query<MachineCondition & Record<string, unknown>>(
    `select machine, free as "diskFreeBytes", total as "diskTotalBytes", faulty as "gpusFaulty", fault
     from (
       select m.id, m.name as machine,
         (r.report -> 'host' ->> 'diskFreeBytes')::float8 as free,
         (r.report -> 'host' ->> 'diskTotalBytes')::float8 as total,
         coalesce((r.summary -> 'gpus' ->> 'faulty')::int, 0) as faulty,
         jsonb_path_query_first(r.report, '$.gpus[*].fault ? (@ != null)') #>> '{}' as fault
       from machine_reports r join machines m on m.id = r.machine_id and m.state = 'online'
     ) as told
     where faulty > 0 or free < total * $1::float8
     order by faulty desc, free / nullif(total, 0), id limit $2`,
    [diskShareBelow, limit],
  );
  return rows;
}
