import type { Queryable } from "../platform/db.ts";
import { toTimestamp } from "../platform/db.ts";
import { LOSSES_MAX, type PoolEvent, type SlotLoss, type TimeRange } from "./model.ts";

/** Instances that were lost in a range, the last ones. */
export async function readInstanceLosses(
  db: Queryable,
  { from, to }: TimeRange,
): Promise<SlotLoss[]> {
  const { rows } = await db.query<SlotLoss>(
    `select 'instance' as kind, name, reason, lost_at as "lostAt", back_at as "refilledAt",
       left_at as "leftAt"
     from instance_losses where lost_at >= $1 and lost_at < $2
     order by lost_at desc limit $3`,
    [toTimestamp(from), toTimestamp(to), LOSSES_MAX],
  );
  return rows;
}

/**
 * Machines of the fleet that became healthy or failed since the beginning of a range. One that fell silent
 * failed at its last sign: that it was given up a minute later is part of the time until it is replaced.
 */
export async function readPoolEvents(db: Queryable, { from }: TimeRange): Promise<PoolEvent[]> {
  const { rows } = await db.query<PoolEvent>(
    `select f.pool, f.name, f.end_reason as reason, f.healthy_at as "healthyAt",
       case when f.end_cause = 'failed' then
         case when f.end_kind = 'no_heartbeat'
           then greatest(f.healthy_at, least(f.ended_at, m.last_heartbeat_at)) else f.ended_at end
       end as "failedAt"
     from fleet_machines f left join machines m on m.id = f.machine_id
     where f.healthy_at >= $1 or (f.end_cause = 'failed' and f.ended_at >= $1)
     order by f.asked_at desc limit $2`,
    [toTimestamp(from), LOSSES_MAX * 20],
  );
  return rows;
}
