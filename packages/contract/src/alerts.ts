/** Alerts for operators: `/api/v1/alerts`. */
import { z } from "zod";
import { instantSchema } from "./ids.ts";
import { pageQuerySchema, pageSchema } from "./pages.ts";

/** How bad something is, the least first. */
export const ALERT_SEVERITIES = ["info", "warning", "critical"] as const;
/** States of an alert; one that is not there is inactive. */
export const ALERT_STATES = ["pending", "firing", "resolved"] as const;
/** States of a delivery to a channel. */
export const ALERT_DELIVERY_STATES = ["pending", "delivered", "dead"] as const;
/** Kinds of channel. */
export const ALERT_CHANNEL_TYPES = ["webhook", "slack", "alertmanager", "email"] as const;

/** `alt_…`: one alert, from its beginning to its end. */
export const alertIdSchema = z.string().regex(/^alt_[0-9a-z]{26}$/);
/** `sil_…`: alerts that are not delivered for a time. */
export const silenceIdSchema = z.string().regex(/^sil_[0-9a-z]{26}$/);
/** `ald_…`: one notification on its way to one channel. */
export const alertDeliveryIdSchema = z.string().regex(/^ald_[0-9a-z]{26}$/);

/** Longest reason of a silence and note of an acknowledgement. */
export const MAX_ALERT_NOTE_LENGTH = 500;
/** Longest silence: 90 days. */
export const MAX_SILENCE_SECONDS = 7_776_000;
const MAX_MATCHERS = 10;
const MAX_MATCHER_LENGTH = 200;

const labelsSchema = z.record(z.string(), z.string());
export const alertSeveritySchema = z.enum(ALERT_SEVERITIES);

/** An alert as lists show it. */
export const alertSchema = z.object({
  id: alertIdSchema,
  rule: z.string(),
  severity: alertSeveritySchema,
  state: z.enum(ALERT_STATES),
  labels: labelsSchema,
  summary: z.string(),
  advice: z.string().nullable().meta({ description: "What an operator does about it." }),
  value: z.number(),
  fingerprint: z.string().meta({
    description: "The same for every alert of the same rule and labels.",
  }),
  since: instantSchema.meta({ description: "Since when its condition holds." }),
  firedAt: instantSchema.nullable(),
  resolvedAt: instantSchema.nullable(),
  reason: z.string().nullable().meta({ description: "Why it is resolved." }),
  silencedBy: silenceIdSchema.nullable(),
  acknowledged: z
    .object({ by: z.string(), at: instantSchema, note: z.string().nullable() })
    .nullable(),
});
/** See {@link alertSchema}. */
export type AlertView = z.infer<typeof alertSchema>;
export const alertPageSchema = pageSchema(alertSchema);

/** Query of `GET /api/v1/alerts`. */
export const listAlertsQuerySchema = pageQuerySchema.extend({
  state: z
    .enum([...ALERT_STATES, "live"])
    .optional()
    .meta({
      description: "`live`: pending and firing. Default: all, what was resolved lately included.",
    }),
  severity: alertSeveritySchema.optional().meta({ description: "At least so bad." }),
  rule: z.string().max(60).optional(),
});

/** `POST /api/v1/alerts/{id}/acknowledge`. */
export const acknowledgeAlertSchema = z.strictObject({
  note: z.string().max(MAX_ALERT_NOTE_LENGTH).optional(),
});

const thresholdSchema = z.object({
  metric: z.string(),
  where: labelsSchema,
  above: z.number().optional(),
  below: z.number().optional(),
  resolve: z.number(),
});

/** A rule as lists show it; of one that is out of force only its name is known. */
export const alertRuleSchema = z.object({
  name: z.string(),
  source: z.enum(["built_in", "file", "api"]),
  enabled: z.boolean(),
  severity: alertSeveritySchema.nullable(),
  summary: z.string().nullable(),
  advice: z.string().nullable(),
  when: thresholdSchema.nullable(),
  alongside: z.array(thresholdSchema),
  forMs: z.number(),
  resolveAfterMs: z.number(),
  noDataMs: z.number(),
  labels: labelsSchema,
  hasData: z.boolean().meta({
    description: "Whether its metrics were told at the last evaluation.",
  }),
  alerts: z.int().meta({ description: "Its alerts now, pending and firing." }),
  omitted: z.int().meta({ description: "Series for which it had no room." }),
});
/** See {@link alertRuleSchema}. */
export type AlertRuleView = z.infer<typeof alertRuleSchema>;
export const alertRulesSchema = z.object({ rules: z.array(alertRuleSchema) });

