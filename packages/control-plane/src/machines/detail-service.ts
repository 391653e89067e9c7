import { HoldfastError } from "@holdfast/contract";
import type { Db } from "../platform/db.ts";
import type { Instance, Machine } from "./model.ts";
import type { ReportSummary } from "./report.ts";
import {
  readReport,
  readRun,
  readRuns,
  readSummaries,
  type KeptReport,
  type StartupRun,
} from "./report-store.ts";
import { listInstancesOf, readMachine } from "./store.ts";

/** Starts and installations of a machine in one list. */
const RUNS_LISTED = 50;

/** A machine with all that is told of it. */
export interface MachineDetail {
  readonly machine: Machine;
  readonly instances: readonly Instance[];
  /** Null when it never reported: an older agent, or one without a manifest. */
  readonly kept: KeptReport | null;
  readonly runs: readonly StartupRun[];
}

/** What machines have told of themselves. */
export interface MachineDetails {
  /** A machine with all that is told of it; throws `not_found`. */
  machine(id: string): Promise<MachineDetail>;
  /** What lists show of the machines' last reports, by machine. */
  summaries(): Promise<ReadonlyMap<string, ReportSummary & { readonly reportedAt: number }>>;
  /** The last starts and installations of a machine, newest first; throws `not_found`. */
  runs(machineId: string): Promise<readonly StartupRun[]>;
  /** One of them; throws `not_found`. */
  run(machineId: string, runId: string): Promise<StartupRun>;
}

/** Makes {@link MachineDetails} on a database. */
export function createMachineDetails(db: Db): MachineDetails {
  const find = async (id: string): Promise<Machine> => {
    const machine = await readMachine(db, id);
    if (machine === null) throw new HoldfastError("not_found", `there is no machine ${id}`);
    return machine;
  };
  return {
    async machine(id) {
      const machine = await find(id);
      const [instances, kept, runs] = await Promise.all([
        listInstancesOf(db, id),
        readReport(db, id),
        readRuns(db, id, RUNS_LISTED),
      ]);
      return { machine, instances, kept, runs };
    },
    summaries: () => readSummaries(db),
    async runs(machineId) {
      await find(machineId);
      return readRuns(db, machineId, RUNS_LISTED);
    },
    async run(machineId, runId) {
      const run = await readRun(db, machineId, runId);
      if (run !== null) return run;
      throw new HoldfastError("not_found", `there is no run ${runId} of machine ${machineId}`);
    },
  };
}
