/** Books: batches of pages, each page a job. `/api/v1/batches`, and the two routes of books beside it. */
import { z } from "zod";
import { instantSchema, jobIdSchema } from "./ids.ts";
import {
  graphSchema,
  jobChangesSchema,
  jobPolicySchema,
  MAX_PRIORITY,
  MAX_TAG_LENGTH,
  MAX_TAGS,
  MIN_PRIORITY,
  outputSchema,
} from "./jobs.ts";
import { pageQuerySchema, pageSchema } from "./pages.ts";

/** States of a batch. The last three are ends; a regenerate leaves them again. */
export const BATCH_STATUSES = ["running", "paused", "completed", "attention", "cancelled"] as const;
/** One of {@link BATCH_STATUSES}. */
export type BatchStatus = (typeof BATCH_STATUSES)[number];

/** States of a page. */
export const PAGE_STATUSES = ["pending", "rendering", "attention", "done", "cancelled"] as const;
/** One of {@link PAGE_STATUSES}. */
export type PageStatus = (typeof PAGE_STATUSES)[number];

/** What a screen calls each state of a page. */
export const PAGE_BADGES = {
  pending: "Pending",
  rendering: "Rendering",
  attention: "Needs attention",
  done: "Done",
  cancelled: "Cancelled",
} as const satisfies Record<PageStatus, string>;

/** Most pages of a batch. */
export const MAX_PAGES = 10_000;
/** Most structured errors that a page keeps, the newest last. */
export const MAX_IMAGE_ERRORS = 20;
/** Most columns of a table of values. */
export const MAX_TABLE_COLUMNS = 256;
/** Longest CSV table, in characters. */
export const MAX_CSV_LENGTH = 20_000_000;
const MAX_RETRIES = 20;
const MAX_RETRY_PAUSES = 20;
const MAX_RETRY_PAUSE_SECONDS = 86_400;
/** Most pages of a batch that are jobs at one time. */
export const MAX_WINDOW = 1_000;

/** `bat_…`: a book, a set of pages that are rendered together. */
export const batchIdSchema = z.string().regex(/^bat_[0-9a-z]{26}$/);

const pageNumberSchema = z.int().min(1).max(1_000_000);
const setSchema = z.record(z.string().max(256), z.unknown()).meta({
  description:
    'Values to put into the graph, by node.input or by the name of a {{variable}}: {"3.seed": 7, "style": "ink"} sets input seed of node 3, and {{style}} wherever it stands.',
});
const promptSchema = z.string().max(20_000).meta({
  description:
    "Takes the place of {{prompt}}, or of the text that feeds the sampler's positive input.",
});
const seedSchema = z.int().min(0).meta({ description: "The seed of every sampler." });

/** A page as a caller wants it. */
export const newPageSchema = z.strictObject({
  page: pageNumberSchema.optional().meta({ description: "Default: its place in the list." }),
  graph: graphSchema.optional().meta({ description: "Its own graph; default: that of the batch." }),
  set: setSchema.optional(),
  prompt: promptSchema.optional(),
  seed: seedSchema.optional(),
  name: z.string().max(200).optional(),
  metadata: z.record(z.string(), z.unknown()).optional().meta({
    description: "Given back in job_metadata; at most 16 KiB as JSON.",
  }),
});
/** See {@link newPageSchema}. */
export type NewPage = z.infer<typeof newPageSchema>;

const tableSchema = z
  .union([
    z.strictObject({ rows: z.array(z.record(z.string().max(256), z.unknown())).max(MAX_PAGES) }),
    z.strictObject({ csv: z.string().max(MAX_CSV_LENGTH) }),
  ])
  .meta({
    description:
      "One page a row. A column is a {{variable}} of the graph, a node.input, one that bind names, or page.",
  });

/** Limits of a batch that a caller may change later. */
const batchKnobs = {
  name: z.string().min(1).max(200).optional(),
  priority: z.int().min(MIN_PRIORITY).max(MAX_PRIORITY).optional(),
  window: z.int().min(1).max(MAX_WINDOW).optional().meta({
    description: "Pages that are jobs at one time. Default: 256, one where pages go in order.",
  }),
};

