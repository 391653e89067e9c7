/** A process's pool of connections to the simulation's database, with the network between. */
import { backoffMs, type Random } from "@holdfast/runtime";
import { isRetryableConflict } from "../../../packages/control-plane/src/platform/db-errors.ts";
import {
  DEFAULT_POOL_MAX,
  DEFAULT_STATEMENT_TIMEOUT_MS,
  IDLE_IN_TRANSACTION_TIMEOUT_MS,
  type Db,
  type QueryRows,
  type Statement,
  type Transaction,
} from "../../../packages/control-plane/src/platform/db.ts";
import type { Lane, Lanes, StatementResult } from "./lanes.ts";
import type { SimProcess } from "./process.ts";
import type { Timeline } from "./timeline.ts";
import type { Trace } from "./trace.ts";

/** What a pool needs of its database. */
export interface PoolGround {
  readonly timeline: Timeline;
  readonly trace: Trace;
  readonly lanes: Lanes;
  /** Connections on which a transaction is open, and what ends it. */
  readonly open: Map<Lane, () => Promise<void>>;
  readonly slowestMs: number;
  answersToLose: number;
  afterNextWrite: (() => void) | undefined;
  isReachedBy(process: SimProcess): boolean;
  tellNow(lane: Lane): Promise<void>;
  beginText(lane: Lane): string;
  run(
    lane: Lane,
    text: string | Statement,
    values: readonly unknown[] | undefined,
    onDone: (result: StatementResult) => void,
  ): Promise<void>;
}

/**
 * Makes a pool. Each statement runs at the database a moment after it was sent, and its process hears
 * of it if it still lives; a process that dies takes its open transactions with it.
 */
export function createPool(database: PoolGround, process: SimProcess, random: Random): Db {
  return new Pool(database, process, random);
}

const FASTEST_MS = 0.3;
const MAX_TRANSACTION_TRIES = 5;
const CONFLICT_BACKOFF = { initialMs: 5, factor: 3, maxMs: 250, jitter: 1 };
/** How long a caller waits for a connection of the pool, as `platform/db.ts` has it. */
const CONNECT_TIMEOUT_MS = 10_000;
const WRITES = /\b(insert into|update|delete from)\b/;

function refused(): Error {
  return Object.assign(new Error("connect ECONNREFUSED (simulated)"), { code: "ECONNREFUSED" });
}

function reset(): Error {
  return Object.assign(new Error("read ECONNRESET (simulated)"), { code: "ECONNRESET" });
}

class Pool implements Db {
  readonly #database: PoolGround;
  readonly #process: SimProcess;
  readonly #random: Random;
  readonly #queue: (() => void)[] = [];
  readonly #open = new Set<Lane>();
  #busy = 0;

  constructor(database: PoolGround, process: SimProcess, random: Random) {
    this.#database = database;
    this.#process = process;
    this.#random = random;
    process.onKill(() => {
      // The server sees the end of the connections, and rolls back what was open.
      for (const lane of this.#open) {
        database.timeline.after(this.#latency(), () => this.#endLane(lane));
      }
    });
  }

  async query<R extends object>(
    text: string | Statement,
    values?: readonly unknown[],
  ): Promise<QueryRows<R>> {
    await this.#enter();
    try {
      return (await this.#send(undefined, text, values)) as unknown as QueryRows<R>;
    } finally {
      this.#leave();
    }
  }

  async transaction<T>(fn: (tx: Transaction) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#once(fn);
      } catch (error) {
        if (!isRetryableConflict(error) || attempt >= MAX_TRANSACTION_TRIES) throw error;
        await this.#process.clock.sleep(backoffMs(CONFLICT_BACKOFF, attempt, this.#random));
      }
    }
  }

