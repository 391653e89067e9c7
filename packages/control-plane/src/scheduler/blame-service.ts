/** Sets instances aside on which jobs fail that do not fail elsewhere (DESIGN §4, blame). */
import type { EventType } from "@holdfast/contract";
import {
  BLAME_ENDS_MAX,
  BLAME_WINDOW_MS,
  decideBlame,
  isBlamable,
  type ClassifiedError,
} from "@holdfast/recovery";
import type { IdSource } from "@holdfast/runtime";
import type { MachinesService } from "../machines/service.ts";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { appendEvents } from "../platform/outbox.ts";
import { readInstanceRecord } from "./blame-store.ts";
import { fleetEvent } from "../machines/fleet-events.ts";

/** What blaming is made of. */
export interface BlameDeps {
  readonly db: Db;
  readonly ids: IdSource;
  readonly log: Log;
  readonly machines: MachinesService;
  readonly onEvents: (written: readonly EventType[]) => void;
}

/** A failure that was written, and where it happened. */
export interface BlamedFailure {
  readonly instanceId: string;
  readonly error: Pick<ClassifiedError, "class" | "subclass" | "confidence">;
  /** It says nothing of the instance, whatever its class. */
  readonly isJobsFault: boolean;
  /** Whether another instance, and one of another machine, takes work and can serve the job. */
  readonly hasOther: boolean;
  readonly hasOtherMachine: boolean;
}

/**
 * Judges the instance after a failure on it was written. What goes wrong here is logged and no more: the
 * failure itself is settled, and the next one is judged again.
 */
export async function blameInstance(deps: BlameDeps, failure: BlamedFailure): Promise<void> {
  if (failure.isJobsFault || !isBlamable(failure.error)) return;
  try {
    await blame(deps, failure);
  } catch (err) {
    deps.log.warn({ err, instanceId: failure.instanceId }, "an instance could not be judged");
  }
}

async function blame(deps: BlameDeps, failure: BlamedFailure): Promise<void> {
  const { instanceId, error, hasOther, hasOtherMachine } = failure;
  const record = await readInstanceRecord(deps.db, instanceId, BLAME_WINDOW_MS, BLAME_ENDS_MAX);
  const { ends, quarantines } = record;
  const decided = decideBlame({ error, hasOther, hasOtherMachine, ends, quarantines });
  if (decided.kind === "none") return;
  const { scope, forMs, reason } = decided;
  const setAside = await deps.db.transaction(async (tx) => {
    const quarantine = { scope, forMs, reason, earlier: quarantines };
    const instances = await deps.machines.quarantine(tx, instanceId, quarantine);
    await appendEvents(
      tx,
      instances.map(({ id, machineId, name }) =>
        fleetEvent(deps.ids, "instance.quarantined", {
          instanceId: id,
          machineId,
          name,
          reason,
          forMs,
        }),
      ),
    );
    return instances;
  });
  if (setAside.length === 0) return;
  deps.onEvents(["instance.quarantined"]);
  for (const { id, name } of setAside) {
    deps.log.error(
      { instanceId: id, name, reason, forMs },
      "instance set aside, somebody should look",
    );
  }
}
