/**
 * The error recovery API (`/api/error-recovery`), beside `/api/v1` on the same port. Its names are
 * those of the system that Holdfast replaces, so they are in snake_case: scripts that were written
 * for it go on working.
 */
import { z } from "zod";
import { jobErrorSchema, jobPolicySchema, jobStatusSchema } from "./jobs.ts";

/** What all its routes begin with. */
export const ERROR_RECOVERY_PATH = "/api/error-recovery";

/** Longest prompt and job type. */
export const MAX_PROMPT_LENGTH = 100_000;
const MAX_JOB_TYPE_LENGTH = 64;
/** Largest size, batch or count of steps; longest name of a model. */
const MAX_COUNT = 1_000_000;
const MAX_MODEL_LENGTH = 512;
/** Longest and default limit on a job's execution, in minutes. */
const MAX_TIMEOUT_MINUTES = 1_440;
export const DEFAULT_TIMEOUT_MINUTES = 30;
/** Shortest limit on a job's execution that can be kept: a second. */
const MIN_TIMEOUT_MINUTES = 1 / 60;

const success = z.literal(true);
/** Jobs are known by their number here. */
const jobNumberSchema = z.int().meta({ description: "The job's number." });

const countSchema = z.int().min(1).max(MAX_COUNT).nullish();
/** Parameters of a submit; further names are `node.input`, with any value. */
const recoveryParametersSchema = z.looseObject({
  batch_size: countSchema,
  width: countSchema,
  height: countSchema,
  num_inference_steps: countSchema,
  steps: countSchema,
  seed: z
    .union([z.int().min(0), z.string().regex(/^[0-9]{1,20}$/)])
    .nullish()
    .meta({ description: "Beyond 2^53 as text." }),
  cfg: z.number().min(0).nullish(),
  model: z.string().max(MAX_MODEL_LENGTH).regex(/\S/).nullish(),
});

/** `POST …/jobs/submit`. Other fields are told in a warning and left out. */
export const recoverySubmitSchema = z.looseObject({
  prompt: z.string().max(MAX_PROMPT_LENGTH).nullish().meta({
    description:
      "Takes the place of `{{prompt}}` in the graph, or else of the text that feeds the sampler's positive input.",
  }),
  workflow_data: z.record(z.string(), z.unknown()).nullish().meta({
    description:
      "A graph in ComfyUI's API format. Without one a built-in text-to-image graph runs, on a checkpoint model that a machine has.",
  }),
  job_type: z.string().min(1).max(MAX_JOB_TYPE_LENGTH).nullish().meta({
    description: "image, video, …: kept with the job.",
  }),
  parameters: recoveryParametersSchema.nullish().meta({
    description: "What fits nothing in the graph is told in a warning and left out.",
  }),
  timeout_minutes: z
    .number()
    .min(MIN_TIMEOUT_MINUTES)
    .max(MAX_TIMEOUT_MINUTES)
    .nullish()
    .meta({
      description: `Limit on execution over all attempts, without queue and backoff. Default ${DEFAULT_TIMEOUT_MINUTES}.`,
    }),
});
/** See {@link recoverySubmitSchema}. */
export type RecoverySubmit = z.infer<typeof recoverySubmitSchema>;

/** Answer to a submit. */
export const recoverySubmittedSchema = z.object({
  success,
  job_id: jobNumberSchema,
  id: z.string().meta({ description: "The same job in /api/v1: job_…" }),
  status: jobStatusSchema,
  message: z.string(),
  created: z.boolean().meta({
    description: "False when the Idempotency-Key was used before: this is the job of that time.",
  }),
  warnings: z.array(z.string()),
});
/** See {@link recoverySubmittedSchema}. */
export type RecoverySubmitted = z.infer<typeof recoverySubmittedSchema>;

/** One recovery: what was done after an attempt that failed. */
export const recoveryStepSchema = z.object({
  attempt: z.int().meta({ description: "The attempt that failed." }),
  message: z.string(),
  success: z.boolean().meta({
    description: "Whether the job completed after it. False while that is open.",
  }),
  timestamp: z.iso.datetime({ precision: 3 }),
  error_type: z.string(),
  strategy: z.string(),
  details: z.string().meta({ description: "The decision in words." }),
});

/** The parameters of a graph, under the names of this API. */
const parametersSchema = z.record(z.string(), z.unknown());

