import type { Clock, Random } from "@holdfast/runtime";
import { backoffMs } from "@holdfast/runtime";
import {
  Client,
  Pool,
  type ClientBase,
  type ClientConfig,
  type PoolClient,
  type QueryResult,
} from "pg";
import { COLUMN_TYPES } from "./column-types.ts";
import { isConnectionFailure, isRetryableConflict } from "./db-errors.ts";
import type { Log } from "./log.ts";

/** Where a Postgres is and how to get in. */
export interface PgConnection {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

/**
 * How to find the database: a URL, a fixed connection, or a function asked anew for every
 * connection (an embedded Postgres may come back on another port).
 */
export type PgTarget = string | PgConnection | (() => PgConnection | string);

/**
 * A statement with a name: Postgres parses and plans it once per connection. For hot paths.
 * The text must be constant for a name.
 */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/** Names a statement; keep the result in a module constant. */
export function statement(name: string, text: string): Statement {
  return { name, text };
}

/** What a query gave. `rowCount` is the number of rows returned or changed. */
export interface QueryRows<R> {
  readonly rows: R[];
  readonly rowCount: number;
}

/** What a store function takes as its first parameter: the pool, or the client of a transaction. */
export interface Queryable {
  /**
   * Runs one statement. Values: numbers, strings, booleans, null, Buffers, and JavaScript arrays for
   * Postgres arrays; JSON columns take {@link toJson}, instants {@link toTimestamp}.
   * Columns come back as `column-types.ts` says: timestamptz as epoch milliseconds, int8 as number.
   */
  query<R extends object = Record<string, unknown>>(
    text: string | Statement,
    values?: readonly unknown[],
  ): Promise<QueryRows<R>>;
}

/** The client of an open transaction: a {@link Queryable} that only the transaction's function sees. */
export interface Transaction extends Queryable {
  readonly isTransaction: true;
}

/** How a transaction runs. */
export interface TransactionOptions {
  readonly isolation?: "read committed" | "repeatable read" | "serializable";
  /** In ms, for this transaction alone; 0 lifts the limit (migrations). */
  readonly statementTimeoutMs?: number;
}

/** A pool of connections to one database. */
export interface Db extends Queryable {
  /**
   * Runs `fn` in one transaction: commits when it resolves, rolls back when it throws. On a
   * serialization failure or a deadlock it runs again (bounded, jittered), so `fn` must do nothing
   * that a second run would double. A connection lost at commit is thrown: what happened is unknown.
   */
  transaction<T>(fn: (tx: Transaction) => Promise<T>, options?: TransactionOptions): Promise<T>;
  /** How busy the pool is, for metrics. */
  load(): { readonly total: number; readonly idle: number; readonly waiting: number };
  /** Ends the pool; waits for running queries, and until its connections are ended. Safe to call twice. */
  close(): Promise<void>;
}

/** A {@link Db} that can also do what Postgres does in no transaction: migrations need it, and nobody else. */
export interface PoolDb extends Db {
  /**
   * Runs `fn` on a connection that nobody else gets, outside of any transaction and without a limit of
   * time. The connection is ended afterwards, and what was set
   * on it or locked by it with it.
   */
  session<T>(fn: (on: Queryable) => Promise<T>): Promise<T>;
}

/** How to make a {@link Db}. */
export interface DbOptions {
  readonly target: PgTarget;
  readonly applicationName: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Connections at most. More than about eight only add latency on small machines. */
  readonly max?: number;
  readonly statementTimeoutMs?: number;
  /** Told of every failure of a connection, so that a supervisor may look at its Postgres at once. */
  readonly onConnectionLost?: (error: unknown) => void;
}

/** Connections of a pool unless told otherwise. */
export const DEFAULT_POOL_MAX = 8;
/** No statement of ours runs longer than this unless its transaction says so. */
export const DEFAULT_STATEMENT_TIMEOUT_MS = 30_000;
/**
 * A transaction that does nothing for this long is ended by the database: a process that was suspended in
 * the middle of one would hold its locks. Sooner than those who wait for them give up, or a replica could
 * not even start meanwhile; later than the longest wait inside a transaction of ours, 10 s for a store
 * that removes a blob.
 */
export const IDLE_IN_TRANSACTION_TIMEOUT_MS = 20_000;
/**
 * Every statement of ours goes by an index, and plans are kept: one that is made while a table is small
 * must not read the whole of it when it has grown (decision 15).
 */
const PLANNING = "-c enable_seqscan=off";
/** How long a caller waits for a connection of the pool. */
const CONNECT_TIMEOUT_MS = 10_000;
const IDLE_CONNECTION_MS = 60_000;
/** How long the end of a pool waits for connections to end that were told to. */
const GOODBYE_LIMIT_MS = 2_000;
const MAX_TRANSACTION_TRIES = 5;
const CONFLICT_BACKOFF = { initialMs: 5, factor: 3, maxMs: 250, jitter: 1 };

/** The settings of one connection as `pg` takes them. */
export function clientConfig(
  target: PgTarget,
  applicationName: string,
  statementTimeoutMs: number = DEFAULT_STATEMENT_TIMEOUT_MS,
): ClientConfig {
  const where = typeof target === "function" ? target() : target;
  return {
    ...(typeof where === "string" ? { connectionString: where } : where),
    application_name: applicationName,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    statement_timeout: statementTimeoutMs,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_TIMEOUT_MS,
    options: `-c timezone=UTC -c datestyle=ISO ${PLANNING}`,
    types: COLUMN_TYPES,
  };
}

/** Opens a pool. Connects lazily: the first query tells whether the database is there. */
export function createDb(options: DbOptions): PoolDb {
  const { clock, random, log } = options;
  const timeoutMs = options.statementTimeoutMs ?? DEFAULT_STATEMENT_TIMEOUT_MS;
  // The pool hands every new client its own options; asking the target here instead lets a
  // connection made after a restart find the new port.
  class TargetClient extends Client {
    constructor() {
      super(clientConfig(options.target, options.applicationName, timeoutMs));
    }
  }
  const pool = new Pool({
    max: options.max ?? DEFAULT_POOL_MAX,
    idleTimeoutMillis: IDLE_CONNECTION_MS,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    Client: TargetClient,
  });
  const lost = (error: unknown): void => {
    if (isConnectionFailure(error)) options.onConnectionLost?.(error);
  };
  const open = new Set<unknown>();
  let whenEnded: (() => void) | undefined;
  pool.on("connect", (client) => open.add(client));
  pool.on("remove", (client) => {
    open.delete(client);
    if (open.size === 0) whenEnded?.();
  });
  let closing: Promise<void> | undefined;
  pool.on("error", (err) => {
    // What a Postgres says that ends while its connections do is no loss.
    if (closing !== undefined) return;
    log.warn({ err }, "idle database connection lost");
    lost(err);
  });
  // The pool's own end only begins to end the connections: a Postgres that is stopped right after it would
  // find them open.
  const close = async (): Promise<void> => {
    const allEnded = new Promise<void>((resolve) => (whenEnded = resolve));
    await pool.end();
    const given = new AbortController();
    const limit = clock.sleep(GOODBYE_LIMIT_MS, given.signal).catch(() => undefined);
    if (open.size > 0) await Promise.race([allEnded, limit]);
    given.abort();
  };

  const once = async <T>(
    fn: (tx: Transaction) => Promise<T>,
    how: TransactionOptions,
  ): Promise<T> => {
    const client = await pool.connect();
    // While a client is out of the pool nobody else listens for its death; its queries reject.
    client.on("error", ignoreDeath);
    let broken: Error | undefined;
    try {
      await client.query(beginText(how));
      const result = await fn({
        isTransaction: true,
        query: (text, values) => runQuery(client, text, values),
      });
      await client.query("commit");
      return result;
    } catch (error) {
      broken = isConnectionFailure(error) ? (error as Error) : await rollback(client);
      throw error;
    } finally {
      client.off("error", ignoreDeath);
      client.release(broken);
    }
  };

  return {
    async query(text, values) {
      try {
        return await runQuery(pool, text, values);
      } catch (error) {
        lost(error);
        throw error;
      }
    },
    async transaction(fn, how = {}) {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await once(fn, how);
        } catch (error) {
          lost(error);
          if (!isRetryableConflict(error) || attempt >= MAX_TRANSACTION_TRIES) throw error;
          await clock.sleep(backoffMs(CONFLICT_BACKOFF, attempt, random));
        }
      }
    },
    async session(fn) {
      try {
        return await inSession(pool, fn);
      } catch (error) {
        lost(error);
        throw error;
      }
    },
    load: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    close: () => (closing ??= close()),
  };
}

