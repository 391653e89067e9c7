/**
 * Removing what is over.
 *
 * I1 Only jobs that have ended go, whole, under their row's lock: whoever wants to change one holds
 *    that lock, and afterwards the job is either changed and stays, or there is no such job.
 * I2 A template or requirement goes only when no job names it and nobody is about to: a submit
 *    locks what it names, and foreign keys refuse what was not locked.
 * I3 A job stays while a reader of events (webhooks) has still to be told of it.
 * I4 Every transaction is short: while one runs, no event that follows it can be read.
 */
import type { Clock } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import { sqlState } from "../platform/db-errors.ts";
import type { Log } from "../platform/log.ts";
import { oldestUnreadAt } from "../platform/outbox.ts";
import type { SweptPart } from "../platform/sweep.ts";
import * as store from "./retention-store.ts";
import { BATCH_FIRST, nextBatchSize, type RemovalRule } from "./retention.ts";

/** What was removed. */
export interface RemovedJobs {
  readonly jobs: number;
  readonly attempts: number;
  readonly outputs: number;
}

/** What the retention is made of. */
export interface RetentionDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly log: Log;
  /** How long events are kept: a reader that has not moved for several times this is taken for dead. */
  readonly eventRetentionMs: number;
  /** Told after the commit of each transaction. */
  readonly onRemoved: (
    kind: "job" | "attempt" | "output" | "graph" | "requirement",
    count: number,
  ) => void;
}

/** Removes ended jobs, and what they leave. */
export interface Retention {
  /**
   * Removes the jobs that the rules name, oldest first, in short transactions with a rest after each
   * that is longer than it took; ends early with the signal. One removal runs at a time over all
   * replicas: where another one is at it, the rest is left to that.
   */
  removeEnded(rules: readonly RemovalRule[], signal: AbortSignal): Promise<RemovedJobs>;
  /** Looks at a part of a table that jobs share for rows that none names any more; removes them. */
  removeUnnamed(table: store.SharedTable, after: number | undefined): Promise<SweptPart<number>>;
}

/** Templates, or requirements, looked at in one step. */
export const UNNAMED_STEP = 500;
/**
 * How far back from the oldest unread event jobs are kept: events that were written later may tell of
 * transactions that began earlier.
 */
const UNREAD_MARGIN_MS = 5 * 60_000;
/** Rest after a batch, in times of what it took: work goes first, and nothing here is urgent. */
const REST = 3;
/** Postgres says: the statement took longer than it may. */
const QUERY_CANCELED = "57014";
const NOTHING: RemovedJobs = { jobs: 0, attempts: 0, outputs: 0 };
const KIND_OF = { graphs: "graph", requirements: "requirement" } as const;

/** Makes the retention. */
export function createRetention(deps: RetentionDeps): Retention {
  const { db, clock, onRemoved } = deps;

  const removeBatch = (batch: store.RemovalBatch): Promise<store.RemovedBatch | "busy"> =>
    db.transaction(async (tx) =>
      (await store.tryLockRemoval(tx)) ? await store.removeEndedJobs(tx, batch) : "busy",
    );

  const removeByRule = async (
    rule: RemovalRule,
    signal: AbortSignal,
  ): Promise<RemovedJobs | "busy"> => {
    const unreadAt = await oldestUnreadAt(db, { olderThanMs: deps.eventRetentionMs });
    const before = unreadAt === null ? null : unreadAt - UNREAD_MARGIN_MS; // I3
    let removed = NOTHING;
    let from: number | null = null;
    for (let limit = BATCH_FIRST; !signal.aborted;) {
      const begunAt = clock.elapsed();
      let batch: store.RemovedBatch | "busy";
      try {
        batch = await removeBatch({ ...rule, before, from, limit });
      } catch (error) {
        if (sqlState(error) !== QUERY_CANCELED || limit === 1) throw error;
        limit = nextBatchSize(limit, "failed");
        continue;
      }
      if (batch === "busy") return removed.jobs === 0 ? "busy" : removed;
      removed = add(removed, batch);
      for (const kind of ["job", "attempt", "output"] as const) onRemoved(kind, batch[`${kind}s`]);
      if (batch.jobs === 0) return removed;
      // What lies before has been removed: its dead index entries need not be passed again.
      from = batch.lastEndedAt;
      const took = clock.elapsed() - begunAt;
      limit = nextBatchSize(limit, took);
      await clock.sleep(took * REST, signal).catch(() => undefined);
    }
    return removed;
  };

  return {
    async removeEnded(rules, signal) {
      const begunAt = clock.elapsed();
      let removed = NOTHING;
      for (const rule of rules) {
        const some = await removeByRule(rule, signal);
        if (some === "busy") break;
        removed = add(removed, some);
      }
      if (removed.jobs > 0) {
        const durationMs = Math.round(clock.elapsed() - begunAt);
        deps.log.info({ ...removed, durationMs }, "ended jobs removed, their time was over");
      }
      return removed;
    },
    async removeUnnamed(table, after) {
      const { ids, last } = await store.readUnnamed(db, table, after ?? 0, UNNAMED_STEP);
      const removed =
        ids.length === 0
          ? 0
          : await db.transaction(async (tx) => {
              const locked = await store.lockUnnamed(tx, table, ids); // I2
              return await store.removeUnnamed(tx, table, locked);
            });
      onRemoved(KIND_OF[table], removed);
      return { removed, next: last };
    },
  };
}

function add(a: RemovedJobs, b: RemovedJobs): RemovedJobs {
  return {
    jobs: a.jobs + b.jobs,
    attempts: a.attempts + b.attempts,
    outputs: a.outputs + b.outputs,
  };
}
