/**
 * The wire between an agent and the control plane, `/agent/v1`. Agents connect out; one long poll an
 * agent serves all its instances. Everything here is level-triggered: an agent says what it holds,
 * the control plane answers with what it should hold, so a lost answer mends itself at the next call.
 */
import { z } from "zod";
import {
  attemptIdSchema,
  instanceIdSchema,
  jobIdSchema,
  machineIdSchema,
  sha256Schema,
} from "./ids.ts";

/** Version of this wire. An agent of another major version is refused with `version_unsupported`. */
export const AGENT_PROTOCOL_VERSION = 1;

/** Most instances one agent may serve. */
export const MAX_INSTANCES_PER_MACHINE = 64;
/** Most prompts of ours an agent may report as found on its instances when it registers. */
export const MAX_FOUND_PROMPTS = 1000;
/** Most attempts one agent may hold: those of all its instances whose outputs are on their way too. */
export const MAX_HELD_ATTEMPTS = 2048;
/** Longest id of a node: ComfyUI makes longer ones than the graph's where nodes expand (`5.0.0.3`). */
export const MAX_NODE_ID_LENGTH = 1024;

/** Counters that the database keeps in 32 bits: the fencing token, a machine's session. */
const counterSchema = z.int().min(0).max(2_147_483_647);
/** A size in bytes. */
const bytesSchema = z.int().min(0);

const modelNames = z.record(z.string().max(128), z.array(z.string().max(512)).max(20_000));

/** Most model files of an instance that an inventory tells more of than their names. */
export const MAX_MODEL_FACTS = 5_000;
/** Longest text of a model file that an inventory repeats. */
const MODEL_TEXT_MAX = 128;

/** What a model file says of itself; nobody has checked it. */
export const modelFactsSchema = z.object({
  folder: z.string().max(128),
  name: z.string().max(512),
  /** `modelspec.architecture`, as the file spells it. */
  architecture: z.string().max(MODEL_TEXT_MAX).nullable(),
  /** `ss_base_model_version`, as the file spells it. */
  baseModel: z.string().max(MODEL_TEXT_MAX).nullable(),
  /** SHA-256 of the tensors, without the header. */
  tensorHash: sha256Schema.nullable(),
  /** Of the whole file. */
  sizeBytes: bytesSchema.nullable(),
});
/** See {@link modelFactsSchema}. */
export type ModelFileFacts = z.infer<typeof modelFactsSchema>;

/** What an instance can serve: read from its `/object_info` and model lists. */
export const inventorySchema = z.object({
  /** SHA-256 of the canonical inventory: a changed digest makes the control plane ask for it. */
  digest: sha256Schema,
  nodeClasses: z.array(z.string().max(256)).max(20_000),
  models: modelNames,
  comfyuiVersion: z.string().max(64).nullable(),
  vramTotalBytes: bytesSchema.nullable(),
  deviceName: z.string().max(256).nullable(),
  simulated: z.boolean(),
  /**
   * Of those files that say anything; left out until they are read, and by agents that do not. A
   * control plane that does not know it drops it, and keeps the inventory under the same digest.
   */
  modelFacts: z.array(modelFactsSchema).max(MAX_MODEL_FACTS).optional(),
});
/** See {@link inventorySchema}. */
export type Inventory = z.infer<typeof inventorySchema>;

/** The states of an instance as its agent sees it. Only `healthy` ones are given work. */
export const INSTANCE_STATES = ["starting", "healthy", "unhealthy", "stopped"] as const;
export const instanceStateSchema = z.enum(INSTANCE_STATES);
/** One of {@link INSTANCE_STATES}. */
export type InstanceState = (typeof INSTANCE_STATES)[number];

/** Why every instance of an agent that stopped in good order is `stopped`. */
export const SIGNED_OFF = "its agent has stopped";
/** How the reason begins of an instance that its own supervisor ended: nothing was lost. */
export const ENDED_ON_PURPOSE = "ended on purpose";

/** One instance as the agent declares it at registration. */
export const declaredInstanceSchema = z.object({
  /** Stable name on the machine: the base URL for an attached ComfyUI. */
  key: z.string().min(1).max(512),
  name: z.string().min(1).max(128),
  /** Prompt ids of ours (`extra_data.holdfast`) that its queue or history holds now. */
  foundPrompts: z.array(z.string().max(64)).max(MAX_FOUND_PROMPTS),
  /** Whether the agent can start its process anew; left out: it cannot. */
  canRestart: z.boolean().optional(),
});

