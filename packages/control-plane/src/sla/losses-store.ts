import type { Queryable } from "../platform/db.ts";
import { toTimestamp } from "../platform/db.ts";
import { LOSSES_MAX, type PoolEvent, type SlotLoss, type TimeRange } from "./model.ts";

/** Instances that were lost in a range, the last ones. */
export async function readInstanceLosses(
  db: Queryable,
  { from, to }: TimeRange,
): Promise<SlotLoss[]> {
  const { rows } = await db.query<SlotLoss>(
    `select 'instance' as kind, name, reason, lost_at as "lostAt", back_at as "refilledAt"
     from instance_losses where lost_at >= $1 and lost_at < $2
     order by lost_at desc limit $3`,
    [toTimestamp(from), toTimestamp(to), LOSSES_MAX],
  );
  return rows;
}

/** Machines of the fleet that became healthy or failed since the beginning of a range. */
export async function readPoolEvents(db: Queryable, { from }: TimeRange): Promise<PoolEvent[]> {
  const { rows } = await db.query<PoolEvent>(
    `select pool, name, end_reason as reason, healthy_at as "healthyAt",
       case when end_cause = 'failed' then ended_at end as "failedAt"
     from fleet_machines
     where healthy_at >= $1 or (end_cause = 'failed' and ended_at >= $1)
     order by asked_at desc limit $2`,
    [toTimestamp(from), LOSSES_MAX * 20],
  );
  return rows;
}
