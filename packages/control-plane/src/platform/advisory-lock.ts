/** Postgres's advisory locks: held until the transaction ends, whatever becomes of the process. */
import type { Queryable, Transaction } from "./db.ts";

/** Takes a lock for this transaction; false when somebody else has it. */
export async function tryAdvisoryLock(tx: Transaction, key: number): Promise<boolean> {
  const { rows } = await tx.query<{ locked: boolean }>(
    "select pg_try_advisory_xact_lock($1) as locked",
    [key],
  );
  return rows[0]?.locked === true;
}

/** Takes a lock for this transaction, and waits for whoever has it. */
export async function takeAdvisoryLock(tx: Queryable, key: number): Promise<void> {
  await tx.query("select pg_advisory_xact_lock($1)", [key]);
}
