/** What goes wrong with jobs, over all callers: for whoever alerts operators. */
import type { Db } from "../platform/db.ts";
import { readEndsByMinute, type EndsOfMinute } from "./count-store.ts";
import {
  readInstanceDeaths,
  readPoisonedJobs,
  readUnservedNeeds,
  type InstanceDeaths,
  type PoisonedJob,
  type UnservedNeeds,
} from "./trouble-store.ts";

export type { InstanceDeaths };

/** Questions about jobs in trouble; each answer has at most so many entries. */
export interface JobTroubles {
  /** How jobs ended, by the minute, for as long as that is counted: two hours. */
  endsByMinute(): Promise<readonly EndsOfMinute[]>;
  poisoned(withinMs: number): Promise<readonly PoisonedJob[]>;
  instanceDeaths(withinMs: number): Promise<readonly InstanceDeaths[]>;
  unserved(): Promise<readonly UnservedNeeds[]>;
}

/** More than this tell nobody anything further. */
const ENTRIES_MAX = 200;

/** Makes the answers on a database. */
export function createJobTroubles(db: Db): JobTroubles {
  return {
    endsByMinute: () => readEndsByMinute(db),
    poisoned: (withinMs) => readPoisonedJobs(db, withinMs, ENTRIES_MAX),
    instanceDeaths: (withinMs) => readInstanceDeaths(db, withinMs, ENTRIES_MAX),
    unserved: () => readUnservedNeeds(db, ENTRIES_MAX),
  };
}
