/** Who leads the fleet, in SQL: a lease by the database's clock, with an epoch. */
import type { Queryable } from "../platform/db.ts";

/** Takes or keeps the lead for `ttlMs`; the epoch, or null while somebody else leads. */
export async function takeLead(
  db: Queryable,
  holder: string,
  ttlMs: number,
): Promise<number | null> {
  const { rows } = await db.query<{ epoch: number }>(
    `insert into fleet_leader as l (holder, epoch, leads_until)
     values ($1, 1, now() + make_interval(secs => $2::float8 / 1000))
     on conflict (only_one) do update set
       epoch = case when l.holder = excluded.holder then l.epoch else l.epoch + 1 end,
       holder = excluded.holder, leads_until = excluded.leads_until
     where l.holder = excluded.holder or l.leads_until < now()
     returning epoch`,
    [holder, ttlMs],
  );
  return rows[0]?.epoch ?? null;
}

/** Gives the lead back, so that the next one need not wait. */
export async function leaveLead(db: Queryable, holder: string): Promise<void> {
  await db.query("update fleet_leader set leads_until = now() where holder = $1", [holder]);
}

/** Who leads, and until when; null when nobody ever did. */
export async function readLead(
  db: Queryable,
): Promise<{ readonly holder: string; readonly isLed: boolean } | null> {
  const { rows } = await db.query<{ holder: string; is_led: boolean }>(
    "select holder, leads_until > now() as is_led from fleet_leader",
  );
  const row = rows[0];
  return row === undefined ? null : { holder: row.holder, isLed: row.is_led };
}
