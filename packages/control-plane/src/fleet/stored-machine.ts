/** Rows of machines beside what the fleet's decisions know of them. */
import { ended, made, type FleetMachine, type ProvidedMachine } from "@holdfast/fleet";
import type { StoredMachine } from "./model.ts";

const NOTHING_STORED = {
  machineId: null,
  address: null,
  forcedBy: null,
  trouble: null,
  endRequest: null,
} as const;

/** A machine of the decisions as a row; what only the row knows is empty unless given. */
export function toStored(
  machine: FleetMachine,
  more: Partial<Pick<StoredMachine, "machineId" | "address" | "forcedBy">>,
): StoredMachine {
  return { ...machine, ...NOTHING_STORED, ...more };
}

/** One that a person wants ended is not kept for want of another. */
export function toWanted(machine: StoredMachine): StoredMachine {
  const isToEnd = machine.endRequest !== null && machine.state === "draining";
  return isToEnd ? { ...machine, state: "ending" } : machine;
}

/** It exists, as its provider tells. */
export function toMade(
  machine: StoredMachine,
  provided: ProvidedMachine,
  now: number,
): StoredMachine {
  const { address } = provided;
  return { ...machine, ...made(machine, provided, now), address, trouble: null };
}

/** It counts as ended from now on. */
export function toEnded(
  machine: StoredMachine,
  end: Parameters<typeof ended>[2],
  now: number,
): StoredMachine {
  return { ...machine, ...ended(machine, now, end) };
}
