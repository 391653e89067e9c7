/** Holdfast's own events: one union keyed by `type`. Payloads carry ids and facts, not whole rows. */
import { z } from "zod";
import { alertIdSchema, alertSeveritySchema } from "./alerts.ts";
import { BATCH_STATUSES, batchIdSchema, imageErrorSchema, PAGE_STATUSES } from "./batches.ts";
import { attemptIdSchema, instantSchema, jobIdSchema } from "./ids.ts";
import { jobErrorSchema } from "./jobs.ts";

/** The version that every event's `version` field carries now. */
export const EVENT_VERSION = 1;

const base = {
  /** `evt_…`; the same event may be seen twice, by id. */
  id: z.string(),
  at: instantSchema,
  version: z.literal(EVENT_VERSION),
};
const jobFacts = { jobId: jobIdSchema, number: z.int(), batchId: z.string().nullable() };
const attemptFacts = { ...jobFacts, attemptId: attemptIdSchema, attempt: z.int() };

const bookFacts = { batchId: batchIdSchema, batchNumber: z.int(), name: z.string().nullable() };
const bookPageFacts = { page: z.int(), version: z.int(), jobId: jobIdSchema.nullable() };

const alertFacts = {
  alertId: alertIdSchema,
  rule: z.string(),
  severity: alertSeveritySchema,
  labels: z.record(z.string(), z.string()),
  summary: z.string(),
};

const event = <T extends string, S extends z.ZodRawShape>(type: T, data: S) =>
  z.object({ ...base, type: z.literal(type), data: z.object(data) });

export const eventSchema = z.discriminatedUnion("type", [
  event("job.queued", jobFacts),
  event("job.held", { ...jobFacts, reason: z.string() }),
  event("job.completed", { ...jobFacts, outputCount: z.int(), attempts: z.int() }),
  event("job.failed", { ...jobFacts, error: jobErrorSchema, poison: z.boolean() }),
  event("job.timeout", { ...jobFacts, error: jobErrorSchema }),
  event("job.cancelled", { ...jobFacts, by: z.string() }),
  event("job.redriven", { ...jobFacts, round: z.int(), by: z.string() }),
  event("job.changed", {
    ...jobFacts,
    rung: z.string(),
    loss: z.enum(["none", "pixels", "size", "content"]),
    explain: z.string(),
  }),
  event("book.created", { ...bookFacts, pages: z.int(), by: z.string() }),
  event("book.page.done", { ...bookFacts, ...bookPageFacts }),
  event("book.page.retry", {
    ...bookFacts,
    ...bookPageFacts,
    error: imageErrorSchema,
    retryCount: z.int(),
    retryAt: instantSchema,
  }),
  event("book.page.failed", { ...bookFacts, ...bookPageFacts, error: imageErrorSchema }),
  event("book.done", {
    ...bookFacts,
    status: z.enum(BATCH_STATUSES),
    pages: z.record(z.enum(PAGE_STATUSES), z.int()),
  }),
  event("attempt.started", { ...attemptFacts, instanceId: z.string() }),
  event("attempt.failed", {
    ...attemptFacts,
    instanceId: z.string(),
    outcome: z.string(),
    error: jobErrorSchema.nullable(),
    decision: z.string(),
    reason: z.string(),
    delayMs: z.int().nullable(),
  }),
  event("instance.unhealthy", {
    instanceId: z.string(),
    machineId: z.string(),
    name: z.string(),
    reason: z.string().nullable(),
  }),
  event("instance.quarantined", {
    instanceId: z.string(),
    machineId: z.string(),
    name: z.string(),
    reason: z.string(),
    forMs: z.int(),
  }),
  event("fleet.machine-started", {
    fleetMachineId: z.string(),
    name: z.string(),
    pool: z.string(),
    provider: z.string(),
    gpuType: z.string().nullable(),
    pricePerHour: z.number().nullable(),
  }),
  event("fleet.machine-ready", {
    fleetMachineId: z.string(),
    name: z.string(),
    pool: z.string(),
    tookMs: z.number(),
  }),
  event("fleet.machine-ended", {
    fleetMachineId: z.string(),
    name: z.string(),
    pool: z.string(),
    cause: z.enum(["failed", "intended"]),
    kind: z.string().nullable(),
    reason: z.string(),
  }),
  event("fleet.breaker-changed", {
    state: z.enum(["closed", "open", "half_open"]),
    reason: z.string(),
    rate: z.number(),
    failed: z.int(),
    seen: z.int(),
    /** When machines may be started again, if nothing else fails; null unless open. */
    resumesAt: instantSchema.nullable(),
  }),
  event("machine.enrolled", {
    enrolmentId: z.string(),
    /** Of the token: what it was made for. */
    name: z.string(),
    /** As the machine calls itself. */
    machineName: z.string(),
    keyId: z.string(),
  }),
  event("machine.service-changed", {
    machineId: z.string(),
    machineName: z.string(),
    service: z.string(),
    kind: z.string(),
    /** Null: it was not there before. */
    from: z.string().nullable(),
    /** Null: it is gone. */
    to: z.string().nullable(),
    reason: z.string(),
  }),
  event("machine.step-failed", {
    machineId: z.string(),
    machineName: z.string(),
    runId: z.string(),
    kind: z.string(),
    stepId: z.string(),
    title: z.string(),
    detail: z.string(),
    advice: z.string().nullable(),
    isOptional: z.boolean(),
  }),
  event("attempt.resumed", {
    ...attemptFacts,
    /** Samplers that are not run again. */
    nodeIds: z.array(z.string()),
    fromAttempt: z.int(),
    savedMs: z.number(),
  }),
  event("checkpoint.saved", {
    ...attemptFacts,
    /** The sampler whose work it is. */
    nodeId: z.string(),
    sizeBytes: z.int(),
    percent: z.number(),
  }),
  event("alert.fired", {
    ...alertFacts,
    value: z.number(),
    /** Channels of alerts are not told of it for now. */
    silenced: z.boolean(),
  }),
  event("alert.resolved", { ...alertFacts, reason: z.string(), firedForMs: z.number() }),
]);
/** One event of the outbox, as webhooks and SSE carry it. */
export type HoldfastEvent = z.infer<typeof eventSchema>;
/** The `type` of an event. */
export type EventType = HoldfastEvent["type"];
/** Every event type there is. */
export const EVENT_TYPES: readonly EventType[] = eventSchema.options.map(
  (option) => option.shape.type.value,
);
/** The payload of one type of event. */
export type EventData<T extends EventType> = Extract<HoldfastEvent, { type: T }>["data"];
