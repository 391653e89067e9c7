import type { Queryable } from "../platform/db.ts";
import { HOST } from "./store.ts";

/** Deliveries that were given up within a time, by the host of their targets. */
export async function countDead(
  db: Queryable,
  withinMs: number,
  limit: number,
): Promise<{ readonly host: string; readonly count: number }[]> {
  const { rows } = await db.query<{ host: string; count: number }>(
    `select coalesce(${HOST}, '') as host, count(*)::int as count from webhook_deliveries
     where state = 'dead' and ended_at > now() - make_interval(secs => $1)
     group by 1 order by 2 desc, 1 limit $2`,
    [withinMs / 1000, limit],
  );
  return rows;
}