/** Body of `POST /api/v1/batches`: pages in a list, or one graph with a table of values. */
export const createBatchSchema = z.strictObject({
  ...batchKnobs,
  graph: graphSchema.optional().meta({ description: "The template of the pages." }),
  set: setSchema.optional(),
  pages: z.array(newPageSchema).max(MAX_PAGES).optional(),
  table: tableSchema.optional(),
  bind: z
    .record(
      z.string().max(256),
      z.union([z.string().max(256), z.array(z.string().max(256)).max(64)]),
    )
    .optional()
    .meta({ description: 'Columns by the inputs they set: {"subject": ["6.text", "12.text"]}.' }),
  parallel: z.boolean().optional().meta({
    description: "Whether pages run beside each other. Default: COMFY_ALLOW_PARALLEL_PAGES.",
  }),
  paused: z.boolean().optional().meta({ description: "Nothing is rendered before a resume." }),
  tags: z.array(z.string().min(1).max(MAX_TAG_LENGTH)).max(MAX_TAGS).optional(),
  timeoutMs: z.int().min(1000).max(86_400_000).optional(),
  policy: jobPolicySchema.optional(),
  metadata: z.record(z.string(), z.unknown()).optional(),
  maxRetries: z.int().min(0).max(MAX_RETRIES).optional().meta({
    description:
      "Fresh rounds of a page whose job failed or ran out of time. Default: COMFY_MAX_RETRIES.",
  }),
  retryBackoffSeconds: z
    .array(z.number().min(0).max(MAX_RETRY_PAUSE_SECONDS))
    .min(1)
    .max(MAX_RETRY_PAUSES)
    .optional()
    .meta({
      description:
        "Pauses before those rounds; the last repeats. Default: COMFY_RETRY_BACKOFF_SEC.",
    }),
});
/** See {@link createBatchSchema}. */
export type CreateBatch = z.infer<typeof createBatchSchema>;

/** Body of `PATCH /api/v1/batches/{ref}`. */
export const changeBatchSchema = z.strictObject(batchKnobs);

/** A batch as lists and `GET /api/v1/batches/{ref}` show it. */
export const batchSchema = z.object({
  id: batchIdSchema,
  number: z.int(),
  name: z.string().nullable(),
  owner: z.string(),
  status: z.enum(BATCH_STATUSES),
  parallel: z.boolean(),
  window: z.int(),
  priority: z.int(),
  tags: z.array(z.string()),
  maxRetries: z.int(),
  retryBackoffSeconds: z.array(z.number()),
  pageCount: z.int(),
  pages: z
    .record(z.enum(PAGE_STATUSES), z.int())
    .meta({ description: "How many are in each state." }),
  changedPages: z.int().meta({
    description:
      "Pages that are done and not as they were asked for: recovery changed their graph, and their result with it.",
  }),
  progress: z.object({
    percent: z.number().min(0).max(100).meta({ description: "Of pages that have ended." }),
    pagesPerMinute: z.number().nullable(),
    secondsLeft: z.number().nullable().meta({
      description:
        "At least so long, by what its last pages took and until the last round that is known; null while nothing is known, or while paused.",
    }),
    waitingPages: z.int().meta({
      description: "Pages that wait for their next round; 0 while paused.",
    }),
    nextRoundAt: instantSchema
      .nullable()
      .meta({ description: "When the first of them begins; null where none waits." }),
  }),
  metadata: z.record(z.string(), z.unknown()),
  createdAt: instantSchema,
  endedAt: instantSchema.nullable(),
});
/** See {@link batchSchema}. */
export type BatchView = z.infer<typeof batchSchema>;
export const batchPageSchema = pageSchema(batchSchema);

/** Answer to `POST /api/v1/batches`. */
export const createdBatchSchema = z.object({
  batch: batchSchema,
  created: z
    .boolean()
    .meta({ description: "False when the idempotency key had been used before." }),
  warnings: z.array(z.string()),
});

/** Query of `GET /api/v1/batches`. */
export const listBatchesQuerySchema = pageQuerySchema.extend({
  status: z.enum(BATCH_STATUSES).optional(),
  name: z.string().max(200).optional().meta({ description: "Part of the name." }),
});