/** `POST /agent/v1/register`: once per agent process, and again after `machine_unknown`. */
export const registerRequestSchema = z.object({
  protocolVersion: counterSchema,
  agentVersion: z.string().max(64),
  /** From the agent's own folder: stable over restarts. Minted by the control plane if null. */
  machineId: machineIdSchema.nullable(),
  machineName: z.string().min(1).max(128),
  /** A new random text for every agent process: fences the process before it. */
  bootId: z.string().min(8).max(64),
  instances: z.array(declaredInstanceSchema).max(MAX_INSTANCES_PER_MACHINE),
});
/** See {@link registerRequestSchema}. */
export type RegisterRequest = z.infer<typeof registerRequestSchema>;

/** An input file that the graph reads: uploaded to the instance as `name` before the POST. */
export const leaseInputSchema = z.object({
  nodeId: z.string(),
  input: z.string(),
  /** Name as the caller's graph has it. */
  name: z.string(),
  sha256: sha256Schema,
  sizeBytes: bytesSchema,
});

/** An output that is already in the store for this job and lineage: not to be collected again. */
export const storedOutputSchema = z.object({
  nodeId: z.string(),
  ordinal: counterSchema,
  sha256: sha256Schema,
});

/** Most latents of one attempt that are put away. */
export const MAX_CHECKPOINTS_PER_ATTEMPT = 64;

/** A node as `POST /prompt` takes it. */
const nodeSchema = z.looseObject({
  class_type: z.string(),
  inputs: z.record(z.string(), z.unknown()),
});

/**
 * A node to add to the graph: it saves a latent, which the agent brings to the store and tells of by
 * `POST /agent/v1/checkpoints` as soon as it is there. What it shows is no output of the job.
 */
export const leaseCheckpointSchema = z.object({
  nodeId: z.string(),
  node: nodeSchema,
  /** Names the work that is saved: the hash of everything that decides it. */
  key: sha256Schema,
  /** The node whose output it saves; a graph without that one is run without the checkpoint. */
  ofNodeId: z.string(),
});
/** See {@link leaseCheckpointSchema}. */
export type LeaseCheckpoint = z.infer<typeof leaseCheckpointSchema>;

/** How the attempt may go on where an earlier one was: files to place, and the graph for them. */
export const leaseResumeSchema = z.object({
  /** From the lease's graph to the one that loads the files. */
  patch: z.object({
    set: z.array(z.object({ nodeId: z.string(), input: z.string(), value: z.unknown() })),
    unset: z.array(z.object({ nodeId: z.string(), input: z.string() })).optional(),
    putNodes: z.array(z.object({ nodeId: z.string(), node: nodeSchema })).optional(),
    removeNodes: z.array(z.string()).optional(),
  }),
  files: z
    .array(leaseInputSchema.extend({ key: sha256Schema }))
    .min(1)
    .max(MAX_CHECKPOINTS_PER_ATTEMPT),
});
/** See {@link leaseResumeSchema}. */
export type LeaseResume = z.infer<typeof leaseResumeSchema>;

const stallSchema = z.object({ progressMs: z.int(), firstLoadMs: z.int() });

/** The right to run one attempt, with all that is needed for it. */
export const leaseSchema = z.object({
  attemptId: attemptIdSchema,
  jobId: jobIdSchema,
  instanceId: instanceIdSchema,
  leaseEpoch: counterSchema,
  /** `resume`: this agent (or the process before it) may have posted it already; look it up first. */
  mode: z.enum(["fresh", "resume"]),
  promptId: z.string(),
  attemptNumber: z.int(),
  /** The whole graph, ready to run but for input names and the output prefix. */
  graph: z.record(z.string(), z.unknown()),
  inputs: z.array(leaseInputSchema),
  storedOutputs: z.array(storedOutputSchema),
  /** What to put away during the run. An agent that does not know it runs the graph as it is. */
  checkpoints: z.array(leaseCheckpointSchema).max(MAX_CHECKPOINTS_PER_ATTEMPT).optional(),
  /** What to go on from. Whenever that cannot be done, the graph is run from its beginning. */
  resume: leaseResumeSchema.optional(),
  /**
   * What to do to the instance before this attempt is posted, with nothing staged there meanwhile:
   * `free_memory` unloads models and waits until `/system_stats` shows it (F14); `restart_instance`
   * starts its process anew and waits until it has proved itself. That one is asked only of agents
   * that declared `canRestart` for the instance.
   */
  before: z.enum(["nothing", "free_memory", "restart_instance"]),
  /** What is left of the job's execution time. */
  executionLimitMs: z.int(),
  /** No sign of progress for so long is a stall; `firstLoad` applies until the first progress. */
  stall: stallSchema.extend({
    /** Shorter limits, for a process that has run the same models last. Not known to older agents. */
    warm: stallSchema.optional(),
  }),
  /** Trust in this lease ends so long after the request that brought or renewed it was sent. */
  ttlMs: z.int(),
});
/** See {@link leaseSchema}. */
export type Lease = z.infer<typeof leaseSchema>;

