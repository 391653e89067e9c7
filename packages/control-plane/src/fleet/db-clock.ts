/** The database's clock between two questions: asked once a round, carried on monotonically. */
import type { Clock } from "@holdfast/runtime";
import type { Queryable } from "../platform/db.ts";
import { readNow } from "./lever-store.ts";

/** See the head of this file. */
export interface DbClock {
  /** Epoch ms by the database's clock. */
  now(): number;
}

/** Asks the database for its time; `read` is another source of it in simulations. */
export async function readDbClock(
  db: Queryable,
  clock: Pick<Clock, "elapsed">,
  read: (db: Queryable) => Promise<number> = readNow,
): Promise<DbClock> {
  const told = await read(db);
  // From the answer on, not from the question: what is thought to be too early is only done later.
  const at = clock.elapsed();
  return { now: () => told + (clock.elapsed() - at) };
}
