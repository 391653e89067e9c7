import type { PaceLimits } from "@holdfast/runtime";

/** Every limit and pause of the agent; tests make them small, operators leave them alone. */
export interface AgentLimits {
  /** Prompts of ours in one ComfyUI's queue: one runs, one waits to start at once (F23). */
  readonly slotsPerInstance: number;
  /** The same while prompts are so short that one would not be there in time. */
  readonly slotsMax: number;
  /** Short prompts are staged for so long ahead. */
  readonly stagedAheadMs: number;
  /** A prompt has run for so long: what is staged beyond `slotsPerInstance` is given back. */
  readonly surplusMs: number;
  /** Attempts of one instance whose outputs are still on their way; over it no work is wanted. */
  readonly collectingPerInstance: number;
  /** Files of one attempt that are fetched at the same time. */
  readonly fetchesPerAttempt: number;
  /** Bytes of outputs kept while the store is down. */
  readonly spoolBytes: number;
  /** Outputs up to this size stay in memory while the store takes them. */
  readonly memoryOutputBytes: number;
  /** All outputs in memory together; over it they go to disk whatever their size. */
  readonly memoryTotalBytes: number;
  /** Between two looks at an instance that works. */
  readonly healthEveryMs: number;
  /** Between two looks at an instance that does not; doubles up to `healthEveryMs`. */
  readonly troubleEveryMs: number;
  /** The same while nothing listens: a refusal costs nothing, and a restart is to be seen soon. */
  readonly goneEveryMs: number;
  /** No HTTP answer for so long is a death: outlasts garbage collection and model loads (F29). */
  readonly silentDeathMs: number;
  /** Node classes and model lists are read again after so long. */
  readonly inventoryEveryMs: number;
  /** They are read again after a failure, if that was longer ago. */
  readonly inventoryDoubtMs: number;
  /** Model files of one process whose headers are read, and how many at once. */
  readonly modelFactsMax: number;
  readonly modelFactsAtOnce: number;
  /** Longest time spent on them without a rest of `inventoryEveryMs`. */
  readonly modelFactsMs: number;
  /** An idle instance proves itself again after so long (F26). */
  readonly deepCheckEveryMs: number;
  /** A deep check that nothing stands in the way of must be through in this time. */
  readonly deepCheckMs: number;
  /** Pending prompts with nothing running for so long mean a dead queue (F26). */
  readonly idleQueueMs: number;
  /** Quiet on a live socket: after this the queue is asked. Doubles up to `silentLookMaxMs`. */
  readonly silentLookMs: number;
  readonly silentLookMaxMs: number;
  /** Without a socket the queue is asked at this pace, growing up to `blindLookMaxMs`. */
  readonly blindLookMs: number;
  readonly blindLookMaxMs: number;
  /** From the last event of a run to its entry in the history, when the closing event got lost. */
  readonly endingGraceMs: number;
  /** Looks that find a prompt nowhere before it counts as gone. */
  readonly absencesMax: number;
  /** Shortest time without a sign that may be called a stall, whatever the lease says (F29). */
  readonly stallFloorMs: number;
  /** A stopped prompt must leave ComfyUI's queue in this time, or the instance is not well. */
  readonly stopConfirmMs: number;
  /** Longest wait behind foreign prompts before an attempt is given back. */
  readonly stagedWaitMs: number;
  /** Memory asked back from ComfyUI must show within this time (F14). */
  readonly freeMemoryMs: number;
  /** A restarted instance must have proved itself in this time: start, model lists, deep check. */
  readonly restartMs: number;
  /** What an instance that is no longer to be served may take to end what it runs. */
  readonly leaveMs: number;
  /** Between two looks at what the machine is; what changed is told at once. */
  readonly machineLookMs: number;
  /** What the machine is, is told again after so long, also unchanged. */
  readonly machineReportMs: number;
  /** Tries to bring one input file to an instance before the attempt fails. */
  readonly inputTries: number;
  /** Longest wait for the node classes of an instance that answers otherwise. */
  readonly inventoryWaitMs: number;
  /** Reads of one file before it counts as not collectable. */
  readonly fetchTries: number;
  /** Part of a lease's time that is never trusted, for clocks and slow calls. */
  readonly trustMarginMs: number;
  /** A poll without wants waits so long for capacity, to be one call instead of two. */
  readonly pollSettleMs: number;
  /** First pause after a failed call to the control plane; doubles up to `linkBackoffMaxMs`. */
  readonly linkBackoffMs: number;
  readonly linkBackoffMaxMs: number;
  /** Least time between two deliveries of reports: under load more travel together. */
  readonly reportRest: PaceLimits;
  /** Refusals of a group of reports, `internal` ones, after which each is delivered for itself. */
  readonly reportGroupTries: number;
  /** Refusals of one report by itself after which a bare failure takes its place. */
  readonly reportTries: number;
  /** Any call to the control plane but a poll. */
  readonly linkCallMs: number;
  /** How long a start waits for instances to tell which prompts of ours they hold. */
  readonly firstContactMs: number;
  /** History entries asked for when looking for prompts of ours. */
  readonly historyScan: number;
  /** Collected entries are deleted from ComfyUI's history in groups, at least so often. */
  readonly forgetEveryMs: number;
  /** What a stop waits for reports and clean-up. */
  readonly stopMs: number;
}

const SECOND = 1_000;
const MINUTE = 60_000;
const MIB = 1024 * 1024;

/** What an agent uses unless told otherwise. */
export const DEFAULT_LIMITS: AgentLimits = {
  slotsPerInstance: 2,
  slotsMax: 8,
  stagedAheadMs: 50,
  surplusMs: 2 * SECOND,
  collectingPerInstance: 16,
  fetchesPerAttempt: 4,
  spoolBytes: 4_096 * MIB,
  memoryOutputBytes: MIB,
  memoryTotalBytes: 32 * MIB,
  healthEveryMs: 5 * SECOND,
  troubleEveryMs: 250,
  goneEveryMs: SECOND,
  silentDeathMs: 2 * MINUTE,
  inventoryEveryMs: 5 * MINUTE,
  inventoryDoubtMs: 30 * SECOND,
  modelFactsMax: 2_000,
  modelFactsAtOnce: 2,
  modelFactsMs: MINUTE,
  deepCheckEveryMs: 3 * MINUTE,
  deepCheckMs: 30 * SECOND,
  idleQueueMs: 15 * SECOND,
  silentLookMs: 2 * SECOND,
  silentLookMaxMs: 30 * SECOND,
  blindLookMs: 200,
  blindLookMaxMs: SECOND,
  endingGraceMs: 50,
  absencesMax: 5,
  stallFloorMs: 10 * SECOND,
  stopConfirmMs: 20 * SECOND,
  stagedWaitMs: 10 * MINUTE,
  freeMemoryMs: 20 * SECOND,
  restartMs: 10 * MINUTE,
  leaveMs: 5 * MINUTE,
  machineLookMs: 10 * SECOND,
  machineReportMs: 3 * MINUTE,
  inputTries: 6,
  inventoryWaitMs: 5 * MINUTE,
  fetchTries: 6,
  trustMarginMs: 2 * SECOND,
  pollSettleMs: 20,
  linkBackoffMs: 200,
  linkBackoffMaxMs: 5 * SECOND,
  reportRest: { minMs: 6, maxMs: 20 },
  reportGroupTries: 3,
  reportTries: 40,
  linkCallMs: 30 * SECOND,
  firstContactMs: 3 * SECOND,
  historyScan: 1_000,
  forgetEveryMs: 500,
  stopMs: 3 * SECOND,
};
