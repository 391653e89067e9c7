/** Events of the fleet. */
import type { EventType } from "@holdfast/contract";
import type { BreakerView } from "@holdfast/fleet";
import type { IdSource } from "@holdfast/runtime";
import { fleetEvent } from "../machines/fleet-events.ts";
import type { NewEvent } from "../platform/outbox.ts";
import type { StoredMachine } from "./model.ts";

/** An event of the fleet, for the outbox. */
export type FleetEvent = NewEvent & { readonly type: Extract<EventType, `fleet.${string}`> };

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
