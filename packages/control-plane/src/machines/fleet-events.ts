/** Events about the fleet: nobody's job's, so those see them who see everybody's. */
import { EVENT_VERSION, type EventData, type EventType } from "@holdfast/contract";
import type { IdSource } from "@holdfast/runtime";
import type { NewEvent } from "../platform/outbox.ts";

const FLEET_OWNER = "fleet";

type FleetEventType = Extract<EventType, `${"fleet" | "instance" | "machine"}.${string}`>;

/** An event for the outbox, without a job. */
export function fleetEvent<T extends FleetEventType>(
  ids: IdSource,
  type: T,
  payload: EventData<T>,
): NewEvent & { readonly type: T } {
  return {
    id: ids.next("evt"),
    type,
    version: EVENT_VERSION,
    owner: FLEET_OWNER,
    jobId: null,
    payload,
  };
}
