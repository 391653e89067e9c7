import { z } from "zod";
import { instantSchema } from "./ids.ts";

/** Most stretches that one answer has. */
export const SLA_POINTS_MAX = 1_500;

const decimal = (meaning: string) =>
  z
    .string()
    .regex(/^[0-9]{1,3}(?:\.[0-9]{1,6})?$/)
    .optional()
    .meta({ description: meaning });

/** `GET /api/v1/sla` */
export const slaQuerySchema = z.strictObject({
  from: instantSchema.optional().meta({ description: "Default: a day before `to`." }),
  to: instantSchema.optional().meta({ description: "Default: now." }),
  stepSeconds: z
    .string()
    .regex(/^[0-9]{1,8}$/)
    .optional()
    .meta({
      description: `Length of a point, a multiple of 60. Default: the least that gives no more than ${SLA_POINTS_MAX} points.`,
    }),
  failedPercentMax: decimal("The error budget, over 0 to 100 percent. Default 2."),
  budgetDays: decimal("Days that the error budget is for, 1 to 366. Default 30."),
});

const counts = {
  completed: z.int(),
  recovered: z.int().meta({ description: "Of the completed: after an attempt that failed." }),
  failed: z.int(),
  timedOut: z.int(),
  cancelled: z.int(),
  outputs: z.int().meta({ description: "Files that completed jobs gave." }),
};

const latencySchema = z
  .object({ jobs: z.int(), p50: z.number(), p90: z.number(), p95: z.number(), p99: z.number() })
  .nullable()
  .meta({
    description:
      "Seconds from a job's submit, or from when its book had room for the page, to its end; at most 2 % too high. Null without completed jobs.",
  });

/** How many times as fast as allowed a budget is used up; null where nothing ended. */
const burn = z.number().nullable();

/** What was delivered over a time, and how an error budget stands at its end. */
export const slaStatusSchema = z.object({
  from: instantSchema,
  to: instantSchema,
  stepSeconds: z.int(),
  totals: z.object({ ...counts, latencySeconds: latencySchema }),
  points: z
    .array(z.object({ at: instantSchema, ...counts, latencySeconds: latencySchema }))
    .meta({ description: "Stretches in which a job ended, the first one first." }),
  budget: z.object({
    failedPercentMax: z.number(),
    days: z.number(),
    ended: z.int(),
    failed: z.int(),
    leftShare: z
      .number()
      .nullable()
      .meta({ description: "1 is all of it, under 0 overdrawn; null where nothing ended." }),
    windows: z.array(
      z.object({
        longMs: z.int(),
        shortMs: z.int(),
        burnRate: z.number().meta({ description: "At which somebody has to look." }),
        urgency: z.enum(["page", "ticket"]),
        ended: z.int(),
        failed: z.int(),
        longBurn: burn,
        shortBurn: burn,
        isBurning: z.boolean(),
      }),
    ),
  }),
  losses: z
    .array(
      z.object({
        kind: z.enum(["machine", "instance"]),
        name: z.string(),
        reason: z.string().nullable(),
        lostAt: instantSchema,
        refilledAt: instantSchema.nullable(),
        leftAt: instantSchema.nullable().meta({
          description:
            "When it was given up on purpose, not being back: nobody waited from then on.",
        }),
      }),
    )
    .meta({
      description:
        "Machines and instances that were lost, or had been before and were still missing, the last one first.",
    }),
});
/** See {@link slaStatusSchema}. */
export type SlaStatus = z.infer<typeof slaStatusSchema>;