async function inSession<T>(pool: Pool, fn: (on: Queryable) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  client.on("error", ignoreDeath);
  try {
    await client.query("set statement_timeout = 0");
    return await fn({ query: (text, values) => runQuery(client, text, values) });
  } finally {
    client.off("error", ignoreDeath);
    client.release(true);
  }
}

function ignoreDeath(): void {
  // Told by the query that was running.
}

function beginText(how: TransactionOptions): string {
  const isolation = how.isolation === undefined ? "" : ` isolation level ${how.isolation}`;
  const timeout =
    how.statementTimeoutMs === undefined
      ? ""
      : `; set local statement_timeout = ${Math.trunc(how.statementTimeoutMs)}`;
  return `begin${isolation}${timeout}`;
}

async function rollback(client: PoolClient): Promise<Error | undefined> {
  try {
    await client.query("rollback");
    return undefined;
  } catch (error) {
    return error as Error; // The client is of no more use: the pool throws it away.
  }
}

async function runQuery<R extends object>(
  on: Pool | ClientBase,
  text: string | Statement,
  values: readonly unknown[] | undefined,
): Promise<QueryRows<R>> {
  const config = typeof text === "string" ? { text } : { name: text.name, text: text.text };
  const result = await (on as ClientBase).query<R>(
    values === undefined ? config : { ...config, values: [...values] },
  );
  // A text of several statements answers with a list; its last result is the one asked for.
  const last = Array.isArray(result) ? (result.at(-1) as QueryResult<R>) : result;
  return { rows: last.rows, rowCount: last.rowCount ?? 0 };
}

/** A value for a `json` or `jsonb` parameter (`pg` would turn a JavaScript array into a Postgres one). */
export function toJson(value: unknown): string {
  return JSON.stringify(value);
}

/** An instant for a `timestamptz` parameter, from epoch milliseconds; null stays null. */
export function toTimestamp(epochMs: number | null | undefined): string | null {
  return epochMs === null || epochMs === undefined ? null : new Date(epochMs).toISOString();
}