const recoveryStatusDataSchema = z.object({
  status: jobStatusSchema,
  retry_count: z.int().meta({ description: "Recoveries, and retries by hand." }),
  recovery_history: z.array(recoveryStepSchema),
  recovery_status: z.object({
    total_attempts: z.int().meta({ description: "Recoveries tried." }),
    successful_attempts: z.int(),
    available_checkpoints: z.int().meta({
      description: "Finished outputs, and saved states, that a later attempt can go on from.",
    }),
  }),
  id: z.string(),
  job_type: z.string().nullable(),
  original_parameters: parametersSchema.meta({
    description: "As the job was submitted. Never overwritten.",
  }),
  parameters: parametersSchema.meta({ description: "In use now, recovery included." }),
  last_checkpoint: z
    .object({
      progress: z.number().meta({ description: "Percent of the run when it was saved." }),
      node_id: z.string(),
      attempt: z.int(),
      size_bytes: z.int(),
      saved_seconds: z.number().meta({ description: "What going on from it spares." }),
      output_files: z.array(z.string()),
      created_at: z.string(),
    })
    .nullable(),
  progress: z.number().min(0).max(100),
  output_files: z.array(z.string()).meta({ description: "Addresses, in the order of outputs." }),
  error: jobErrorSchema.nullable(),
  error_message: z.string().nullable(),
  held: z.boolean(),
  waiting_reason: z.string().nullable(),
  created_at: z.string(),
  started_at: z.string().nullable(),
  ended_at: z.string().nullable(),
});

/** Answer to `GET …/jobs/{job_id}/status`. */
export const recoveryStatusSchema = z.object({
  success,
  job_id: jobNumberSchema,
  data: recoveryStatusDataSchema,
});
/** See {@link recoveryStatusSchema}. */
export type RecoveryStatus = z.infer<typeof recoveryStatusSchema>;

/** `POST …/jobs/{job_id}/retry`. */
export const recoveryRetrySchema = z
  .strictObject({
    force_retry: z.boolean().optional().meta({
      description: "Past the retry limit, and in any ended state.",
    }),
  })
  .nullish();
/** Answer to a retry. */
export const recoveryRetriedSchema = z.object({
  success,
  job_id: jobNumberSchema,
  id: z.string(),
  status: jobStatusSchema,
  message: z.string(),
});
/** See {@link recoveryRetriedSchema}. */
export type RecoveryRetried = z.infer<typeof recoveryRetriedSchema>;

/** Answer to `GET …/statistics`. */
export const recoveryStatisticsSchema = z.object({
  total_errors: z.int().meta({ description: "Failed attempts." }),
  successful_recoveries: z.int().meta({ description: "Those whose job completed." }),
  failed_recoveries: z.int().meta({ description: "Those whose job ended otherwise." }),
  recovery_rate: z.number().meta({
    description: "Successful ÷ (successful + failed) in percent; 0 while there are none.",
  }),
  error_distribution: z.record(z.string(), z.int()),
  enabled: z.literal(false).optional().meta({
    description: "Only there when RECOVERY_STATISTICS_ENABLED=false: nothing is recorded.",
  }),
});
/** See {@link recoveryStatisticsSchema}. */
export type RecoveryStatistics = z.infer<typeof recoveryStatisticsSchema>;

/** The windows that statistics are told for. */
export const STATISTICS_WINDOWS = ["1h", "24h", "7d", "all"] as const;
/** One of {@link STATISTICS_WINDOWS}. */
export type StatisticsWindow = (typeof STATISTICS_WINDOWS)[number];

/** Errors of one kind. `open`: their jobs have not ended. */
export const recoveryCountSchema = z.object({
  total_errors: z.int(),
  successful_recoveries: z.int(),
  failed_recoveries: z.int(),
  cancelled: z.int().meta({ description: "Their jobs were cancelled: in neither count." }),
  open: z.int().meta({ description: "Their jobs have not ended: in neither count." }),
  recovery_rate: z.number(),
});
/** See {@link recoveryCountSchema}. */
export type RecoveryCount = z.infer<typeof recoveryCountSchema>;

const countsByKey = z.record(z.string(), recoveryCountSchema);
const windowStatisticsSchema = recoveryCountSchema.extend({
  by_class: countsByKey,
  by_strategy: countsByKey,
  by_rung: countsByKey,
  by_node_type: countsByKey,
  by_machine: countsByKey,
});
/** Query of `GET …/statistics/detailed`: one window, or none for all four. */
export const detailedStatisticsQuerySchema = z.strictObject({
  window: z.enum(STATISTICS_WINDOWS).optional(),
});
/** Answer to `GET …/statistics/detailed`. */
export const detailedStatisticsSchema = z.object({
  success,
  enabled: z.boolean(),
  windows: z.partialRecord(z.enum(STATISTICS_WINDOWS), windowStatisticsSchema),
});
/** See {@link detailedStatisticsSchema}. */
export type DetailedStatistics = z.infer<typeof detailedStatisticsSchema>;

