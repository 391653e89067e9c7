import type { Queryable } from "../platform/db.ts";
import { toTimestamp } from "../platform/db.ts";
import { LOSSES_MAX, type PoolEvent, type SlotLoss, type TimeRange } from "./model.ts";

/** Instances that were lost in a range, or before it and not back at its end: the last ones. */
export async function readInstanceLosses(
  db: Queryable,
  { from, to }: TimeRange,
): Promise<SlotLoss[]> {
  const { rows } = await db.query<SlotLoss>(
    `select 'instance' as kind, name, reason, lost_at as "lostAt", back_at as "refilledAt",
       left_at as "leftAt"
     from instance_losses where lost_at < $2
       and (lost_at >= $1 or coalesce(back_at, left_at, 'infinity') >= $2)
     order by lost_at desc limit $3`,
    [toTimestamp(from), toTimestamp(to), LOSSES_MAX],
  );
  return rows;
}

/**
 * Machines of the fleet that became healthy, the last ones. One that fell silent failed at its last sign:
 * that it was given up a minute later is part of the time until it is replaced.
 */
export async function readPoolEvents(db: Queryable): Promise<PoolEvent[]> {
  const { rows } = await db.query<PoolEvent>(
    `select f.pool, f.name, f.end_reason as reason, f.healthy_at as "healthyAt",
       case when f.end_cause = 'failed' then
         case when f.end_kind = 'no_heartbeat'
           then greatest(f.healthy_at, least(f.ended_at, m.last_heartbeat_at)) else f.ended_at end
       end as "failedAt",
       case when f.end_cause = 'intended' then f.ended_at end as "endedAt"
     from fleet_machines f left join machines m on m.id = f.machine_id
     where f.healthy_at is not null or f.end_cause = 'intended'
     order by f.id desc limit $1`,
    [LOSSES_MAX * 20],
  );
  return rows;
}

/** How many machines each pool is short of, as the last round of the fleet wanted them. */
export async function readLacking(db: Queryable): Promise<ReadonlyMap<string, number>> {
  const { rows } = await db.query<{ pool: string; lacking: number }>(
    `select p.name as pool, greatest(0, (p.decision->>'desired')::int - (
       select count(*) from fleet_machines f
       where f.pool = p.name and f.state = 'ready' and f.healthy_at is not null))::int as lacking
     from fleet_pools p where p.decision is not null`,
  );
  return new Map(rows.map(({ pool, lacking }) => [pool, lacking]));
}