  load(): { total: number; idle: number; waiting: number } {
    const idle = DEFAULT_POOL_MAX - this.#busy;
    return { total: DEFAULT_POOL_MAX, idle, waiting: this.#queue.length };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async #once<T>(fn: (tx: Transaction) => Promise<T>): Promise<T> {
    await this.#enter();
    try {
      const open = new OpenTransaction(this.#database, this.#process);
      try {
        await this.#send(open, "begin", undefined);
        const result = await fn({
          isTransaction: true,
          query: async (text, values) => (await this.#send(open, text, values)) as never,
        });
        await this.#send(open, "commit", undefined);
        return result;
      } catch (error) {
        if (open.lane !== undefined) {
          await this.#send(open, "rollback", undefined).catch(() => undefined); // It is gone then.
        }
        throw error;
      }
    } finally {
      this.#leave();
    }
  }

  /** Takes one of the pool's connections, or waits for one as long as the driver does. */
  async #enter(): Promise<void> {
    if (this.#busy < DEFAULT_POOL_MAX) {
      this.#busy += 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const limit = this.#process.after(CONNECT_TIMEOUT_MS, () => {
        this.#queue.splice(this.#queue.indexOf(take), 1);
        reject(new Error("timeout exceeded when trying to connect"));
      });
      const take = (): void => {
        limit.cancel();
        resolve();
      };
      this.#queue.push(take);
    });
  }

  /** Gives it to whoever waits longest, or back. */
  #leave(): void {
    const next = this.#queue.shift();
    if (next === undefined) this.#busy -= 1;
    else next();
  }

  #latency(): number {
    return FASTEST_MS + this.#random.next() * (this.#database.slowestMs - FASTEST_MS);
  }

  /** Sends a statement, which runs at the database a moment later. */
  #send(
    open: OpenTransaction | undefined,
    text: string | Statement,
    values: readonly unknown[] | undefined,
  ): Promise<QueryRows<Record<string, unknown>>> {
    open?.touch();
    return new Promise((resolve, reject) => {
      this.#database.timeline.after(this.#latency(), () =>
        this.#execute(open, text, values, (result) => {
          this.#process.deliver(() => {
            if (result.kind === "rows") resolve(result.rows);
            else reject(result.error as Error);
          });
        }),
      );
    });
  }

  async #execute(
    open: OpenTransaction | undefined,
    text: string | Statement,
    values: readonly unknown[] | undefined,
    deliver: (result: StatementResult) => void,
  ): Promise<void> {
    const database = this.#database;
    // What a process sent before its death may have arrived; what its open transaction did is undone.
    if (!this.#process.isAlive() && (open !== undefined || this.#random.next() < 0.5)) return;
    const name = typeof text === "string" ? text.trim().split(/\s+/, 3).join(" ") : text.name;
    const fail = async (error: Error): Promise<void> => {
      if (open?.lane !== undefined) await this.#endLane(open.take());
      database.trace.note(this.#process.name, "sql", name, error.message);
      deliver({ kind: "error", error });
    };
    if (!database.isReachedBy(this.#process)) return fail(refused());
    if (open !== undefined && open.lane === undefined && text !== "begin") return fail(reset());
    const lane = open?.lane ?? (await database.lanes.take());
    this.#open.add(lane);
    const isBegin = text === "begin";
    // As Postgres has it: one instant for all of a transaction.
    if (open === undefined) await database.tellNow(lane);
    const sent = isBegin ? database.beginText(lane) : text;
    if (isBegin) {
      const end = (): Promise<void> => this.#endLane(open?.take() ?? lane);
      open?.begin(lane, end);
      database.open.set(lane, end);
    }
    const limit = database.timeline.after(DEFAULT_STATEMENT_TIMEOUT_MS, () =>
      database.lanes.cancel(lane),
    );
    await database.run(lane, sent, values, (result) => {
      limit.cancel();
      const isError = result.kind === "error";
      database.trace.note(
        this.#process.name,
        "sql",
        name,
        isError ? String(result.error) : String(result.rows.rowCount),
      );
      const isOver = text === "commit" || text === "rollback";
      if (isError) {
        // The driver's pool throws such a connection away.
        this.#open.delete(lane);
        database.open.delete(lane);
        if (open !== undefined) open.take();
        database.timeline.after(0, () => database.lanes.terminate(lane));
      } else if (open === undefined || isOver) {
        if (isOver) open?.take();
        this.#open.delete(lane);
        database.open.delete(lane);
        database.lanes.give(lane);
      }
      deliver(this.#onItsWay(text, open, result));
    });
  }

  /** A result between the database and the process that asked. */
  #onItsWay(
    text: string | Statement,
    open: OpenTransaction | undefined,
    result: StatementResult,
  ): StatementResult {
    const database = this.#database;
    const isWrite =
      text === "commit" ||
      (open === undefined && WRITES.test(typeof text === "string" ? text : text.text));
    if (!isWrite || result.kind === "error") return result;
    const { afterNextWrite } = database;
    database.afterNextWrite = undefined;
    afterNextWrite?.();
    if (database.answersToLose <= 0) return result;
    database.answersToLose -= 1;
    database.trace.note(this.#process.name, "sql", "the answer is lost", "");
    return { kind: "error", error: reset() };
  }

  async #endLane(lane: Lane | undefined): Promise<void> {
    if (lane === undefined || !this.#open.delete(lane)) return;
    await this.#database.lanes.terminate(lane);
    this.#database.open.delete(lane);
  }
}

/** A transaction from its `begin` on; idle for too long, it is ended by the database. */
class OpenTransaction {
  readonly #database: PoolGround;
  readonly #process: SimProcess;
  lane: Lane | undefined;
  #end: (() => Promise<void>) | undefined;
  #idle: { cancel(): void } | undefined;

  constructor(database: PoolGround, process: SimProcess) {
    this.#database = database;
    this.#process = process;
  }

  begin(lane: Lane, end: () => Promise<void>): void {
    this.lane = lane;
    this.#end = end;
    this.touch();
  }

  touch(): void {
    this.#idle?.cancel();
    const end = this.#end;
    if (end === undefined) return;
    this.#idle = this.#database.timeline.after(IDLE_IN_TRANSACTION_TIMEOUT_MS, async () => {
      this.#database.trace.note(this.#process.name, "sql", "idle in transaction", "ended");
      await end();
    });
  }

  /** The lane, which is nobody's transaction any more. */
  take(): Lane | undefined {
    const { lane } = this;
    this.lane = undefined;
    this.#end = undefined;
    this.#idle?.cancel();
    return lane;
  }
}
