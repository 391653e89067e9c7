/** What agents tell, joined with the fleet's machines: by name, or by the machine for those found here. */
import { NO_SIGNS, type MachineSigns } from "@holdfast/fleet";
import { HEARTBEAT_TIMEOUT_MS } from "../machines/model.ts";
import type { Db } from "../platform/db.ts";
import type { StoredMachine } from "./model.ts";
import { readLastJobTimes, readSigns, readStepTimes, type ReadSigns } from "./signs-store.ts";

/** Signs of the machines of one look. */
export interface Signs {
  /** Without `silence`, which nobody here asks for, and `idleSince` before {@link Signs.readIdle}. */
  of(machine: StoredMachine): MachineSigns;
  healthPort(machine: StoredMachine): number | null;
  /** Its agent; undefined before that has registered. */
  agentOf(machine: StoredMachine): string | undefined;
  /** Machines that have registered, are there, and are of no fleet. */
  readonly unknown: readonly { readonly machineId: string; readonly name: string }[];
  /** Names of agents that are there. */
  readonly serving: ReadonlySet<string>;
  /** Finds out since when machines that are ready have no job: only when some are to be ended. */
  readIdle(machines: readonly StoredMachine[]): Promise<void>;
}

/** Reads signs, and remembers since when a machine tells of a fault. */
export interface SignsSource {
  /** `now`: epoch ms. */
  read(machines: readonly StoredMachine[], now: number): Promise<Signs>;
  reset(): void;
}

/** Makes a {@link SignsSource}. */
export function createSigns(db: Db): SignsSource {
  const faults = new Map<string, number>();
  const unwell = new Map<string, number>();
  return {
    reset() {
      faults.clear();
      unwell.clear();
    },
    async read(machines, now) {
      const all = await readSigns(db, HEARTBEAT_TIMEOUT_MS, now);
      note(faults, all, now, ({ fault, isHealthy }) => fault !== null && !isHealthy);
      note(unwell, all, now, ({ isHealthy }) => !isHealthy);
      const byName = new Map(all.map((one) => [one.name, one]));
      const byId = new Map(all.map((one) => [one.machineId, one]));
      const find = ({ machineId, provider, name }: StoredMachine): ReadSigns | undefined =>
        machineId !== null || provider === "static" ? byId.get(machineId ?? "") : byName.get(name);
      const starting = machines.filter(({ state }) => state === "starting");
      const steps = await readStepTimes(
        db,
        starting.flatMap((one) => find(one)?.machineId ?? []),
      );
      const lastJobs = new Map<string, number>();
      let isIdleKnown = false;
      const taken = new Set(machines.map((one) => find(one)?.machineId));
      const there = all.filter((one) => isThere(one, now));
      return {
        serving: new Set(there.map(({ name }) => name)),
        unknown: there.filter(({ machineId }) => !taken.has(machineId)),
        agentOf: (machine) => find(machine)?.machineId,
        healthPort: (machine) => find(machine)?.healthPort ?? null,
        of(machine) {
          const read = find(machine);
          if (read === undefined) return NO_SIGNS;
          const { machineId, fault, isHealthy, jobCount } = read;
          const since = faults.get(machineId) ?? now;
          return {
            heartbeatAt: read.heartbeatAt,
            hasSignedOff: read.hasSignedOff,
            progressAt: Math.max(read.progressAt, steps.get(machineId) ?? 0),
            isHealthy,
            isSetAside: read.isSetAside,
            fault: fault === null || isHealthy ? null : { reason: fault, since },
            unwellSince: isHealthy ? null : (unwell.get(machineId) ?? now),
            silence: null,
            jobCount,
            idleSince:
              isIdleKnown && jobCount === 0
                ? Math.max(lastJobs.get(machineId) ?? 0, machine.healthyAt ?? 0)
                : null,
          };
        },
        async readIdle(candidates) {
          const ids = candidates
            .filter(({ state }) => state === "ready")
            .flatMap((one) => find(one) ?? [])
            .filter(({ jobCount }) => jobCount === 0)
            .map(({ machineId }) => machineId);
          for (const [id, at] of await readLastJobTimes(db, ids)) lastJobs.set(id, at);
          isIdleKnown = true;
        },
      };
    },
  };
}

function isThere({ heartbeatAt, hasSignedOff }: ReadSigns, now: number): boolean {
  return !hasSignedOff && now - heartbeatAt < HEARTBEAT_TIMEOUT_MS;
}

/** Keeps since when something is so of each machine. */
function note(
  since: Map<string, number>,
  all: readonly ReadSigns[],
  now: number,
  isSo: (one: ReadSigns) => boolean,
): void {
  const current = new Set(all.filter(isSo).map(({ machineId }) => machineId));
  for (const id of current) if (!since.has(id)) since.set(id, now);
  for (const id of since.keys()) if (!current.has(id)) since.delete(id);
}