/** Why an attempt is not the agent's any more. */
export const REVOKE_REASONS = ["cancelled", "lost", "held", "drain"] as const;
export const revokedSchema = z.object({
  attemptId: attemptIdSchema,
  reason: z.enum(REVOKE_REASONS),
});
/** See {@link revokedSchema}. */
export type Revoked = z.infer<typeof revokedSchema>;

/** Limits and times that the control plane sets for its agents. */
export const agentConfigSchema = z.object({
  leaseTtlMs: z.int(),
  renewEveryMs: z.int(),
  pollWaitMs: z.int(),
});
/** See {@link agentConfigSchema}. */
export type AgentConfig = z.infer<typeof agentConfigSchema>;

/** Answer to a registration: ids, and the leases that the new process takes over (`mode: resume`). */
export const registerResponseSchema = z.object({
  machineId: machineIdSchema,
  /** Grows with every registration; calls of an older session get `agent_superseded`. */
  session: counterSchema,
  instances: z.array(z.object({ key: z.string(), instanceId: instanceIdSchema })),
  leases: z.array(leaseSchema),
  /** Found prompts that belong to nobody any more: remove them from queue and history. */
  discard: z.array(z.object({ key: z.string(), promptId: z.string() })),
  config: agentConfigSchema,
});
/** See {@link registerResponseSchema}. */
export type RegisterResponse = z.infer<typeof registerResponseSchema>;

/** How far a held attempt is; rides on polls and renewals. */
export const attemptProgressSchema = z.object({
  percent: z.number().min(0).max(100),
  nodeId: z.string().max(MAX_NODE_ID_LENGTH).nullable(),
  nodesDone: z.int().min(0),
  nodesTotal: z.int().min(0),
  /** For how long ComfyUI has executed it; left out by older agents. */
  runMs: z.number().min(0).optional(),
});

/** One attempt that the agent holds. */
export const heldAttemptSchema = z.object({
  attemptId: attemptIdSchema,
  jobId: jobIdSchema,
  leaseEpoch: counterSchema,
  /** `running` from the moment ComfyUI executes it; only that one is ever blamed. */
  phase: z.enum(["staged", "running", "collecting"]),
  progress: attemptProgressSchema.nullable(),
});
/** See {@link heldAttemptSchema}. */
export type HeldAttempt = z.infer<typeof heldAttemptSchema>;

/** What an instance reports of itself at each poll. */
export const instanceReportSchema = z.object({
  instanceId: instanceIdSchema,
  state: instanceStateSchema,
  reason: z.string().max(1000).nullable(),
  inventoryDigest: sha256Schema.nullable(),
  /** How many more leases it takes now (0, 1 or 2: one to run and one to stage). */
  wants: z.int().min(0).max(8),
  vramFreeBytes: bytesSchema.nullable(),
});
/** See {@link instanceReportSchema}. */
export type InstanceReport = z.infer<typeof instanceReportSchema>;

/** `POST /agent/v1/poll`: renews everything held, waits up to `waitMs` for work or orders. */
export const pollRequestSchema = z.object({
  machineId: machineIdSchema,
  session: counterSchema,
  /** Grows with every poll: a newer poll ends the one before it. */
  sequence: z.int(),
  instances: z.array(instanceReportSchema).max(MAX_INSTANCES_PER_MACHINE),
  held: z.array(heldAttemptSchema).max(MAX_HELD_ATTEMPTS),
  waitMs: z.int().min(0).max(60_000),
});
/** See {@link pollRequestSchema}. */
export type PollRequest = z.infer<typeof pollRequestSchema>;

/** Most models that one machine is asked to fetch at a time. */
export const MAX_MODELS_WANTED = 100;

