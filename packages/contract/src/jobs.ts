import { z } from "zod";
import {
  attemptIdSchema,
  instantSchema,
  jobIdSchema,
  outputIdSchema,
  sha256Schema,
} from "./ids.ts";
import { pageSchema, pageQuerySchema } from "./pages.ts";

/** The states of a job, as everybody outside sees them. The last four are ends. */
export const JOB_STATUSES = [
  "queued",
  "processing",
  "recovering",
  "completed",
  "failed",
  "timeout",
  "cancelled",
] as const;
/** One of {@link JOB_STATUSES}. */
export type JobStatus = (typeof JOB_STATUSES)[number];
export const jobStatusSchema = z.enum(JOB_STATUSES);

/** The states a job never leaves by itself. */
export const ENDED_JOB_STATUSES = ["completed", "failed", "timeout", "cancelled"] as const;
/** Whether a job in this state has ended. */
export function isEndedStatus(status: JobStatus): boolean {
  return (ENDED_JOB_STATUSES as readonly JobStatus[]).includes(status);
}

/** Most tags on a job, and how long one may be. */
export const MAX_TAGS = 16;
export const MAX_TAG_LENGTH = 64;
/** Most jobs that one request may submit. */
export const MAX_JOBS_PER_SUBMIT = 1000;
export const MIN_PRIORITY = -100;
export const MAX_PRIORITY = 100;

/** A graph in ComfyUI's API format; checked by `parseGraph`, whose refusals say more than a schema. */
export const graphSchema = z.record(z.string(), z.unknown()).meta({
  description:
    "A workflow in ComfyUI's API format (editor: Workflow > Export (API)): nodes by id, each with class_type and inputs.",
});

const tagSchema = z.string().min(1).max(MAX_TAG_LENGTH);

/** Whether a job's work is put away while it runs. */
export const CHECKPOINT_MODES = ["auto", "off", "segments"] as const;
/** One of {@link CHECKPOINT_MODES}. */
export type CheckpointMode = (typeof CHECKPOINT_MODES)[number];

/** How far recovery may go for a job, and how often. */
export const jobPolicySchema = z
  .strictObject({
    maxRetryAttempts: z.int().min(0).max(20).optional().meta({
      description: "Attempts after the first that the job's own failures may use.",
    }),
    maxLoss: z.enum(["none", "pixels", "size", "content"]).optional().meta({
      description: "The most that recovery may change in the picture. Default: content.",
    }),
    checkpoints: z.enum(CHECKPOINT_MODES).optional().meta({
      description:
        "Whether latents of long samplers are put away, so that another machine can go on from them: auto, off, or segments (in the middle of a long euler, ddim or heun sampler too, which is then rendered in segments: within 1 of 255 of one piece; not where maxLoss is none). Default: HOLDFAST_CHECKPOINTS.",
    }),
  })
  .meta({ description: "Limits on recovery for this job." });
/** See {@link jobPolicySchema}. */
export type JobPolicy = z.infer<typeof jobPolicySchema>;

/** Where to tell about this job, beside the standing webhook endpoints. */
export const jobWebhookSchema = z.strictObject({
  url: z.url().max(2048),
  events: z.array(z.string().max(64)).max(32).optional(),
});

/** One job to submit: `POST /api/v1/jobs`. */
export const submitJobSchema = z.strictObject({
  graph: graphSchema,
  set: z.record(z.string().max(256), z.unknown()).optional().meta({
    description: 'Values to put into the graph: {"3.seed": 7} sets input seed of node 3.',
  }),
  priority: z.int().min(MIN_PRIORITY).max(MAX_PRIORITY).optional().meta({
    description: "Higher runs first. Default 0.",
  }),
  tags: z.array(tagSchema).max(MAX_TAGS).optional(),
  batchId: z.string().min(1).max(64).optional(),
  name: z.string().max(200).optional(),
  metadata: z.record(z.string(), z.unknown()).optional().meta({
    description: "Given back as it came; at most 16 KiB as JSON.",
  }),
  timeoutMs: z.int().min(1000).max(86_400_000).optional().meta({
    description:
      "Limit on execution time over all attempts, without queue and backoff. Default 30 min.",
  }),
  policy: jobPolicySchema.optional(),
  webhook: jobWebhookSchema.optional(),
});
/** See {@link submitJobSchema}. */
export type SubmitJob = z.infer<typeof submitJobSchema>;

