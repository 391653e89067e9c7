import type { Queryable, Transaction } from "../platform/db.ts";

/** What is removed here when nothing was heard of it for long. */
export type DeadKind = "instance" | "machine" | "inventory";

/** $1 in every text: for how long, in ms. */
const LONG_AGO = "now() - make_interval(secs => $1::float8 / 1000)";
const INSTANCE_IS_DEAD = `(not i.declared and i.state_since < ${LONG_AGO}
  or m.state = 'lost' and m.last_heartbeat_at < ${LONG_AGO})`;
const MACHINE_IS_DEAD = `(m.state = 'lost' and m.last_heartbeat_at < ${LONG_AGO})`;
/** A job's page names the instances that ran it: they stay as long as it does. */
const INSTANCE_IS_NAMED = `(exists (select from attempts a where a.instance_id = i.id)
  or exists (select from leases l where l.machine_id = i.machine_id and l.instance_id = i.id))`;
const MACHINE_IS_NAMED = "exists (select from instances i where i.machine_id = m.id)";
const INVENTORY_IS_NAMED = "exists (select from instances i where i.inventory_digest = v.digest)";

interface Texts {
  /** The next rows after $2, at most $3: id, and whether it may go. */
  readonly read: string;
  /** Locks those of $2 that are dead still and that nobody else has locked. */
  readonly lock: string;
  /** Removes those of $1 that nothing names. */
  readonly remove: string;
}

const TEXTS: Readonly<Record<DeadKind, Texts>> = {
  // With its machine: a registration locks that first, waits, and makes the instance anew.
  instance: {
    read: `select i.id, case when ${INSTANCE_IS_DEAD} then not ${INSTANCE_IS_NAMED} else false end
             as "mayGo"
           from (select * from instances where id > $2 order by id limit $3) i
           join machines m on m.id = i.machine_id order by i.id`,
    lock: `select i.id from instances i join machines m on m.id = i.machine_id
           where i.id = any($2::text[]) and ${INSTANCE_IS_DEAD}
           order by i.id for update skip locked`,
    remove: `delete from instances i where i.id = any($1::text[]) and not ${INSTANCE_IS_NAMED}`,
  },
  machine: {
    read: `select m.id, ${MACHINE_IS_DEAD} and not ${MACHINE_IS_NAMED} as "mayGo"
           from (select * from machines where id > $2 order by id limit $3) m order by m.id`,
    lock: `select m.id from machines m where m.id = any($2::text[]) and ${MACHINE_IS_DEAD}
           order by m.id for update skip locked`,
    remove: `delete from machines m where m.id = any($1::text[]) and not ${MACHINE_IS_NAMED}`,
  },
  // A report that names one locks it, waits, and finds that it must be sent again.
  inventory: {
    read: `select v.digest as id, v.created_at < ${LONG_AGO} and not ${INVENTORY_IS_NAMED} as "mayGo"
           from (select digest, created_at from inventories where digest > $2
             order by digest limit $3) v order by v.digest`,
    lock: `select v.digest as id from inventories v
           where v.digest = any($2::text[]) and v.created_at < ${LONG_AGO}
           order by v.digest for update skip locked`,
    remove: `delete from inventories v where v.digest = any($1::text[]) and not ${INVENTORY_IS_NAMED}`,
  },
};

/** Rows looked at. */
export interface DeadRows {
  /** Those that may go. */
  readonly ids: readonly string[];
  /** The last row looked at; undefined at the end of the table. */
  readonly last: string | undefined;
}

/** Looks at the next `limit` rows after an id for those of which nothing was heard for `afterMs`. */
export async function readDead(
  db: Queryable,
  kind: DeadKind,
  part: { readonly afterMs: number; readonly after: string; readonly limit: number },
): Promise<DeadRows> {
  const { rows } = await db.query<{ id: string; mayGo: boolean }>(TEXTS[kind].read, [
    part.afterMs,
    part.after,
    part.limit,
  ]);
  return {
    ids: rows.filter((row) => row.mayGo).map((row) => row.id),
    last: rows.length === part.limit ? rows.at(-1)?.id : undefined,
  };
}

/** Locks those that are dead still; the ones that somebody else has locked are left. */
export async function lockDead(
  tx: Transaction,
  kind: DeadKind,
  afterMs: number,
  ids: readonly string[],
): Promise<string[]> {
  const { rows } = await tx.query<{ id: string }>(TEXTS[kind].lock, [afterMs, ids]);
  return rows.map((row) => row.id);
}

/**
 * Removes locked rows that nothing names. It must be a statement after the one that locked them: only
 * then it sees what everybody wrote who came before the lock.
 */
export async function removeDead(
  tx: Transaction,
  kind: DeadKind,
  ids: readonly string[],
): Promise<number> {
  const { rowCount } = await tx.query(TEXTS[kind].remove, [ids]);
  return rowCount;
}
