/**
 * The emergency stop: everything stops now, nothing is lost, and goes on when it is released.
 *
 * I1 The setting is on disk before the first job is touched. From then on no claim is granted and new
 *    jobs are held, so that a stop that is cut short can be brought to its end by anybody.
 * I2 A job that ran costs nothing: its attempt is closed as `interrupted` and counts neither as a
 *    failure nor as a free return.
 * I3 Every transaction is short, and asks again under a lock whether the stop is still on (or off):
 *    a stop and a release at the same time cannot each do half.
 */
import type { IdSource } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import * as store from "./hold-store.ts";
import type { JobsPorts } from "./ports.ts";

/** What a stop did. */
export interface Stopped {
  /** Jobs that ran: queued again, held. */
  readonly interrupted: number;
  /** Jobs that waited: held. */
  readonly held: number;
}

/** Stops everything, and lets it go on. */
export interface HoldService {
  /** Stops every job. Once more: only what has come since, as a rule nothing. */
  holdAll(by: string): Promise<Stopped>;
  /** Lets everything go on; returns how many jobs were held. */
  releaseAll(): Promise<number>;
  /** Whether everything is held. */
  isHeld(): Promise<boolean>;
  /** Brings a stop or a release to its end that was cut short, or that a slow commit slipped past. */
  keepHold(): Promise<void>;
}

/** What the hold service is made of. */
export interface HoldDeps {
  readonly db: Db;
  readonly ids: IdSource;
  readonly ports: Pick<JobsPorts, "onQueued" | "onRevoked" | "onEvents">;
}

/** Jobs in one transaction: while it runs, no event that follows can be read. */
const HOLD_STEP = 500;

/** Makes the hold service. */
export function createHoldService({ db, ids, ports }: HoldDeps): HoldService {
  const withEvents = (jobIds: readonly string[]) =>
    jobIds.map((id) => ({ id, eventId: ids.next("evt") }));

  const interruptRunning = async (): Promise<number> => {
    for (let total = 0; ;) {
      const step = await db.transaction(async (tx) => {
        if (!(await store.lockHold(tx))) return { interrupted: 0, machineIds: [], looked: 0 }; // I3
        const running = await store.lockRunning(tx, HOLD_STEP);
        if (running.length === 0) return { interrupted: 0, machineIds: [], looked: 0 };
        const done = await store.holdRunning(tx, withEvents(running));
        return { ...done, looked: running.length };
      });
      if (step.machineIds.length > 0) ports.onRevoked(step.machineIds);
      total += step.interrupted;
      if (step.looked < HOLD_STEP) return total;
    }
  };

  const holdWaiting = async (): Promise<number> => {
    for (let total = 0; ;) {
      const held = await db.transaction(async (tx) => {
        if (!(await store.lockHold(tx))) return 0; // I3
        const waiting = await store.lockWaiting(tx, HOLD_STEP);
        return waiting.length === 0 ? 0 : await store.holdWaiting(tx, withEvents(waiting));
      });
      if (held === 0) return total;
      total += held;
    }
  };

  const holdEverything = async (): Promise<Stopped> => {
    const interrupted = await interruptRunning();
    const held = await holdWaiting();
    // A claim that was under way when the stop came has been granted by now.
    const late = await interruptRunning();
    if (interrupted + held + late > 0) ports.onEvents(["job.held"]);
    return { interrupted: interrupted + late, held };
  };

  const releaseEverything = async (): Promise<number> => {
    for (let total = 0; ;) {
      const requirements = await db.transaction(async (tx) =>
        (await store.lockHold(tx)) ? [] : await store.releaseHeld(tx, HOLD_STEP),
      );
      if (requirements.length === 0) {
        await store.noteReleased(db);
        return total;
      }
      ports.onQueued([...new Set(requirements)].map((id) => ({ id, needs: null })));
      total += requirements.length;
    }
  };

  return {
    async holdAll(by) {
      await store.setHold(db, by); // I1
      return await holdEverything();
    },
    async releaseAll() {
      const wasOn = await store.liftHold(db);
      const { isReleasing } = await store.readHoldState(db);
      return wasOn || isReleasing ? await releaseEverything() : 0;
    },
    isHeld: async () => (await store.readHoldState(db)).isOn,
    async keepHold() {
      const { isOn, isReleasing } = await store.readHoldState(db);
      if (isOn) await holdEverything();
      else if (isReleasing) await releaseEverything();
    },
  };
}