/** Many jobs in one request, all or none: `POST /api/v1/jobs` with `jobs`. */
export const submitJobsSchema = z.strictObject({
  jobs: z.array(submitJobSchema).min(1).max(MAX_JOBS_PER_SUBMIT),
});

/** Query of a submit: `validate=strict` refuses what no known machine would accept. */
export const submitQuerySchema = z.strictObject({
  validate: z.enum(["strict", "lenient"]).optional(),
});

/** Why a job failed, in a form for a person and one for a program. */
export const jobErrorSchema = z.object({
  class: z.string(),
  subclass: z.string().nullable(),
  message: z.string(),
  strategy: z.string(),
  confidence: z.number(),
  nodeId: z.string().nullable(),
  nodeType: z.string().nullable(),
  field: z
    .object({
      nodeId: z.string(),
      input: z.string(),
      received: z.string().nullable(),
      validValues: z.array(z.string()),
    })
    .optional()
    .meta({
      description: "The input of the graph that was refused, and some values that would be valid.",
    }),
  customType: z.string().optional().meta({
    description: "The error type of the custom pattern that matched; absent where none did.",
  }),
});
/** See {@link jobErrorSchema}. */
export type JobError = z.infer<typeof jobErrorSchema>;

/** How far a running job is. */
export const jobProgressSchema = z.object({
  percent: z.number().min(0).max(100),
  nodeId: z.string().nullable(),
  nodesDone: z.int(),
  nodesTotal: z.int(),
});
/** See {@link jobProgressSchema}. */
export type JobProgress = z.infer<typeof jobProgressSchema>;

/** What recovery has changed in a job's graph. */
export const jobChangesSchema = z.object({
  loss: z.enum(["none", "pixels", "size", "content"]).meta({
    description: "How much the result differs: not at all, in pixels, in size, in content.",
  }),
  steps: z.array(z.string()).meta({ description: "The changes in words, in their order." }),
});
/** See {@link jobChangesSchema}. */
export type JobChanges = z.infer<typeof jobChangesSchema>;

/** A job as lists and `GET /api/v1/jobs/{id}` show it. */
export const jobSchema = z.object({
  id: jobIdSchema,
  number: z.int(),
  name: z.string().nullable(),
  status: jobStatusSchema,
  held: z.boolean(),
  poison: z.boolean().meta({
    description: "Two instances died during it: it is set aside and never queued again by itself.",
  }),
  priority: z.int(),
  tags: z.array(z.string()),
  batchId: z.string().nullable(),
  owner: z.string(),
  attemptCount: z.int(),
  failureCount: z.int(),
  progress: jobProgressSchema.nullable(),
  waitingReason: z.string().nullable().meta({
    description: "Why nothing happens now: no machine can serve it, backoff, held, store down.",
  }),
  error: jobErrorSchema.nullable(),
  changes: jobChangesSchema.nullable().meta({
    description: "What recovery changed in the graph; null: it runs, or ran, as it was submitted.",
  }),
  outputCount: z.int(),
  metadata: z.record(z.string(), z.unknown()),
  timeoutMs: z.int(),
  executionMs: z.int(),
  expectedMs: z.int().nullable().optional().meta({
    description:
      "What an attempt of such a job takes as a rule, with its models loaded; null when no profile knows, and after the end.",
  }),
  etaSeconds: z.int().nullable().optional().meta({
    description:
      "About how long it is until the job is completed: what runs, what waits before it and who could run it, by their profiles. Null when something of that is not known, and after the end.",
  }),
  createdAt: instantSchema,
  startedAt: instantSchema.nullable(),
  endedAt: instantSchema.nullable(),
});
/** See {@link jobSchema}. */
export type JobView = z.infer<typeof jobSchema>;

/** Answer to a submit of one. `created` is false when the idempotency key had been used before. */
export const submittedJobSchema = z.object({
  job: jobSchema,
  created: z.boolean(),
  warnings: z.array(z.string()),
});
/** Answer to a submit of many. */
export const submittedJobsSchema = z.object({
  jobs: z.array(jobSchema),
  created: z.boolean(),
  warnings: z.array(z.string()),
});