/** Answer to `POST …/emergency-stop`: what this call did. */
export const emergencyStopSchema = z.object({
  success,
  stopped: z.literal(true),
  interrupted: z.int().meta({ description: "Jobs that ran: back in the queue, held, at no cost." }),
  held: z.int().meta({ description: "Jobs that waited: held where they are." }),
  message: z.string(),
});
/** Answer to `POST …/emergency-stop/release`. */
export const emergencyReleaseSchema = z.object({
  success,
  stopped: z.literal(false),
  released: z.int(),
  message: z.string(),
});

/** Answer to `GET …/health`. */
export const recoveryHealthSchema = z.object({
  success,
  status: z
    .enum(["healthy", "degraded"])
    .meta({ description: "Degraded: no job could start now." }),
  error_recovery_enabled: z.boolean(),
  statistics_enabled: z.boolean(),
  emergency_stop: z.boolean().nullable(),
  checks: z.array(z.object({ name: z.string(), ok: z.boolean(), reason: z.string().nullable() })),
});

/** Query of `DELETE …/cleanup`. Numbers come as text in a query. */
export const DEFAULT_CLEANUP_HOURS = 24;
export const cleanupQuerySchema = z.strictObject({
  hours: z
    .string()
    .regex(/^[0-9]{1,6}$/, "expected a whole number of hours, 0 to 999999")
    .optional()
    .meta({
      description: `How long ago a job must have ended. Default ${DEFAULT_CLEANUP_HOURS}.`,
    }),
});
/** Answer to `DELETE …/cleanup`. */
export const cleanedUpSchema = z.object({
  success,
  hours: z.int(),
  removed: z.object({
    histories: z.int().meta({ description: "Jobs whose recovery history was removed." }),
    attempts: z.int().meta({ description: "Failed attempts whose evidence was removed." }),
    checkpoints: z.int(),
  }),
  more: z.boolean().meta({ description: "There is more: call again." }),
  message: z.string(),
});

/** Longest message that is classified. */
const MAX_CLASSIFIED_LENGTH = 131_072;
const shortTextSchema = z.string().max(500).nullish();
const evidenceInputSchema = z.looseObject({
  channel: z.string().max(32).optional(),
  message: z.string().max(MAX_CLASSIFIED_LENGTH),
  exceptionType: shortTextSchema,
  validationType: shortTextSchema,
  nodeId: shortTextSchema,
  nodeType: shortTextSchema,
  httpStatus: z.number().nullish(),
  traceback: z.array(z.string()).max(1_000).optional(),
  exit: z.object({ code: z.number().nullish(), signal: shortTextSchema }).optional(),
  timing: z
    .object({ elapsedMs: z.number().optional(), sinceLastSignMs: z.number().optional() })
    .optional(),
  vramFreeBytes: z.number().optional(),
});
/** `POST …/plan`: what would be done about an error. Nothing is run and nothing is changed. */
export const recoveryPlanRequestSchema = z.strictObject({
  error: z.union([z.string().min(1).max(MAX_CLASSIFIED_LENGTH), evidenceInputSchema]).meta({
    description: "A message, or evidence as an attempt's page shows it.",
  }),
  job_id: z.union([z.int().min(1), z.string().min(1).max(64)]).optional(),
  workflow_data: z.record(z.string(), z.unknown()).optional(),
  policy: jobPolicySchema.optional(),
});
/** See {@link recoveryPlanRequestSchema}. */
export type RecoveryPlanRequest = z.infer<typeof recoveryPlanRequestSchema>;

/** Answer to `POST …/plan`. */
export const recoveryPlanSchema = z.object({
  success,
  class: z.string(),
  subclass: z.string().nullable(),
  confidence: z.number(),
  strategy: z.string(),
  error_type: z.string().meta({
    description: "The operator's name for it where a custom pattern matched, else the class.",
  }),
  steps: z
    .array(
      z.object({
        rung: z.string(),
        loss: z.enum(["none", "pixels", "size", "content"]),
        explain: z.string(),
        attempt: z.int().nullable().meta({
          description: "The attempt it would lead to; null for what depends on a graph.",
        }),
        where: z.enum(["anywhere", "same", "elsewhere"]),
        delay_ms: z.int(),
      }),
    )
    .meta({ description: "What would be tried, in order, if every attempt failed this way." }),
  end: z
    .object({ kind: z.enum(["fail", "poison"]), reason: z.string(), explain: z.string() })
    .meta({ description: "How the job would end if nothing helped." }),
  skipped: z
    .array(z.object({ rung: z.string(), reason: z.string() }))
    .meta({ description: "Rungs that would be passed over for this graph and fleet, and why." }),
});
/** See {@link recoveryPlanSchema}. */
export type RecoveryPlan = z.infer<typeof recoveryPlanSchema>;
