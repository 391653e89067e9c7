/**
 * Real connections to the simulation's database, on which statements run one at a time. A statement
 * that has to wait for a lock is left waiting while others run, and is taken up again when the lock
 * is free: which one waits, and which one comes next, is Postgres's decision and does not depend on
 * how fast anything is.
 */
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import {
  createDb,
  type Db,
  type QueryRows,
  type Statement,
} from "../../../packages/control-plane/src/platform/db.ts";
import { SILENT_LOG } from "../../../packages/control-plane/src/platform/log.ts";

/** What came of a statement. */
export type StatementResult =
  | { readonly kind: "rows"; readonly rows: QueryRows<Record<string, unknown>> }
  | { readonly kind: "error"; readonly error: unknown };

/** One connection. */
export interface Lane {
  readonly db: Db;
  pid: number;
  /** The `sim.now` that its session has; undefined when that is not known. */
  toldNow: string | undefined;
}

interface Waiting {
  readonly lane: Lane;
  readonly onDone: (result: StatementResult) => void;
  result: StatementResult | undefined;
}

/** Lanes of one database. */
export interface Lanes {
  /** A lane that nobody uses; the one used last first. */
  take(): Promise<Lane>;
  give(lane: Lane): void;
  /**
   * Runs a statement. Resolves when it is done, after `onDone`, or when it waits for a lock: then
   * `onDone` comes while another statement is run.
   */
  run(
    lane: Lane,
    text: string | Statement,
    values: readonly unknown[] | undefined,
    onDone: (result: StatementResult) => void,
  ): Promise<void>;
  /** Makes a waiting statement fail, as its time limit does. */
  cancel(lane: Lane): Promise<void>;
  /** Ends a connection from the server's side: its transaction is rolled back. */
  terminate(lane: Lane): Promise<void>;
  /** Statements that wait for a lock now. */
  waiting(): number;
  /** A statement of the simulation itself, which no lock holds up. */
  admin(text: string, values?: readonly unknown[]): Promise<QueryRows<Record<string, unknown>>>;
  close(): Promise<void>;
}

/** Looks at a statement that is not done yet. */
const LOOK_EVERY_MS = 4;
/** Above the database's `deadlock_timeout`: by then a circle of waits has been broken. */
const SURELY_BLOCKED_MS = 40;

/**
 * Opens lanes to a database as they are needed. `later` runs something as an event of its own: what
 * a statement that had to wait gave is told apart from what let it go on.
 */
export function createLanes(url: string, later: (run: () => void) => void): Lanes {
  const open = (): Db =>
    createDb({
      target: url,
      applicationName: "holdfast-simulation",
      clock: systemClock,
      random: systemRandom,
      log: SILENT_LOG,
      max: 1,
    });
  const adminDb = open();
  const free: Lane[] = [];
  const all = new Set<Lane>();
  const waiting = new Set<Waiting>();

  const admin: Lanes["admin"] = (text, values) => adminDb.query(text, values);
  const isBlocked = async (lane: Lane): Promise<boolean> => {
    const { rows } = await admin("select cardinality(pg_blocking_pids($1)) > 0 as blocked", [
      lane.pid,
    ]);
    return rows[0]?.["blocked"] === true;
  };
  /** True when the statement is done, false when it waits for a lock. */
  const watch = async (statement: Waiting): Promise<boolean> => {
    const startedAt = systemClock.elapsed();
    while (statement.result === undefined) {
      await systemClock.sleep(LOOK_EVERY_MS);
      if (statement.result !== undefined) break;
      const isSure = systemClock.elapsed() - startedAt > SURELY_BLOCKED_MS;
      if (isSure && (await isBlocked(statement.lane))) return false;
    }
    return true;
  };
  const settle = (statement: Waiting): void => {
    waiting.delete(statement);
    if (statement.result !== undefined) statement.onDone(statement.result);
  };
  /** Whatever had to wait for a lock that is free by now is done as well. */
  const sweep = async (): Promise<void> => {
    for (const statement of waiting) {
      if (!(await watch(statement))) continue;
      waiting.delete(statement);
      later(() => settle(statement));
    }
  };

  return {
    async take() {
      const known = free.pop();
      if (known !== undefined) return known;
      const db = open();
      const { rows } = await db.query<{ pid: number }>("select pg_backend_pid() as pid");
      const lane: Lane = { db, pid: rows[0]?.pid ?? 0, toldNow: undefined };
      all.add(lane);
      return lane;
    },
    give: (lane) => void (all.has(lane) && free.push(lane)),
    async run(lane, text, values, onDone) {
      const statement: Waiting = { lane, onDone, result: undefined };
      const done = lane.db.query(text, values).then(
        (rows) => (statement.result = { kind: "rows", rows }),
        (error: unknown) => (statement.result = { kind: "error", error }),
      );
      await Promise.race([done, systemClock.sleep(LOOK_EVERY_MS)]);
      if (statement.result === undefined && !(await watch(statement))) {
        waiting.add(statement);
        return;
      }
      settle(statement);
      if (waiting.size > 0) await sweep();
    },
    async cancel(lane) {
      await admin("select pg_cancel_backend($1)", [lane.pid]);
      await sweep();
    },
    async terminate(lane) {
      all.delete(lane);
      await admin("select pg_terminate_backend($1, 5000)", [lane.pid]);
      await sweep();
      await lane.db.close();
    },
    waiting: () => waiting.size,
    admin,
    async close() {
      for (const lane of all) await admin("select pg_terminate_backend($1, 5000)", [lane.pid]);
      for (const lane of all) await lane.db.close();
      await adminDb.close();
    },
  };
}
