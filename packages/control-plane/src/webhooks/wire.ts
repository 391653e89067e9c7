import {
  EVENT_TYPES,
  instantSchema,
  jobIdSchema,
  pageQuerySchema,
  pageSchema,
} from "@holdfast/contract";
import { z } from "zod";
import { DELIVERY_STATES } from "./model.ts";

/** `whe_…`: a standing webhook endpoint. */
export const endpointIdSchema = z.string().regex(/^whe_[0-9a-z]{26}$/);
/** `whd_…`: one event on its way to one target. */
export const deliveryIdSchema = z.string().regex(/^whd_[0-9a-z]{26}$/);

const eventTypesSchema = z
  .array(z.enum(EVENT_TYPES as [string, ...string[]]))
  .max(64)
  .meta({ description: "Event types to send; empty sends all." });

/** An endpoint as lists show it. */
export const endpointSchema = z.object({
  id: endpointIdSchema,
  owner: z.string(),
  url: z.string(),
  eventTypes: z.array(z.string()),
  enabled: z.boolean(),
  createdAt: instantSchema,
});
/** See {@link endpointSchema}. */
export type EndpointView = z.infer<typeof endpointSchema>;
export const endpointPageSchema = pageSchema(endpointSchema);

/** `POST /api/v1/webhooks`. */
export const createEndpointSchema = z.strictObject({
  url: z.string().min(1).max(2048),
  eventTypes: eventTypesSchema.optional(),
});

/** Answer to `POST /api/v1/webhooks`. The secret is shown here and never again. */
export const createdEndpointSchema = z.object({ endpoint: endpointSchema, secret: z.string() });

/** `PATCH /api/v1/webhooks/{id}`. */
export const updateEndpointSchema = z.strictObject({
  url: z.string().min(1).max(2048).optional(),
  eventTypes: eventTypesSchema.optional(),
  enabled: z.boolean().optional().meta({
    description: "False makes dead letters of what is on its way.",
  }),
});

/** A delivery as lists show it. */
export const deliverySchema = z.object({
  id: deliveryIdSchema,
  owner: z.string(),
  endpointId: endpointIdSchema.nullable().meta({ description: "Null for a job's own webhook." }),
  jobId: jobIdSchema.nullable(),
  eventId: z.string().meta({ description: "Goes out as `webhook-id`, the same in every try." }),
  eventType: z.string(),
  url: z.string(),
  state: z.enum(DELIVERY_STATES),
  attemptCount: z.int(),
  nextAt: instantSchema.nullable().meta({ description: "When it is tried next; null once ended." }),
  lastStatus: z.int().nullable(),
  lastError: z.string().nullable(),
  createdAt: instantSchema,
  endedAt: instantSchema.nullable(),
});
/** See {@link deliverySchema}. */
export type DeliveryView = z.infer<typeof deliverySchema>;
export const deliveryPageSchema = pageSchema(deliverySchema);

/** Query of `GET /api/v1/webhook-deliveries`. */
export const listDeliveriesQuerySchema = pageQuerySchema.extend({
  state: z.enum(DELIVERY_STATES).optional(),
  jobId: jobIdSchema.optional(),
  endpointId: endpointIdSchema.optional(),
});

/** The deployment's own signing secret. */
export const jobSecretSchema = z.object({ secret: z.string() });
