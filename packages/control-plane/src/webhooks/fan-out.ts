import type { IdSource } from "@holdfast/runtime";
import { toInstant } from "../access/pages.ts";
import type { Queryable } from "../platform/db.ts";
import type { StoredEvent } from "../platform/outbox.ts";
import { insertDeliveries, selectMatches, type NewDelivery } from "./store.ts";

/** Name of this feature's memory of events (a row of `event_cursors`). */
export const WEBHOOKS_CONSUMER = "webhooks";

/** What is sent of an event: Standard Webhooks' three fields, and ours beside them. */
export interface WebhookPayload {
  readonly type: string;
  readonly timestamp: string;
  readonly data: unknown;
  readonly id: string;
  readonly version: number;
}

/** The body that an event goes out as. */
export function toPayload(event: StoredEvent): WebhookPayload {
  return {
    type: event.type,
    timestamp: toInstant(event.at),
    data: event.payload,
    id: event.id,
    version: event.version,
  };
}

/**
 * Writes a delivery for every target of every event, in the transaction that remembers the events as
 * handled. Seeing an event twice writes nothing new (model.ts I1).
 */
export async function fanOut(
  tx: Queryable,
  events: readonly StoredEvent[],
  ids: IdSource,
  nowMs: number | null = null,
): Promise<void> {
  const matches = await selectMatches(tx, events);
  const byId = new Map(events.map((event) => [event.id, event]));
  const deliveries: NewDelivery[] = [];
  for (const match of matches) {
    const event = byId.get(match.eventId);
    if (event === undefined) continue;
    deliveries.push({
      ...match,
      id: ids.next("whd"),
      jobId: event.jobId,
      eventType: event.type,
      payload: toPayload(event),
    });
  }
  await insertDeliveries(tx, deliveries, nowMs);
}