/** A silence as lists show it. */
export const silenceSchema = z.object({
  id: silenceIdSchema,
  matchers: z.array(z.string()),
  reason: z.string(),
  createdBy: z.string(),
  startsAt: instantSchema,
  endsAt: instantSchema,
  active: z.boolean(),
});
/** See {@link silenceSchema}. */
export type SilenceView = z.infer<typeof silenceSchema>;
export const silencePageSchema = pageSchema(silenceSchema);

/** Answer to `POST /api/v1/alerts/silences`. */
export const madeSilenceSchema = silenceSchema.extend({
  fitsNow: z.int().meta({
    description:
      "Alerts, pending and firing, that it fits now: 0 of one that was made in advance, or has a typing error in a label.",
  }),
});
/** See {@link madeSilenceSchema}. */
export type MadeSilenceView = z.infer<typeof madeSilenceSchema>;

/** `POST /api/v1/alerts/silences`. */
export const createSilenceSchema = z.strictObject({
  matchers: z.array(z.string().max(MAX_MATCHER_LENGTH)).min(1).max(MAX_MATCHERS).meta({
    description:
      "All have to fit: `rule=disk_nearly_full`, `severity!=critical`, `machine=box-*`. `*` stands for any characters.",
  }),
  forSeconds: z.int().min(1).max(MAX_SILENCE_SECONDS),
  reason: z.string().min(1).max(MAX_ALERT_NOTE_LENGTH),
});

/** Where alerts are delivered to. */
export const alertChannelSchema = z.object({
  name: z.string(),
  type: z.enum(ALERT_CHANNEL_TYPES),
  minSeverity: alertSeveritySchema,
  target: z.string().meta({ description: "The host, never the whole address." }),
  pausedUntil: instantSchema.nullable().meta({
    description: "A notification was given up, and the channel is left alone until then.",
  }),
});
/** See {@link alertChannelSchema}. */
export type AlertChannelView = z.infer<typeof alertChannelSchema>;
export const alertChannelsSchema = z.object({ channels: z.array(alertChannelSchema) });

/** One notification on its way to one channel. */
export const alertDeliverySchema = z.object({
  id: alertDeliveryIdSchema,
  channel: z.string(),
  cause: z.enum(["change", "repeat", "test"]),
  state: z.enum(ALERT_DELIVERY_STATES),
  alerts: z.array(
    z.object({
      id: z.string(),
      status: z.enum(["firing", "resolved"]),
      rule: z.string(),
      summary: z.string(),
    }),
  ),
  attemptCount: z.int(),
  nextAt: instantSchema.nullable().meta({ description: "When it is tried next; null once ended." }),
  lastError: z.string().nullable(),
  createdAt: instantSchema,
  endedAt: instantSchema.nullable(),
});
/** See {@link alertDeliverySchema}. */
export type AlertDeliveryView = z.infer<typeof alertDeliverySchema>;
export const alertDeliveryPageSchema = pageSchema(alertDeliverySchema);

/** Query of `GET /api/v1/alerts/deliveries`. */
export const listAlertDeliveriesQuerySchema = pageQuerySchema.extend({
  channel: z.string().max(40).optional(),
  state: z.enum(ALERT_DELIVERY_STATES).optional(),
});

/** `POST /api/v1/alerts/test`. */
export const testAlertsSchema = z.strictObject({
  channel: z.string().max(40).optional().meta({ description: "Default: all channels." }),
});
/** Answer to `POST /api/v1/alerts/test`. */
export const testedAlertsSchema = z.object({ deliveries: z.array(alertDeliverySchema) });