/** Why a page has no picture, one entry a failed round. Fields as screens and reports of books know them. */
export const imageErrorSchema = z.object({
  at: instantSchema,
  attempt: z.int().meta({ description: "Which round of this version it was, from 1." }),
  class: z.string(),
  subclass: z.string().nullable(),
  message: z.string(),
  strategy: z.string(),
  node_id: z.string().nullable(),
  node_type: z.string().nullable(),
  job_id: jobIdSchema.nullable().meta({ description: "Null: no job was made of it." }),
  final: z.boolean().meta({ description: "No round follows by itself." }),
});
/** See {@link imageErrorSchema}. */
export type ImageError = z.infer<typeof imageErrorSchema>;

const pageChangesSchema = jobChangesSchema.nullable().meta({
  description:
    "What recovery changed in the graph that this is rendered with; null: nothing, it is as it was asked for.",
});

/** A page as lists show it. */
export const bookPageSchema = z.object({
  page: pageNumberSchema,
  name: z.string().nullable(),
  status: z.enum(PAGE_STATUSES),
  badge: z.string().meta({ description: "What a screen calls it." }),
  jobId: jobIdSchema.nullable(),
  version: z.int().meta({ description: "Grows with every regenerate." }),
  retryAt: instantSchema.nullable().meta({ description: "When its next round begins." }),
  waitingReason: z.string().nullable(),
  retry_count: z.int(),
  last_attempted_at: instantSchema.nullable(),
  needs_regeneration: z.boolean(),
  changes: pageChangesSchema,
  job_metadata: z.record(z.string(), z.unknown()),
  image_error: z.array(imageErrorSchema),
});
/** See {@link bookPageSchema}. */
export type BookPageView = z.infer<typeof bookPageSchema>;
export const bookPageListSchema = pageSchema(bookPageSchema);

/** Query of `GET /api/v1/batches/{ref}/pages`. */
export const listPagesQuerySchema = pageQuerySchema.extend({
  status: z.enum(PAGE_STATUSES).optional(),
});

/** One version of a page. */
export const pageVersionSchema = z.object({
  version: z.int(),
  jobId: jobIdSchema.nullable(),
  overrides: z.record(z.string(), z.unknown()),
  by: z.string().meta({ description: "Who asked for it." }),
  createdAt: instantSchema,
  changes: pageChangesSchema,
  outputs: z.array(outputSchema).meta({ description: "Empty when its job failed or was removed." }),
  outputsRemoved: z.boolean().meta({
    description: "Its job was removed when its time was over, and its outputs with it.",
  }),
});

/** `GET /api/v1/batches/{ref}/pages/{page}`. */
export const bookPageDetailSchema = bookPageSchema.extend({
  versions: z.array(pageVersionSchema).meta({ description: "The newest first." }),
});
/** See {@link bookPageDetailSchema}. */
export type BookPageDetail = z.infer<typeof bookPageDetailSchema>;

/** Body of `POST /api/v1/batches/{ref}/regenerate`. */
export const regenerateBatchSchema = z.strictObject({
  pages: z.array(pageNumberSchema).min(1).max(MAX_PAGES).optional().meta({
    description: "Default: all that need it.",
  }),
  force: z.boolean().optional().meta({
    description: "Of the pages named, those that are done or rendering as well.",
  }),
});
/** Body of `POST /api/v1/batches/{ref}/pages/{page}/regenerate`. */
export const regeneratePageSchema = z.strictObject({
  set: setSchema.optional(),
  prompt: promptSchema.optional(),
  seed: seedSchema.optional(),
  force: z
    .boolean()
    .optional()
    .meta({ description: "Even while it is rendering: that job is cancelled." }),
});
/** See {@link regeneratePageSchema}. */
export type RegeneratePage = z.infer<typeof regeneratePageSchema>;
/** Answer to a regenerate. */
export const regeneratedSchema = z.object({
  batch: batchSchema,
  regenerated: z.array(pageNumberSchema),
  warnings: z.array(z.string()).meta({
    description: "Values that were left out, or put elsewhere than one may think.",
  }),
});

/** Body of `POST /admin/books/{book_id}/regenerate-page/{page}`; all of it may be left out. */
export const regenerateBookPageSchema = z.strictObject({
  prompt: promptSchema.optional(),
  seed: seedSchema.optional(),
  overrides: setSchema.optional(),
});
/** Answer of the two routes of books. */
export const regeneratedBookSchema = z.object({
  success: z.literal(true),
  book_id: z.string(),
  regenerated: z.array(pageNumberSchema),
});
