/** Events of the fleet. */
import { EVENT_VERSION, type EventData, type EventType } from "@holdfast/contract";
import type { BreakerView } from "@holdfast/fleet";
import type { IdSource } from "@holdfast/runtime";
import type { NewEvent } from "../platform/outbox.ts";
import type { StoredMachine } from "./model.ts";

/** Nobody's own: those see them who see everybody's. */
const FLEET_OWNER = "fleet";

type FleetEventType = Extract<EventType, `fleet.${string}`>;
/** An event of the fleet, for the outbox. */
export type FleetEvent = NewEvent & { readonly type: FleetEventType };

function fleetEvent<T extends FleetEventType>(
  ids: IdSource,
  type: T,
  payload: EventData<T>,
): FleetEvent {
  const id = ids.next("evt");
  return { id, type, version: EVENT_VERSION, owner: FLEET_OWNER, jobId: null, payload };
}

/** What a change of a machine tells. */
export function machineEvents(
  ids: IdSource,
  before: StoredMachine,
  after: StoredMachine,
): readonly FleetEvent[] {
  const { id: fleetMachineId, name, pool } = after;
  const events: FleetEvent[] = [];
  if (before.createdAt === null && after.createdAt !== null) {
    const { provider, offer, pricePerHour } = after;
    const gpuType = offer?.gpuType ?? null;
    events.push(
      fleetEvent(ids, "fleet.machine-started", {
        fleetMachineId,
        name,
        pool,
        provider,
        gpuType,
        pricePerHour,
      }),
    );
  }
  if (before.healthyAt === null && after.healthyAt !== null) {
    const tookMs = after.healthyAt - (after.createdAt ?? after.askedAt);
    events.push(fleetEvent(ids, "fleet.machine-ready", { fleetMachineId, name, pool, tookMs }));
  }
  // What was wanted and never made is no end of a machine.
  const isSeen = after.createdAt !== null || after.end?.cause === "failed";
  if (before.end === null && after.end !== null && isSeen) {
    const { cause, kind, reason } = after.end;
    events.push(
      fleetEvent(ids, "fleet.machine-ended", { fleetMachineId, name, pool, cause, kind, reason }),
    );
  }
  return events;
}

/** The breaker is in another state. */
export function breakerEvent(ids: IdSource, view: BreakerView, reason: string): FleetEvent {
  const { state, rate, failed, seen } = view;
  const resumesAt = view.resumesAt === null ? null : new Date(view.resumesAt).toISOString();
  return fleetEvent(ids, "fleet.breaker-changed", { state, reason, rate, failed, seen, resumesAt });
}
