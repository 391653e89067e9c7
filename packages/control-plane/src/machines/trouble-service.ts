/** What is wrong with machines and instances: for whoever alerts operators. */
import type { Db } from "../platform/db.ts";
import {
  readConditions,
  readQuarantined,
  readUnhealthy,
  type MachineCondition,
  type TroubledInstance,
} from "./trouble-store.ts";

/** Questions about machines in trouble; each answer has at most so many entries. */
export interface MachineTroubles {
  quarantined(): Promise<readonly TroubledInstance[]>;
  unhealthy(): Promise<readonly (TroubledInstance & { readonly forSeconds: number })[]>;
  /** Machines with less than this share of their disk free, or with faulty GPUs. */
  conditions(diskShareBelow: number): Promise<readonly MachineCondition[]>;
}

/** More than this tell nobody anything further. */
const ENTRIES_MAX = 200;

/** Makes the answers on a database. */
export function createMachineTroubles(db: Db): MachineTroubles {
  return {
    quarantined: () => readQuarantined(db, ENTRIES_MAX),
    unhealthy: () => readUnhealthy(db, ENTRIES_MAX),
    conditions: (diskShareBelow) => readConditions(db, diskShareBelow, ENTRIES_MAX),
  };
}