/** Query of `GET /api/v1/jobs`. */
export const listJobsQuerySchema = pageQuerySchema.extend({
  status: z
    .string()
    .max(100)
    .regex(/^[a-z]+(,[a-z]+)*$/)
    .optional()
    .meta({ description: "One status, or several separated by commas." }),
  tag: tagSchema.optional(),
  batchId: z.string().max(64).optional(),
  createdAfter: instantSchema.optional(),
  createdBefore: instantSchema.optional(),
  order: z.enum(["newest", "oldest"]).optional(),
});
export const jobPageSchema = pageSchema(jobSchema);

/** One file or text that a job gave. */
export const outputSchema = z.object({
  id: outputIdSchema,
  jobId: jobIdSchema,
  nodeId: z.string(),
  ordinal: z.int(),
  kind: z.enum(["image", "video", "audio", "text", "latent", "file"]),
  name: z.string(),
  mediaType: z.string(),
  sizeBytes: z.int(),
  sha256: sha256Schema,
  temporary: z.boolean(),
  url: z.string(),
  text: z.string().nullable(),
});
/** See {@link outputSchema}. */
export type OutputView = z.infer<typeof outputSchema>;
export const outputListSchema = z.object({ outputs: z.array(outputSchema) });

/** A latent that an attempt put away for a later one. */
export const checkpointSchema = z.object({
  nodeId: z.string().meta({ description: "The sampler whose work it is." }),
  sizeBytes: z.int(),
  percent: z.number().meta({ description: "How far the run was." }),
  spentMs: z.number().meta({ description: "Execution time that a resume from it spares." }),
  savedAt: instantSchema,
  keptUntil: instantSchema.meta({
    description:
      "At the latest; of a job that completed or was cancelled until the next look, every 6 h.",
  }),
  problem: z.string().nullable().meta({ description: "Why it is not used any more." }),
});
/** See {@link checkpointSchema}. */
export type CheckpointView = z.infer<typeof checkpointSchema>;

/** What an attempt went on from instead of beginning anew. */
export const attemptResumeSchema = z.object({
  nodeIds: z.array(z.string()).meta({ description: "Samplers that were not run again." }),
  fromAttempt: z.int().meta({ description: "The attempt that put their work away." }),
  savedMs: z.number().meta({ description: "Execution time of that attempt which was spared." }),
});
/** See {@link attemptResumeSchema}. */
export type AttemptResume = z.infer<typeof attemptResumeSchema>;

/** One try at a job, with what came of it and what was decided then. */
export const attemptSchema = z.object({
  id: attemptIdSchema,
  number: z.int(),
  round: z.int(),
  instanceId: z.string(),
  instanceName: z.string(),
  machineId: z.string(),
  promptId: z.string(),
  state: z.enum(["staged", "running", "ended"]),
  outcome: z.string().nullable(),
  error: jobErrorSchema.nullable(),
  evidence: z.record(z.string(), z.unknown()).nullable(),
  decision: z
    .object({ action: z.string(), reason: z.string(), delayMs: z.int().nullable() })
    .nullable(),
  grantedAt: instantSchema,
  startedAt: instantSchema.nullable(),
  endedAt: instantSchema.nullable(),
  timings: z.record(z.string(), z.number()),
  resume: attemptResumeSchema.nullable().meta({
    description: "What it went on from; null when it began at the beginning.",
  }),
  checkpoints: z.array(checkpointSchema).meta({ description: "What it put away." }),
});
/** See {@link attemptSchema}. */
export type AttemptView = z.infer<typeof attemptSchema>;
export const attemptListSchema = z.object({ attempts: z.array(attemptSchema) });

/** Numbers of the whole queue: `GET /api/v1/stats`. */
export const statsSchema = z.object({
  jobs: z.record(jobStatusSchema, z.int()),
  held: z.int(),
  oldestQueuedAgeMs: z.int().nullable(),
  completedLastHour: z.int(),
  failedLastHour: z.int(),
  removed: z.int().meta({ description: "Jobs that ended and were removed, so far." }),
  retention: z
    .object({ endedJobHours: z.int(), failedJobHours: z.int() })
    .meta({ description: "How long ended jobs are kept, in hours after their end; 0: for ever." }),
  instances: z.object({ total: z.int(), healthy: z.int(), busy: z.int() }),
  machines: z.object({ total: z.int(), online: z.int() }),
});