/** A model that a machine is asked to fetch, as its own offer names it. */
export const wantedModelSchema = z.object({
  folder: z.string().max(128),
  name: z.string().max(512),
});
/** See {@link wantedModelSchema}. */
export type WantedModel = z.infer<typeof wantedModelSchema>;

/** Answer to a poll. Empty after `waitMs` without news. */
export const pollResponseSchema = z.object({
  leases: z.array(leaseSchema),
  revoked: z.array(revokedSchema),
  /** Whether the leases of everything held were renewed; a poll soon after a renewal renews nothing. */
  renewed: z.boolean(),
  /** Digests that the control plane does not know yet: send them with `PUT /agent/v1/inventories`. */
  inventoriesWanted: z.array(sha256Schema),
  config: agentConfigSchema.nullable(),
  /**
   * Models that jobs need, that nobody has, and that this machine offered to fetch: all of them, each
   * time. Left out when there are none.
   */
  modelsWanted: z.array(wantedModelSchema).max(MAX_MODELS_WANTED).optional(),
});
/** See {@link pollResponseSchema}. */
export type PollResponse = z.infer<typeof pollResponseSchema>;

/** `POST /agent/v1/renew`: the poll's renewal alone, while a poll is under way. */
export const renewRequestSchema = z.object({
  machineId: machineIdSchema,
  session: counterSchema,
  held: z.array(heldAttemptSchema).max(MAX_HELD_ATTEMPTS),
});
/** See {@link renewRequestSchema}. */
export type RenewRequest = z.infer<typeof renewRequestSchema>;
export const renewResponseSchema = z.object({ revoked: z.array(revokedSchema) });
/** See {@link renewResponseSchema}. */
export type RenewResponse = z.infer<typeof renewResponseSchema>;

/** `PUT /agent/v1/inventories`: an inventory, and the whole `/object_info` for strict validation. */
export const inventoryUploadSchema = z.object({
  inventory: inventorySchema,
  objectInfo: z.record(z.string(), z.unknown()),
});
/** See {@link inventoryUploadSchema}. */
export type InventoryUpload = z.infer<typeof inventoryUploadSchema>;

/** An output as the agent collected and stored it. */
export const collectedOutputSchema = z.object({
  nodeId: z.string().max(MAX_NODE_ID_LENGTH),
  /** Place among the outputs of its node, from 0. */
  ordinal: counterSchema,
  kind: z.enum(["image", "video", "audio", "text", "latent", "file"]),
  /** File name without the attempt's prefix; for texts a made-up one. */
  name: z.string().max(512),
  mediaType: z.string().max(128),
  sizeBytes: bytesSchema,
  sha256: sha256Schema,
  temporary: z.boolean(),
  /** For short texts, the text itself; the bytes are in the store as well. */
  text: z.string().max(16_384).nullable(),
});
/** See {@link collectedOutputSchema}. */
export type CollectedOutput = z.infer<typeof collectedOutputSchema>;

/** Evidence of a failure (`FailureEvidence` of the recovery package), bounded by the agent. */
export const evidenceSchema = z.looseObject({
  channel: z.string().max(32),
  message: z.string().max(131_072),
});

/** Why staged work was `released` when the prompt before it turned out long: no sign of trouble. */
export const SURPLUS = "surplus";

/** What became of an attempt: STYLE's `AttemptOutcome` on the wire. */
export const attemptOutcomeSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("succeeded"), outputs: z.array(collectedOutputSchema).max(10_000) }),
  z.object({
    kind: z.literal("failed"),
    evidence: evidenceSchema,
    /** Outputs that were stored before it failed: kept for the next attempt of the lineage. */
    outputs: z.array(collectedOutputSchema).max(10_000),
  }),
  z.object({
    kind: z.literal("stalled"),
    evidence: evidenceSchema,
    outputs: z.array(collectedOutputSchema).max(10_000).optional(),
  }),
  z.object({
    kind: z.literal("instance_died"),
    evidence: evidenceSchema,
    outputs: z.array(collectedOutputSchema).max(10_000).optional(),
  }),
  /** Given back without having run: drain, restart, shutdown, {@link SURPLUS}. Free of charge. */
  z.object({ kind: z.literal("released"), reason: z.string().max(200) }),
  z.object({ kind: z.literal("interrupted"), reason: z.enum(["drain", "cancel"]) }),
]);
/** See {@link attemptOutcomeSchema}. */
export type AttemptOutcome = z.infer<typeof attemptOutcomeSchema>;

