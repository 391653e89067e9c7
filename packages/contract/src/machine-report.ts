/**
 * What a machine tells of itself beside its instances: services, cards, what is installed, what it
 * could fetch, and how its starts and installations went. An older control plane knows none of it and
 * answers 404; the agent then goes on without.
 */
import { z } from "zod";
import { machineIdSchema, sha256Schema } from "./ids.ts";

/** Largest `POST /agent/v1/machine-report`, in bytes. */
export const MAX_MACHINE_REPORT_BYTES = 1024 * 1024;
/** Most services, cards, models and packs of one report. */
export const MAX_SERVICES = 200;
export const MAX_GPUS = 64;
export const MAX_OFFERED_MODELS = 2_000;
export const MAX_OFFERED_PACKS = 500;
export const MAX_PACK_CLASSES = 500;
/** Longest sentence of a report: a reason, a detail, an advice. */
export const MACHINE_TEXT_MAX = 2_000;
/** Longest name of a report: a service, a version, a title. */
export const MACHINE_NAME_MAX = 300;
/** Most steps of one call, and of one run. */
export const MAX_STEPS_PER_CALL = 500;
export const MAX_STEPS_PER_RUN = 1_000;

const text = z.string().max(MACHINE_TEXT_MAX);
const name = z.string().min(1).max(MACHINE_NAME_MAX);
const words = z.string().max(64);
const bytes = z.int().min(0);
/** Epoch ms by the machine's own clock. */
const instant = z.int().min(0);

/** The six states of a service (see the machine's health server). */
export const MACHINE_SERVICE_STATES = [
  "not_configured",
  "not_installed",
  "stopped",
  "starting",
  "unhealthy",
  "healthy",
] as const;
const serviceStateSchema = z.enum(MACHINE_SERVICE_STATES);
/** One of {@link MACHINE_SERVICE_STATES}. */
export type MachineServiceState = z.infer<typeof serviceStateSchema>;

/** A service of a machine. The states below the service's own are words for people. */
export const machineServiceSchema = z.object({
  name,
  kind: words,
  state: serviceStateSchema,
  reason: text,
  /** Since when it has been in this state. */
  since: instant,
  installation: z.object({ state: words, detail: text.nullable(), version: text.nullable() }),
  runtime: z.object({
    state: words,
    pid: z.int().nullable(),
    startedAt: instant.nullable(),
    restarts: z.int().min(0),
    detail: text.nullable(),
  }),
  check: z.object({ state: words, detail: text.nullable(), checkedAt: instant.nullable() }),
  dependencies: z.array(z.object({ name, state: serviceStateSchema })).max(MAX_SERVICES),
});
/** See {@link machineServiceSchema}. */
export type MachineService = z.infer<typeof machineServiceSchema>;

/** A card of a machine. */
export const machineGpuSchema = z.object({
  index: z.int().min(0),
  uuid: name,
  name,
  memoryTotalBytes: bytes.nullable(),
  driver: text.nullable(),
  /** Why nothing can run on it; null while nothing is known against it. */
  fault: text.nullable(),
});

/** What is installed and serves. */
export const machineReleaseSchema = z.object({
  id: name,
  comfyuiCommit: words.nullable(),
  comfyuiVersion: words.nullable(),
  python: words.nullable(),
  torch: words.nullable(),
});

/** A model as a graph names it. */
const modelNameSchema = z.object({ folder: z.string().max(128), name: z.string().max(512) });

/** A model that the machine could fetch. */
export const offeredModelSchema = modelNameSchema.extend({
  sha256: sha256Schema.nullable(),
  sizeBytes: bytes.nullable(),
});
/** See {@link offeredModelSchema}. */
export type OfferedModel = z.infer<typeof offeredModelSchema>;

/** How a fetch goes that the control plane asked for. */
export const modelFetchSchema = modelNameSchema.extend({
  state: z.enum(["fetching", "failed"]),
  /** Why it failed. */
  reason: text.nullable(),
});
/** See {@link modelFetchSchema}. */
export type ModelFetch = z.infer<typeof modelFetchSchema>;

/** The whole of what a machine tells of itself. */
export const machineReportSchema = z.object({
  agentVersion: words,
  services: z.array(machineServiceSchema).max(MAX_SERVICES),
  gpus: z.array(machineGpuSchema).max(MAX_GPUS),
  release: machineReleaseSchema.nullable(),
  manifestDigest: z.string().max(128).nullable(),
  host: z.object({
    cpuCount: z.int().min(0).nullable(),
    memoryTotalBytes: bytes.nullable(),
    memoryFreeBytes: bytes.nullable(),
    /** Of the disk that models are fetched to. */
    diskTotalBytes: bytes.nullable(),
    diskFreeBytes: bytes.nullable(),
  }),
  offers: z.object({
    models: z.array(offeredModelSchema).max(MAX_OFFERED_MODELS),
    /** Packs of custom nodes that the manifest names and that are not installed. */
    packs: z
      .array(z.object({ name, classes: z.array(z.string().max(256)).max(MAX_PACK_CLASSES) }))
      .max(MAX_OFFERED_PACKS),
  }),
  /** Of what the control plane wants fetched (`modelsWanted` of a poll), how it goes. */
  fetches: z.array(modelFetchSchema).max(MAX_OFFERED_MODELS),
  /** Where its health server listens; null when it has none. */
  healthPort: z.int().min(1).max(65_535).nullable(),
});
/** See {@link machineReportSchema}. */
export type MachineReport = z.infer<typeof machineReportSchema>;

const sessionFields = { machineId: machineIdSchema, session: z.int().min(0).max(2_147_483_647) };

/** `PUT /agent/v1/machine-report`: takes the place of the one before. Safe to repeat. */
export const machineReportRequestSchema = z.object({
  ...sessionFields,
  report: machineReportSchema,
});
/** See {@link machineReportRequestSchema}. */
export type MachineReportRequest = z.infer<typeof machineReportRequestSchema>;

/** Id of one run: of a start, an installation or an update. */
export const runIdSchema = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/);

/** What became of a step. */
export const startupStepSchema = z.object({
  id: name,
  title: name,
  outcome: z.enum(["skipped", "done", "failed", "not_reached"]),
  startedAt: instant,
  durationMs: z.number().min(0),
  /** What was found or done; of a failure, what went wrong. */
  detail: text,
  /** What to do about a failure. */
  advice: text.nullable(),
  isOptional: z.boolean(),
});
/** See {@link startupStepSchema}. */
export type StartupStep = z.infer<typeof startupStepSchema>;

/** What a run is of. */
export const RUN_KINDS = ["start", "install", "update"] as const;
/** One of {@link RUN_KINDS}. */
export type RunKind = (typeof RUN_KINDS)[number];

/**
 * `POST /agent/v1/startup-steps`: how a run went so far. A step that was told before is replaced, so
 * it is safe to repeat. The log's bytes are stored first (`PUT /agent/v1/blobs/…`).
 */
export const startupStepsRequestSchema = z.object({
  ...sessionFields,
  runId: runIdSchema,
  kind: z.enum(RUN_KINDS),
  steps: z.array(startupStepSchema).max(MAX_STEPS_PER_CALL),
  logSha256: sha256Schema.optional(),
});
/** See {@link startupStepsRequestSchema}. */
export type StartupStepsRequest = z.infer<typeof startupStepsRequestSchema>;
