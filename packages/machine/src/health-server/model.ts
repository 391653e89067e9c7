/** What the health server tells: facts that others give it, and the shape of each answer (CONTRACTS C3). */
import { instantSchema } from "@holdfast/contract";
import { z } from "zod";
import { MACHINE_STATES } from "../services/machine-summary.ts";
import { SERVICE_STATES } from "../services/model.ts";

const serviceStateSchema = z.enum(SERVICE_STATES);
const instant = instantSchema.nullable();

/** A card as `nvidia-smi` tells it. Null is unknown, never zero. */
export const gpuFactsSchema = z.strictObject({
  index: z.int(),
  uuid: z.string().nullable(),
  name: z.string(),
  /** `ok`, or what is wrong with it in words (`lost`, `needs a reset`). */
  health: z.string(),
  memoryTotalBytes: z.number().nullable(),
  memoryUsedBytes: z.number().nullable(),
  /** 0 to 1. */
  utilization: z.number().nullable(),
  temperatureCelsius: z.number().nullable(),
});
/** See {@link gpuFactsSchema}. */
export type GpuFacts = z.infer<typeof gpuFactsSchema>;

/** What is known of the machine beside its services. */
export const machineFactsSchema = z.strictObject({
  /** Null until the machine is enrolled. */
  machineId: z.string().nullable(),
  name: z.string(),
  gpus: z.array(gpuFactsSchema),
  controlPlane: z.strictObject({
    state: z.enum(["none", "connecting", "connected", "disconnected"]),
    url: z.string().nullable(),
    /** Why it is not connected; null when nothing is wrong. */
    detail: z.string().nullable(),
  }),
  /** Id of the release that serves; null while there is none. */
  release: z.string().nullable(),
  manifest: z.strictObject({
    /** Null: there is none. */
    path: z.string().nullable(),
    /** What is wrong with it; what ran before goes on. */
    problems: z.array(z.string()),
  }),
});
/** See {@link machineFactsSchema}. */
export type MachineFacts = z.infer<typeof machineFactsSchema>;

/** `GET /health`. */
export const healthAnswerSchema = machineFactsSchema.extend({
  state: z.enum(MACHINE_STATES),
  reason: z.string(),
  ready: z.boolean(),
  version: z.string(),
  startedAt: instantSchema,
  uptimeSeconds: z.int(),
  /** How many services are in each state. */
  services: z.record(serviceStateSchema, z.int()),
});
/** See {@link healthAnswerSchema}. */
export type HealthAnswer = z.infer<typeof healthAnswerSchema>;

/** One change of a service's state. */
export const transitionAnswerSchema = z.strictObject({
  at: instantSchema,
  from: serviceStateSchema.nullable(),
  to: serviceStateSchema,
  reason: z.string(),
});
/** See {@link transitionAnswerSchema}. */
export type TransitionAnswer = z.infer<typeof transitionAnswerSchema>;

/** `GET /services/:service/health`, and each entry of `GET /services`. */
export const serviceAnswerSchema = z.strictObject({
  name: z.string(),
  kind: z.enum(["installer", "comfyui", "instance", "process", "check"]),
  state: serviceStateSchema,
  reason: z.string(),
  since: instantSchema,
  isConfigured: z.boolean(),
  installation: z.strictObject({
    state: z.enum(["none", "missing", "installing", "installed", "broken"]),
    detail: z.string().nullable(),
    version: z.string().nullable(),
  }),
  runtime: z.strictObject({
    state: z.enum(["stopped", "starting", "running", "stopping", "crash_loop", "elsewhere"]),
    pid: z.int().nullable(),
    startedAt: instant,
    restarts: z.int(),
    detail: z.string().nullable(),
  }),
  check: z.strictObject({
    state: z.enum(["none", "pending", "passing", "failing"]),
    detail: z.string().nullable(),
    checkedAt: instant,
  }),
  dependencies: z.array(z.strictObject({ name: z.string(), state: serviceStateSchema })),
  /** The last ten, oldest first; `GET /services/:service/transitions` has more. */
  transitions: z.array(transitionAnswerSchema),
  details: z.record(z.string(), z.unknown()),
});
/** See {@link serviceAnswerSchema}. */
export type ServiceAnswer = z.infer<typeof serviceAnswerSchema>;

/** `GET /services`. */
export const servicesAnswerSchema = z.strictObject({
  state: z.enum(MACHINE_STATES),
  services: z.array(serviceAnswerSchema),
});
/** See {@link servicesAnswerSchema}. */
export type ServicesAnswer = z.infer<typeof servicesAnswerSchema>;

/** `GET /services/:service/transitions`. */
export const transitionsAnswerSchema = z.strictObject({
  service: z.string(),
  transitions: z.array(transitionAnswerSchema),
});
/** See {@link transitionsAnswerSchema}. */
export type TransitionsAnswer = z.infer<typeof transitionsAnswerSchema>;

/** `GET /ready`. Without the token a public server tells `ready` alone. */
export const readyAnswerSchema = z.strictObject({
  ready: z.boolean(),
  state: z.enum(MACHINE_STATES).optional(),
  reason: z.string().optional(),
});
/** See {@link readyAnswerSchema}. */
export type ReadyAnswer = z.infer<typeof readyAnswerSchema>;

/** `GET /services/:service/logs` as JSON. */
export const logsAnswerSchema = z.strictObject({
  service: z.string(),
  files: z.array(
    z.strictObject({
      file: z.string(),
      sizeBytes: z.int(),
      modifiedAt: instantSchema,
      /** More stands before these lines. */
      isTruncated: z.boolean(),
      lines: z.array(z.string()),
    }),
  ),
});
/** See {@link logsAnswerSchema}. */
export type LogsAnswer = z.infer<typeof logsAnswerSchema>;

/** One line of a followed log as JSON. */
export const logLineSchema = z.strictObject({ file: z.string(), line: z.string() });
/** See {@link logLineSchema}. */
export type LogLine = z.infer<typeof logLineSchema>;
