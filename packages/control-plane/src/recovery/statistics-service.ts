import {
  STATISTICS_WINDOWS,
  type DetailedStatistics,
  type RecoveryStatistics,
  type StatisticsWindow,
} from "@holdfast/contract";
import { ownerScope, type Caller } from "../access/model.ts";
import type { Db, Queryable } from "../platform/db.ts";
import { toStatistics, toWindowStatistics } from "./counts.ts";
import { DIMENSIONS, GRAINS } from "./model.ts";
import * as store from "./store.ts";

/** How often recovery was tried, and how often it helped. */
export interface RecoveryStatisticsService {
  readonly isEnabled: boolean;
  /** Writes that an attempt failed, in the transaction that ends it. Nothing when not enabled. */
  record(tx: Queryable, event: store.NewErrorEvent): Promise<void>;
  /** Writes that nobody could serve a job, in the transaction that changes it for that. */
  recordUnserved(tx: Queryable, event: store.NewUnservedEvent): Promise<void>;
  /** Over all time. A `user` is told of its own jobs. */
  totals(caller: Caller): Promise<RecoveryStatistics>;
  /** By class, strategy, rung, node type and machine; of one window, or of each. */
  detailed(caller: Caller, window?: StatisticsWindow): Promise<DetailedStatistics>;
}

/** Makes the statistics; without `isEnabled` (`RECOVERY_STATISTICS_ENABLED`) all numbers are zero. */
export function createRecoveryStatistics(db: Db, isEnabled: boolean): RecoveryStatisticsService {
  const read = async (
    caller: Caller,
    window: StatisticsWindow,
    dimensions: (typeof DIMENSIONS)[number][],
  ) =>
    isEnabled
      ? await store.readErrorCounts(db, {
          ...GRAINS[window],
          dimensions,
          owner: ownerScope(caller),
        })
      : [];
  return {
    isEnabled,
    async record(tx, event) {
      if (isEnabled) await store.insertErrorEvent(tx, event);
    },
    async recordUnserved(tx, event) {
      if (isEnabled) await store.insertUnservedEvent(tx, event);
    },
    async totals(caller) {
      const told = toStatistics(await read(caller, "all", ["class"]));
      return isEnabled ? told : { ...told, enabled: false };
    },
    async detailed(caller, window) {
      const wanted = window === undefined ? STATISTICS_WINDOWS : [window];
      const told = wanted.map(
        async (one) => [one, toWindowStatistics(await read(caller, one, [...DIMENSIONS]))] as const,
      );
      const windows = Object.fromEntries(await Promise.all(told));
      return { success: true, enabled: isEnabled, windows };
    },
  };
}
