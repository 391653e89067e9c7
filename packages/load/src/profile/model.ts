/**
 * What profiling came to: `summary.json` and a file a workflow. Units are in the names. Null is what was not
 * measured, or cannot be said; it is never zero.
 */
import { z } from "zod";

/** The version that both files carry now. */
export const PROFILE_VERSION = 1;

const count = z.int().min(0);
const amount = z.number().min(0);
const share = z.number().min(0).max(1);

const cardsSchema = z.object({
  gpu: count,
  source: z.enum(["nvidia-smi", "system_stats"]),
  /** In use before the workflow's first run. */
  beforeMb: amount.nullable(),
  peakMb: amount.nullable(),
  /** The peak less what was in use before. */
  aboveMb: amount.nullable(),
  utilisationMeanPercent: amount.nullable(),
  utilisationMaxPercent: amount.nullable(),
});
/** One card during one workflow. */
export type ProfiledCards = z.infer<typeof cardsSchema>;

const nodeSchema = z.object({
  nodeId: z.string(),
  classType: z.string(),
  title: z.string().nullable(),
  /** It names a model file. */
  isLoader: z.boolean(),
  /** Warm runs in which it ran; of the others its result was cached. All runs where none was warm. */
  count,
  meanMs: amount.nullable(),
  maxMs: amount.nullable(),
  /** Of the time of all nodes. */
  share: share.nullable(),
  /** In the run that loaded the models. */
  coldMs: amount.nullable(),
});
/** One node over all runs of its workflow. */
export type ProfiledNode = z.infer<typeof nodeSchema>;

const runSchema = z.object({
  index: count,
  seed: count,
  /**
   * `cold`: it loaded the models. `warm`: they were loaded. `cached`: the graph has no seed, so ComfyUI had
   * its results. `unknown`: nobody can tell.
   */
  kind: z.enum(["cold", "warm", "cached", "unknown"]),
  outcome: z.enum(["completed", "failed", "timed_out", "cancelled", "refused"]),
  errorClass: z.string().nullable(),
  message: z.string(),
  /** Execution alone, without queue and collecting. */
  executeMs: amount.nullable(),
  firstStepMs: amount.nullable(),
  longestSilenceMs: amount.nullable(),
  /** In nodes that name a model file; null where node times are not known. */
  loaderMs: amount.nullable(),
  nodes: z.array(z.object({ nodeId: z.string(), ms: amount })).nullable(),
});
/** One run. */
export type ProfiledRun = z.infer<typeof runSchema>;

const spreadSchema = z.object({ count, mean: amount, min: amount, max: amount });

const workflowSchema = z.object({
  name: z.string(),
  /** Of its graph without seeds. */
  hash: z.string(),
  runs: z.object({ asked: count, completed: count, failed: count }),
  coldMs: amount.nullable(),
  warmMs: spreadSchema.nullable(),
  /** Cold less warm; null where cold was less than warm. */
  loadMs: amount.nullable(),
  /** … as a share of cold. */
  loadShare: share.nullable(),
  /** Time in nodes that name a model file, and before the first step of a sampler. */
  loaderMs: z.object({ cold: amount.nullable(), warm: amount.nullable() }),
  firstStepMs: z.object({ cold: amount.nullable(), warm: amount.nullable() }),
  longestSilenceMs: amount.nullable(),
  vramPeakBytes: count.nullable(),
  cards: z.array(cardsSchema),
  /** The fewest nodes that take four fifths of the time, at most five, the slowest first. */
  bottlenecks: z.array(nodeSchema),
});
/** One workflow in `summary.json`. */
export type ProfiledWorkflow = z.infer<typeof workflowSchema>;

/** Shape of `summary.json`. Members of a later version are passed over. */
export const profileSummarySchema = z.object({
  version: z.literal(PROFILE_VERSION),
  target: z.object({
    kind: z.enum(["holdfast", "comfyui"]),
    url: z.string(),
    version: z.string().nullable(),
  }),
  startedAt: z.iso.datetime(),
  durationSeconds: amount,
  runsAsked: count,
  stoppedBecause: z.enum(["done", "cancelled", "target_lost"]),
  /** Null where ComfyUI or Holdfast did not tell; `cpu` without a card. */
  gpuName: z.string().nullable(),
  /** What a reader must know of these figures. */
  notes: z.array(z.string()),
  workflows: z.array(workflowSchema),
});
/** All of a profiling. */
export type ProfileSummary = z.infer<typeof profileSummarySchema>;

/** Shape of a workflow's own file. */
export const workflowProfileSchema = z.object({
  version: z.literal(PROFILE_VERSION),
  workflow: z.string(),
  hash: z.string(),
  runs: z.array(runSchema),
  /** The slowest first; empty where node times are not known. */
  nodes: z.array(nodeSchema),
});
/** A workflow's own file. */
export type WorkflowProfile = z.infer<typeof workflowProfileSchema>;
