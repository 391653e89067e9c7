/** The fleet as its pages, its API and `holdfast fleet` tell of it. */
import { z } from "zod";
import { instantSchema } from "./ids.ts";

/** Longest reason that a person gives. */
export const FLEET_REASON_MAX = 500;

const share = z.number().min(0).max(1);

/** Something that somebody has set while the fleet runs. */
export const leverSchema = z.object({
  id: z.string(),
  kind: z.enum(["threshold", "window", "minimum", "clear", "force", "pause"]),
  value: z.json(),
  reason: z.string(),
  madeBy: z.string(),
  madeAt: instantSchema,
  undoneBy: z.string().nullable(),
  undoneAt: instantSchema.nullable(),
  /** Null also where none was given. */
  undoneReason: z.string().nullable(),
});
/** See {@link leverSchema}. */
export type LeverView = z.infer<typeof leverSchema>;

/** A machine of the fleet. */
export const fleetMachineSchema = z.object({
  id: z.string(),
  name: z.string(),
  pool: z.string(),
  provider: z.string(),
  state: z.enum(["asked", "starting", "ready", "draining", "ending", "ended"]),
  isHealthy: z.boolean(),
  /** Since the last heartbeat of its agent; null: none, ever. */
  heartbeatAgeMs: z.int().nullable(),
  machineId: z.string().nullable(),
  ref: z.string().nullable(),
  gpuType: z.string().nullable(),
  pricePerHour: z.number().nullable(),
  jobs: z.int(),
  askedAt: instantSchema,
  createdAt: instantSchema.nullable(),
  healthyAt: instantSchema.nullable(),
  endedAt: instantSchema.nullable(),
  endCause: z.enum(["failed", "intended"]).nullable(),
  endKind: z.string().nullable(),
  reason: z.string().nullable(),
  forcedBy: z.string().nullable(),
});
/** See {@link fleetMachineSchema}. */
export type FleetMachineView = z.infer<typeof fleetMachineSchema>;

/** Whether new machines may be started (CONTRACTS C2). */
export const breakerViewSchema = z.object({
  state: z.enum(["closed", "open", "half-open"]),
  rate: share,
  failed: z.int(),
  seen: z.int(),
  /** `85.7% (6/7 machines in last 30 minutes)` */
  text: z.string(),
  threshold: share,
  windowMinutes: z.number(),
  minimum: z.int(),
  clearedBefore: instantSchema.nullable(),
  spawning: z.enum(["BLOCKED", "ALLOWED"]),
  reason: z.string(),
  since: instantSchema.nullable(),
  resumesAt: instantSchema.nullable(),
  /** No machine is tried before, for those before it failed; half-open alone. */
  probeAt: instantSchema.nullable(),
  /** The soonest first, and with the one at which machines may be started again. */
  timeline: z.array(z.object({ at: instantSchema, rate: share })),
  /** Later points that are not in the timeline: as many as it was asked for are there already. */
  timelineLeftOut: z.int(),
  causes: z.record(z.string(), z.int()),
});

/** Why a pool is asked for nothing: a refused key or request, no answer, no machine to be had. */
export const POOL_BLOCK_KINDS = ["refused", "away", "no_capacity"] as const;
/** One of {@link POOL_BLOCK_KINDS}. */
export type PoolBlockKind = (typeof POOL_BLOCK_KINDS)[number];

/** A pool, and what the last round decided about it. */
export const poolViewSchema = z.object({
  name: z.string(),
  provider: z.string(),
  min: z.int(),
  max: z.int(),
  desired: z.int().nullable(),
  living: z.int(),
  /** Why no more machines are started although they are wanted, or would be if they were. */
  held: z.string().nullable(),
  blockedUntil: instantSchema.nullable(),
  /** What is in its way while it is blocked: only a person ends `refused`. */
  blockKind: z.enum(POOL_BLOCK_KINDS).nullable(),
});

/** Points of a timeline, unless more are asked for, and at most. */
export const TIMELINE_POINTS = 100;
/** See {@link TIMELINE_POINTS}. */
export const TIMELINE_POINTS_MAX = 1_000;

/** What `GET /api/v1/fleet` may be asked for. Numbers come as text in a query. */
export const fleetStatusQuerySchema = z.object({
  timelineLimit: z
    .string()
    .regex(/^(?:[1-9][0-9]{0,2}|1000)$/)
    .optional()
    .meta({
      description: `Points of the timeline, 1 to ${TIMELINE_POINTS_MAX}. Default ${TIMELINE_POINTS}.`,
    }),
});

/** `GET /api/v1/fleet` */
export const fleetStatusSchema = z.object({
  breaker: breakerViewSchema,
  counts: z.object({
    living: z.int(),
    healthy: z.int(),
    starting: z.int(),
    draining: z.int(),
    ending: z.int(),
  }),
  /** Those that have not ended, newest first, at most 200. */
  machines: z.array(fleetMachineSchema),
  /** Those that count as failed now, the last one first, at most 20: their causes side by side. */
  failures: z.array(fleetMachineSchema),
  queuedTasks: z.int(),
  runningTasks: z.int(),
  oldestQueuedMs: z.int().nullable(),
  pools: z.array(poolViewSchema),
  levers: z.array(leverSchema),
  /** Of all machines whose price is known, US dollars. */
  costPerHour: z.number(),
  /** What to do now, in words. */
  advice: z.object({ kind: z.enum(["normal", "wait", "investigate"]), text: z.string() }),
  /** Some replica leads. */
  isLed: z.boolean(),
});
/** See {@link fleetStatusSchema}. */
export type FleetStatus = z.infer<typeof fleetStatusSchema>;

/** `GET /api/v1/fleet/health`: the whole system for a person. */
export const systemHealthSchema = z.object({
  state: z.enum(["healthy", "degraded", "down"]),
  problems: z.array(
    z.object({ severity: z.enum(["degraded", "down"]), what: z.string(), advice: z.string() }),
  ),
  fleet: fleetStatusSchema,
});
/** See {@link systemHealthSchema}. */
export type SystemHealth = z.infer<typeof systemHealthSchema>;

const reason = z.string().trim().min(1).max(FLEET_REASON_MAX);

/** `POST /api/v1/fleet/levers` */
export const setLeverSchema = z.strictObject({
  kind: z.enum(["threshold", "window", "minimum", "clear", "pause"]),
  /** A share; minutes; machines; an instant as text; true. */
  value: z.union([z.number(), z.string().max(64), z.boolean()]),
  reason,
});

/** `DELETE /api/v1/fleet/levers/{id}` */
export const undoLeverQuerySchema = z.object({
  reason: reason.optional().meta({ description: "Why; recorded with who undid it and when." }),
});

/** `POST /api/v1/fleet/spawn` */
export const spawnSchema = z.strictObject({
  pool: z.string().min(1).max(64).optional(),
  count: z.int().min(1).max(20).default(1),
  /** Also while machines are not to be started. */
  force: z.boolean().default(false),
  reason,
});

/** `POST /api/v1/fleet/machines/{id}/end` */
export const endMachineSchema = z.strictObject({
  reason,
  /** Its jobs are not waited for; they go back free. */
  now: z.boolean().default(false),
});
