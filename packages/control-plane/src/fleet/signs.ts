/** What agents tell, joined with the fleet's machines: by name, or by the machine for those found here. */
import { NO_SIGNS, type MachineSigns } from "@holdfast/fleet";
import { HEARTBEAT_TIMEOUT_MS } from "../machines/model.ts";
import type { Db } from "../platform/db.ts";
import type { StoredMachine } from "./model.ts";
import type { Pings } from "./pings.ts";
import { readSigns, type ReadSigns } from "./signs-store.ts";

/** Signs of the machines of one look. */
export interface Signs {
  of(machine: StoredMachine): MachineSigns;
  healthPort(machine: StoredMachine): number | null;
  /** Machines that have registered, are there, and are of no fleet. */
  readonly unknown: readonly { readonly machineId: string; readonly name: string }[];
}

/** Reads signs. */
export interface SignsSource {
  read(
    machines: readonly StoredMachine[],
    pings: Pick<Pings, "silence">,
    now: number,
  ): Promise<Signs>;
  /** Names of agents that were there at the last look. */
  serving(): ReadonlySet<string>;
  reset(): void;
}

/** Makes a {@link SignsSource}. */
export function createSigns(db: Db): SignsSource {
  let serving: ReadonlySet<string> = new Set();
  return {
    serving: () => serving,
    reset() {
      serving = new Set();
    },
    async read(machines, pings, now) {
      const all = await readSigns(db, HEARTBEAT_TIMEOUT_MS, now);
      const byName = new Map(all.map((one) => [one.name, one]));
      const byId = new Map(all.map((one) => [one.machineId, one]));
      const isThere = ({ heartbeatAt, hasSignedOff }: ReadSigns): boolean =>
        !hasSignedOff && now - (heartbeatAt ?? 0) < HEARTBEAT_TIMEOUT_MS;
      serving = new Set(all.filter(isThere).map(({ name }) => name));
      const find = ({ machineId, provider, name }: StoredMachine): ReadSigns | undefined =>
        machineId !== null || provider === "static" ? byId.get(machineId ?? "") : byName.get(name);
      const taken = new Set(machines.flatMap((one) => find(one)?.machineId ?? []));
      return {
        of: (machine) => toSigns(find(machine), pings.silence(machine.id, now), machine),
        healthPort: (machine) => find(machine)?.healthPort ?? null,
        unknown: all
          .filter((one) => isThere(one) && !taken.has(one.machineId))
          .map(({ machineId, name }) => ({ machineId, name })),
      };
    },
  };
}

function toSigns(
  read: ReadSigns | undefined,
  silence: MachineSigns["silence"],
  { healthyAt }: StoredMachine,
): MachineSigns {
  if (read === undefined) return { ...NO_SIGNS, silence };
  const { heartbeatAt, hasSignedOff, progressAt, isHealthy, jobCount, lastJobAt } = read;
  const hasFault = read.faultReason !== null && read.faultSince !== null && !isHealthy;
  const idleSince = Math.max(lastJobAt ?? 0, healthyAt ?? 0);
  return {
    heartbeatAt,
    hasSignedOff,
    progressAt,
    isHealthy,
    fault: hasFault ? { reason: read.faultReason ?? "", since: read.faultSince ?? 0 } : null,
    silence,
    jobCount,
    idleSince: jobCount > 0 || idleSince === 0 ? null : idleSince,
  };
}
