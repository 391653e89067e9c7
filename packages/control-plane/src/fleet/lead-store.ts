/** Who leads the fleet, in SQL: a lease by the database's clock, with an epoch. */
import type { Queryable, Transaction } from "../platform/db.ts";
import { LeadLost } from "./model.ts";

/**
 * The lead as a condition of a leader's write, by the time of the statement; `place` is that of its epoch
 * among the statement's values. It is held until the write's transaction ends: whoever takes the lead over
 * waits for that, and so reads what was written. Keeping one's own lead waits for nobody, for it needs a
 * lock that goes together with this one.
 */
export function leadsBy(place: `$${number}`): string {
  return `exists (select 1 from fleet_leader where epoch = ${place} and leads_until > clock_timestamp()
    for key share)`;
}

/** The same, for a transaction whose writes are another feature's. Throws {@link LeadLost}. */
export async function assertLeads(tx: Transaction, epoch: number): Promise<void> {
  const { rows } = await tx.query<{ leads: boolean }>(`select ${leadsBy("$1")} as leads`, [epoch]);
  if (rows[0]?.leads !== true) throw new LeadLost();
}

/** Takes or keeps the lead for `ttlMs`; the epoch, or null while somebody else leads. */
export async function takeLead(
  db: Queryable,
  holder: string,
  ttlMs: number,
): Promise<number | null> {
  const until = "now() + make_interval(secs => $2::float8 / 1000)";
  // One statement for each lock: to keep the lead must not wait for the leader's own writes.
  for (const text of [
    `update fleet_leader set leads_until = ${until} where holder = $1 returning epoch`,
    `with over as (select only_one from fleet_leader where leads_until < now() for update)
     update fleet_leader l set holder = $1, epoch = l.epoch + 1, leads_until = ${until}
     from over where l.only_one = over.only_one returning l.epoch`,
    `insert into fleet_leader (holder, epoch, leads_until) values ($1, 1, ${until})
     on conflict (only_one) do nothing returning epoch`,
  ]) {
    const { rows } = await db.query<{ epoch: number }>(text, [holder, ttlMs]);
    if (rows[0] !== undefined) return rows[0].epoch;
  }
  return null;
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
