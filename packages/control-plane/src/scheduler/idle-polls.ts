import type { HeldAttempt } from "@holdfast/contract";
import type { InventoryIndex } from "../machines/model.ts";

/** An instance that wants work and has none. */
export interface IdleInstance {
  readonly instanceId: string;
  readonly inventory: InventoryIndex;
}

/** A lease, and where it is. */
export interface PlacedLease {
  readonly attemptId: string;
  readonly instanceId: string;
}

/** Idle instances that a claim for another machine looks at. */
const IDLE_LOOKED_AT = 64;

/**
 * The idle instances of the machines whose polls this replica answers just now. Other replicas have
 * more: a hint, by which no job is held back for long ({@link IDLE_FIRST_MS} of `ranking.ts`).
 */
export interface IdlePolls {
  /** What of a machine is idle, as its poll found; nothing once that is answered. */
  note(machineId: string, idle: readonly IdleInstance[]): void;
  /** Of other machines, at most {@link IDLE_LOOKED_AT}. */
  elsewhere(machineId: string): readonly IdleInstance[];
}

/** Makes {@link IdlePolls}. */
export function createIdlePolls(): IdlePolls {
  const byMachine = new Map<string, readonly IdleInstance[]>();
  return {
    note(machineId, idle) {
      if (idle.length === 0) byMachine.delete(machineId);
      else byMachine.set(machineId, idle);
    },
    elsewhere(machineId) {
      const found: IdleInstance[] = [];
      for (const [of, idle] of byMachine) {
        if (of !== machineId) found.push(...idle);
        if (found.length >= IDLE_LOOKED_AT) break;
      }
      return found.slice(0, IDLE_LOOKED_AT);
    },
  };
}

/** Instances on which something runs or waits to run; what is only collected is in nobody's way. */
export function busyInstances(
  held: readonly Pick<HeldAttempt, "attemptId" | "phase">[],
  leases: readonly PlacedLease[],
): ReadonlySet<string> {
  const collecting = new Set<string>(
    held.filter(({ phase }) => phase === "collecting").map(({ attemptId }) => attemptId),
  );
  return new Set(
    leases
      .filter(({ attemptId }) => !collecting.has(attemptId))
      .map(({ instanceId }) => instanceId),
  );
}
