/**
 * What a load run came to: `.summary` of its file. Units are in the names; phases are in ms. Null is what
 * was not measured, or cannot be said of nothing; it is never zero.
 *
 * Rates and latencies are of the steady state alone: warm-up jobs are left out, and counted in `jobs`.
 */
import { z } from "zod";
import { PHASES } from "../sample/phases.ts";

const count = z.int().min(0);
const amount = z.number().min(0);
const share = z.number().min(0).max(1);

const percentilesSchema = z.object({
  count,
  p50: amount,
  p90: amount,
  p95: amount,
  p99: amount,
  max: amount,
  mean: amount,
});

/** Null where no job told of the phase. */
const phasesSchema = z.record(z.enum(PHASES), percentilesSchema.nullable());

/** Shape of `.summary`. Members of a later version are passed over. */
export const loadSummarySchema = z.object({
  target: z.object({
    kind: z.enum(["holdfast", "comfyui"]),
    url: z.string(),
    version: z.string().nullable(),
  }),
  scenario: z.string().nullable(),
  startedAt: z.iso.datetime(),
  /** From the run's start to its last job's end. */
  durationSeconds: amount,
  plan: z.object({
    /** As `paceText` writes it. */
    pace: z.string(),
    seed: z.int().min(0),
    /** `hash` is of the graph without its seeds. */
    workflows: z.array(z.object({ name: z.string(), hash: z.string(), weight: amount })),
    warmUp: z.object({ jobs: count, forMs: amount }),
  }),
  jobs: z.object({
    /** Null where the run had a time and no number. */
    asked: count.nullable(),
    begun: count,
    completed: count,
    failed: count,
    timedOut: count,
    cancelled: count,
    refused: count,
    /** Due in an open loop that fell behind, and never sent: they are in no latency. */
    neverBegun: count,
    warmUp: count,
  }),
  /**
   * From the first steady job's begin to the last one's end, after the run's start. `ended`: by themselves,
   * which is what the success rate is of.
   */
  steady: z
    .object({ jobs: count, ended: count, fromSeconds: amount, untilSeconds: amount })
    .nullable(),
  /** One that was cancelled with the run says nothing. */
  successRate: share.nullable(),
  throughputPerMinute: amount.nullable(),
  imagesPerMinute: amount.nullable(),
  phases: phasesSchema,
  byWorkflow: z.array(
    z.object({
      workflow: z.string(),
      jobs: count,
      completed: count,
      successRate: share.nullable(),
      phases: phasesSchema,
    }),
  ),
  /** Of a pace that steps, without the beginning of each step; empty for others. */
  byLevel: z.array(
    z.object({
      level: amount,
      fromSeconds: amount,
      untilSeconds: amount,
      jobs: count,
      completed: count,
      successRate: share.nullable(),
      throughputPerMinute: amount,
      imagesPerMinute: amount,
      total: percentilesSchema.nullable(),
    }),
  ),
  /** The most frequent first. */
  errors: z.array(z.object({ class: z.string(), count, example: z.string() })),
  retries: count,
  changedByRecovery: count,
  outputs: count,
  bytes: amount,
  gpu: z.array(
    z.object({
      gpu: count,
      samples: count,
      utilisationPercent: z.object({ p50: amount, p95: amount, max: amount }).nullable(),
      memoryPeakMb: amount.nullable(),
    }),
  ),
  cost: z.object({ currency: z.string(), total: amount, perImage: amount.nullable() }).nullable(),
  /** `gpu`, `errors`: a stop rule. */
  stoppedBecause: z.enum(["jobs", "time", "behind", "gpu", "errors", "cancelled", "target_lost"]),
  /** How well the harness kept its own times: where these are large, the rest is not to be trusted. */
  harness: z.object({ lateP99Ms: amount.nullable(), eventLoopP99Ms: amount.nullable() }),
});

/** What a load run came to. */
export type LoadSummary = z.infer<typeof loadSummarySchema>;
/** Percentiles of a phase, ms. */
export type Percentiles = z.infer<typeof percentilesSchema>;
/** Percentiles by phase. */
export type PhaseSummary = z.infer<typeof phasesSchema>;
/** One step of a pace. */
export type LevelSummary = LoadSummary["byLevel"][number];
/** Why a run ended. */
export type StoppedBecause = LoadSummary["stoppedBecause"];