/** One report of an ended attempt. */
export const attemptReportSchema = z.object({
  attemptId: attemptIdSchema,
  jobId: jobIdSchema,
  leaseEpoch: counterSchema,
  outcome: attemptOutcomeSchema,
  /** Whether ComfyUI ever executed it: a staged one is never blamed. */
  started: z.boolean(),
  /**
   * Phase durations in ms: prepareMs, queueMs, executeMs, collectMs, … Of a run whose signs could
   * all be seen also the longest silences, `loadSilenceMs` before the first step that was counted and
   * `stepSilenceMs` after it, and `cold`: 1 when other models had been run before it, 0 when the same.
   */
  timings: z.record(z.string().max(32), z.number()),
});
/** See {@link attemptReportSchema}. */
export type AttemptReport = z.infer<typeof attemptReportSchema>;

/** `POST /agent/v1/reports`: outcomes; each is answered for itself. Safe to repeat. */
export const reportRequestSchema = z.object({
  machineId: machineIdSchema,
  session: counterSchema,
  reports: z.array(attemptReportSchema).min(1).max(100),
});
/** See {@link reportRequestSchema}. */
export type ReportRequest = z.infer<typeof reportRequestSchema>;

/**
 * `recorded`: done (now, or by the same report before); `lease_lost`: somebody else owns the job;
 * `outputs_missing`: bytes named in it are not in the store: upload them and report again.
 */
export const reportAnswerSchema = z.object({
  attemptId: attemptIdSchema,
  result: z.enum(["recorded", "lease_lost", "outputs_missing"]),
  missing: z.array(sha256Schema),
});
/** See {@link reportAnswerSchema}. */
export type ReportAnswer = z.infer<typeof reportAnswerSchema>;
export const reportResponseSchema = z.object({ answers: z.array(reportAnswerSchema) });
/** See {@link reportResponseSchema}. */
export type ReportResponse = z.infer<typeof reportResponseSchema>;

/** A latent that is in the store. */
export const savedCheckpointSchema = z.object({
  key: sha256Schema,
  /** The node whose output it is. */
  nodeId: z.string().max(MAX_NODE_ID_LENGTH),
  sha256: sha256Schema,
  sizeBytes: bytesSchema,
  /** How far the run was, in percent. */
  percent: z.number().min(0).max(100),
  /** How long the run had taken until it was there, in ms. */
  afterMs: z.number().min(0),
});
/** See {@link savedCheckpointSchema}. */
export type SavedCheckpoint = z.infer<typeof savedCheckpointSchema>;

/**
 * `POST /agent/v1/checkpoints`: what an attempt has put away, went on from, or could not use, told at
 * once, so that it outlives the instance and the agent. Safe to repeat.
 */
export const checkpointRequestSchema = z.object({
  machineId: machineIdSchema,
  session: counterSchema,
  attemptId: attemptIdSchema,
  jobId: jobIdSchema,
  leaseEpoch: counterSchema,
  saved: z.array(savedCheckpointSchema).max(MAX_CHECKPOINTS_PER_ATTEMPT),
  /** Keys that the attempt goes on from. */
  resumedFrom: z.array(sha256Schema).max(MAX_CHECKPOINTS_PER_ATTEMPT),
  /** Keys that are not to be used, nor saved, for this job any more, and why. */
  unusable: z
    .array(z.object({ key: sha256Schema, nodeId: z.string(), reason: z.string().max(500) }))
    .max(MAX_CHECKPOINTS_PER_ATTEMPT),
});
/** See {@link checkpointRequestSchema}. */
export type CheckpointRequest = z.infer<typeof checkpointRequestSchema>;
/** `lease_lost`: somebody else owns the job now, nothing was written. */
export const checkpointResponseSchema = z.object({ result: z.enum(["recorded", "lease_lost"]) });
/** See {@link checkpointResponseSchema}. */
export type CheckpointResponse = z.infer<typeof checkpointResponseSchema>;

/** Answer to `PUT /agent/v1/blobs/{sha256}`: the bytes are in the store, size and hash checked. */
export const blobStoredSchema = z.object({ sha256: sha256Schema, sizeBytes: bytesSchema });
/** See {@link blobStoredSchema}. */
export type BlobStored = z.infer<typeof blobStoredSchema>;
