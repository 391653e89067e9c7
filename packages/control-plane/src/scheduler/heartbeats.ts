import type { Clock } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import { sqlState } from "../platform/db-errors.ts";
import { createGroupCommit, type GroupCommit } from "../platform/group-commit.ts";
import { writeHeartbeats, type Beat, type Heartbeat } from "./heartbeat-store.ts";
import type { SchedulerSettings } from "./model.ts";

/** Machines in one statement at most: what is held of them stays small beside a statement's cost. */
const MACHINES_AT_ONCE = 200;
/** Machines that wait for a statement at most; agents ask again later. */
const WAITING_MAX = 20_000;
/** A lone heartbeat goes at once; the more come, the longer the next are waited for. */
const REST = { minMs: 0, maxMs: 20 };

/** What heartbeats need. */
export interface HeartbeatsDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly settings: Pick<SchedulerSettings, "leaseTtlMs">;
}

/**
 * Heartbeats of many machines, written together: a thousand a second would be a thousand commits. Null
 * for a machine that is unknown. A heartbeat that was written twice has renewed twice: that is all.
 */
export function createHeartbeats(deps: HeartbeatsDeps): GroupCommit<Beat, Heartbeat | null> {
  const { db, clock, settings } = deps;
  return createGroupCommit<Beat, Heartbeat | null>({
    async flush(beats) {
      try {
        return await writeHeartbeats(db, beats, settings.leaseTtlMs);
      } catch (error) {
        if (isRefusedData(error)) throw error;
        // Asked one by one, a database that is away would be waited for as often as there are machines.
        return beats.map(() => error as Error);
      }
    },
    maxBatch: MACHINES_AT_ONCE,
    maxWaiting: WAITING_MAX,
    rest: REST,
    clock,
    // What one machine sends may be refused by the database: the others of its batch are not.
    retrySingly: true,
  });
}

/** SQLSTATE class 22: a value that a column cannot hold. */
function isRefusedData(error: unknown): boolean {
  return sqlState(error)?.startsWith("22") === true;
}
