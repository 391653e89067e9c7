/** What each class of failure is answered with as long as the graph stays as it is. Pure. */
import { backoffMs, type BackoffPolicy, type Random } from "@holdfast/runtime";

import type { ErrorClass } from "./error-class.ts";
import type { RungName } from "./ladder.ts";
import type {
  CardFacts,
  OtherInstance,
  RetryDecision,
  RetryFacts,
  RetryPlace,
  RetryPreparation,
  RetryReason,
} from "./retry-model.ts";

/** Waits before asking an instance again that could not be reached: 2, 4, 8, 16, 30, 30 … seconds. */
export const CONNECTION_BACKOFF: BackoffPolicy = {
  initialMs: 2_000,
  factor: 2,
  maxMs: 30_000,
  jitter: 0.2,
};
/** How long another program's lock on a file is given to go away. */
export const FILE_LOCK_WAIT_MS = 5_000;

/** What the rule of one class looks at. */
export interface Failure {
  readonly facts: RetryFacts;
  readonly class: ErrorClass;
  readonly title: string;
  readonly subclass: string | null;
  /** Earlier failures of the same class, anywhere. */
  readonly ofClass: number;
  /** Those of them on the same instance. */
  readonly ofClassHere: number;
  /** Different instances on which the job failed with this class, this one included. */
  readonly places: number;
  readonly random: Random;
}

/** The first part of every ladder, up to where only another graph can help. */
export const CLASS_DECISIONS: Readonly<Record<ErrorClass, (failure: Failure) => RetryDecision>> = {
  workflow_error: decideWorkflowError,
  auth_error: () =>
    fail(
      "credential_refused",
      "A credential, licence or payment was refused; trying again cannot change that.",
    ),
  corrupt_model: decideCorruptModel,
  model_missing: decideModelMissing,
  node_missing: elsewhereOnce,
  dependency_error: elsewhereOnce,
  disk_full: decideDiskFull,
  permission_error: decidePermission,
  network_error: decideConnection,
  timeout: decideTimeout,
  instance_crash: decideCrash,
  cuda_out_of_memory: decideGpuMemory,
  host_out_of_memory: restartedThenElsewhere,
  gpu_fault: decideGpuFault,
  interrupted: decideInterrupted,
  unknown: decideUnknown,
  not_an_error: decideUnknown,
};

function decideWorkflowError(failure: Failure): RetryDecision {
  if (failure.subclass === "missing_input" && failure.ofClass === 0) {
    return retry({
      rung: "same_once",
      where: "same",
      reason: "upload_input_again",
      explain: "An input file was not on the instance; it is uploaded again and the job retried.",
    });
  }
  if (failure.ofClass === 0 && !failure.facts.hasExecuted) {
    return retry({
      rung: "validate_again",
      where: "anywhere",
      reason: "validate_again",
      explain: "The graph was refused before it ran; it is checked once more, without GPU time.",
    });
  }
  return fail(
    "same_graph_fails_everywhere",
    "The graph or its inputs are wrong; the same graph would fail the same way on every machine.",
  );
}

/**
 * A full disk is its machine's: the other instances there write to it too. From machine to machine, as long
 * as there is one where it was not tried (C1 aborts when no other has room).
 */
function decideDiskFull(failure: Failure): RetryDecision {
  const { others, machineId } = failure.facts;
  return elsewhere(
    failure,
    others.filter((other) => other.machineId !== machineId),
  );
}

/** How long the instance is given to notice that it lacks the model. */
const NOTICE_WAIT_MS = 10_000;

/** Elsewhere; where nobody has it, and a machine can fetch it, that is waited for, once. */
function decideModelMissing(failure: Failure): RetryDecision {
  const { facts, ofClass } = failure;
  if (ofClass === 0 && facts.others.length > 0) return elsewhere(failure);
  if (facts.isModelFetchable !== true || ofClass > 1) return elsewhereOnce(failure);
  return retry({
    rung: "fetch_model",
    where: "anywhere",
    reason: "fetch_first",
    delayMs: NOTICE_WAIT_MS,
    explain: `${failure.title}: a machine offers to fetch the model; the job waits for it.`,
  });
}

function decideCorruptModel(failure: Failure): RetryDecision {
  if (failure.subclass === "weights_mismatch") {
    return fail(
      "same_graph_fails_everywhere",
      "The model file is whole but does not fit its loader; every machine would say the same.",
    );
  }
  return elsewhereOnce(failure);
}

function decidePermission(failure: Failure): RetryDecision {
  if (failure.subclass === "file_in_use" && failure.ofClass === 0) {
    return retry({
      rung: "wait_and_retry",
      where: "same",
      reason: "wait_for_file_lock",
      delayMs: FILE_LOCK_WAIT_MS,
      explain: "Another program held a file open; the job is tried again in a few seconds.",
    });
  }
  return elsewhereOnce(failure);
}

function decideConnection(failure: Failure): RetryDecision {
  const delayMs = backoffMs(CONNECTION_BACKOFF, failure.ofClass + 1, failure.random);
  return retry({
    rung: "wait_and_retry",
    where: "anywhere",
    reason: "wait_for_connection",
    delayMs,
    explain: `The connection failed; the job is tried again in ${seconds(delayMs)}.`,
  });
}

/** Whether a request timed out, not the work (C1: 504 is retried as 502 and 503 are). */
export function isRequestDeadline(error: RetryFacts["error"]): boolean {
  return error.class === "timeout" && error.subclass === "proxy_deadline";
}

/** First where it ran, as what was finished there is still in its memory (F15); then elsewhere. */
function decideTimeout(failure: Failure): RetryDecision {
  const { facts } = failure;
  // The request died, the work perhaps not: whether it ran is looked up before it is posted again (F1).
  if (isRequestDeadline(facts.error)) return decideConnection(failure);
  if (failure.ofClass === 0 && facts.isInstanceAlive) {
    return retry({
      rung: "resume_same",
      where: "same",
      reason: "resume_same",
      explain:
        "Nothing moved within the time allowed; the instance answers, so the job resumes there with what it had finished.",
    });
  }
  // It answers, and nothing moves there for the second time: its process has seen something.
  const isStuck = facts.isInstanceAlive && failure.ofClassHere === 1;
  if (facts.others.length === 0 && isStuck && facts.canRestartInstance) {
    return prepared(failure, "restart_instance");
  }
  if (facts.others.length === 0) {
    return retry({
      rung: "resume_same",
      where: "anywhere",
      reason: "after_stall",
      explain:
        "Nothing moved within the time allowed; no other instance can serve, so it is tried again.",
    });
  }
  return retry({
    rung: "resume_elsewhere",
    where: "elsewhere",
    reason: "after_stall",
    avoid: hereOf(facts),
    explain: "Nothing moved within the time allowed; the job goes to another instance.",
  });
}

function decideCrash(failure: Failure): RetryDecision {
  const isRestart = failure.subclass === "restart_failed";
  const what = isRestart ? "ComfyUI could not be restarted" : "ComfyUI died during the job";
  if (failure.facts.others.length > 0) {
    return retry({
      rung: "resume_elsewhere",
      where: "elsewhere",
      reason: "after_crash",
      avoid: hereOf(failure.facts),
      explain: `${what}; the job goes to another instance.`,
    });
  }
  const delayMs = backoffMs(CONNECTION_BACKOFF, failure.ofClass + 1, failure.random);
  return retry({
    rung: "wait_and_retry",
    where: "anywhere",
    reason: "after_crash",
    delayMs,
    explain: `${what}; the job is tried again in ${seconds(delayMs)}, once ComfyUI is back.`,
  });
}

function decideGpuMemory(failure: Failure): RetryDecision {
  const { facts, subclass } = failure;
  if (subclass === "above_card") return decideAboveCard(failure);
  const better = betterCards(facts.card, facts.others);
  // Memory that another process holds cannot be freed here, so the first rung is skipped.
  if (subclass === "foreign_vram" && facts.others.length > 0) {
    return failure.ofClass === 0 ? elsewhere(failure, facts.others) : triedEnough(failure);
  }
  const before =
    subclass === "fragmentation" && facts.canRestartInstance ? "restart_instance" : "free_memory";
  if (failure.ofClassHere === 0) return prepared(failure, before);
  return failure.places > 1 ? triedEnough(failure) : elsewhere(failure, better);
}

/** One request is larger than the whole card: nothing that is freed on a card of this size helps. */
function decideAboveCard(failure: Failure): RetryDecision {
  const { facts } = failure;
  const wanted = facts.wantedBytes ?? facts.card.totalBytes ?? 0;
  const large = facts.others.filter(({ card }) => (card.totalBytes ?? Infinity) > wanted);
  if (failure.places > 1 || failure.ofClassHere > 0) return triedEnough(failure);
  return elsewhere(failure, large);
}

/** How much larger a card has to be to count as larger. */
const LARGER = 1.02;

/**
 * The cards that may hold what this one could not: larger ones, else those that are not smaller. On one as
 * large less may be taken: leaks and other programs' memory show in no figure that is told in time. What is
 * not known is worth a try.
 */
function betterCards(here: CardFacts, others: readonly OtherInstance[]): readonly OtherInstance[] {
  const { totalBytes } = here;
  if (totalBytes === null) return others;
  const known = (other: OtherInstance): number => other.card.totalBytes ?? Infinity;
  const larger = others.filter((other) => known(other) > totalBytes * LARGER);
  if (larger.length > 0) return larger;
  return others.filter((other) => known(other) * LARGER >= totalBytes);
}

/** GPU faults that a restart cannot heal: the card, its driver or the build for it is at fault. */
const PERMANENT_GPU_SUBCLASSES: ReadonlySet<string> = new Set([
  "hardware",
  "driver",
  "unsupported_card",
  "revoked_card",
]);

function decideGpuFault(failure: Failure): RetryDecision {
  if (failure.subclass !== null && PERMANENT_GPU_SUBCLASSES.has(failure.subclass)) {
    return elsewhereOnce(failure);
  }
  if (failure.subclass === "device_assert" && failure.ofClass > 0) {
    return fail(
      "same_graph_fails_everywhere",
      "The GPU refused an index for the second time: the fault is in the job's data, not in the card.",
    );
  }
  return restartedThenElsewhere(failure);
}

function decideInterrupted(failure: Failure): RetryDecision {
  if (failure.ofClass > 0) {
    return fail(
      "tried_enough",
      "The job was interrupted from outside twice: somebody wants it stopped.",
    );
  }
  return retry({
    rung: "same_once",
    where: "same",
    reason: "after_foreign_interrupt",
    explain: "Somebody else interrupted the job on its instance; it is tried once more.",
  });
}

/** The same instance once, another one once, then the end: bounded cost for what nobody understands. */
function decideUnknown(failure: Failure): RetryDecision {
  if (failure.ofClass === 0) {
    return retry({
      rung: "same_once",
      where: "same",
      reason: "once_more",
      explain: `${failure.title}: the job is tried once more on the same instance.`,
    });
  }
  return failure.ofClass === 1 ? elsewhere(failure) : triedEnough(failure);
}

/** Another instance, once for each class; where there is none the job fails with the reason. */
function elsewhereOnce(failure: Failure): RetryDecision {
  return failure.ofClass === 0 ? elsewhere(failure) : triedEnough(failure);
}

/** Each instance twice, the second time restarted; two instances at most: then it is the job's fault. */
function restartedThenElsewhere(failure: Failure): RetryDecision {
  if (failure.ofClassHere > 0) {
    return failure.places > 1 ? triedEnough(failure) : elsewhere(failure);
  }
  return failure.facts.canRestartInstance
    ? prepared(failure, "restart_instance")
    : withoutRestart(failure);
}

function prepared(failure: Failure, before: Exclude<RetryPreparation, "nothing">): RetryDecision {
  const isFreeing = before === "free_memory";
  return retry({
    rung: before,
    where: "same",
    before,
    reason: isFreeing ? "free_memory_first" : "restart_first",
    explain: isFreeing
      ? `${failure.title}: memory is freed first, then the job is tried again.`
      : `${failure.title}: the instance is restarted and the job is tried there again.`,
  });
}

function triedEnough(failure: Failure): RetryDecision {
  return fail("tried_enough", `${failure.title}: it happened again after everything worth trying.`);
}

/** What going elsewhere is called in the ladder of each class. */
const ELSEWHERE_RUNGS: Readonly<Partial<Record<ErrorClass, RungName>>> = {
  cuda_out_of_memory: "more_vram",
  host_out_of_memory: "more_ram",
  model_missing: "instance_with_model",
  node_missing: "instance_with_node",
  disk_full: "elsewhere_with_room",
  corrupt_model: "quarantine_file",
  gpu_fault: "quarantine_gpu",
  unknown: "elsewhere_once",
};

/** Most instances that one decision keeps a job away from: they are kept in the job's row. */
const AVOIDED_MAX = 200;

/** On to one of `candidates`; the others are avoided, as is the instance where it failed. */
function elsewhere(
  failure: Failure,
  candidates: readonly OtherInstance[] = failure.facts.others,
): RetryDecision {
  const { facts } = failure;
  if (candidates.length === 0) {
    const why =
      facts.others.length === 0
        ? "no other instance can run this job"
        : "no other instance is any better for it";
    return fail("nobody_else_can_serve", `${failure.title}: ${why}.`);
  }
  const avoid = facts.others
    .filter((other) => !candidates.includes(other))
    .slice(0, AVOIDED_MAX)
    .map(({ id }) => id);
  return retry({
    rung: ELSEWHERE_RUNGS[failure.class] ?? "elsewhere",
    where: "elsewhere",
    reason: "try_elsewhere",
    avoid: [...hereOf(facts), ...avoid],
    explain: `${failure.title}: the job goes to another instance.`,
  });
}

function hereOf({ instanceId }: RetryFacts): readonly string[] {
  return instanceId === null ? [] : [instanceId];
}

/** The rung of a restart is left out where the instance is not ours to restart. */
function withoutRestart(failure: Failure): RetryDecision {
  if (failure.places > 1) return triedEnough(failure);
  if (failure.facts.others.length > 0) return elsewhere(failure);
  if (failure.ofClass > 0) return triedEnough(failure);
  return retry({
    rung: "same_once",
    where: "anywhere",
    reason: "once_more",
    explain: `${failure.title}: the instance is not ours to restart and no other can serve; the job is tried once more.`,
  });
}

/** A retry: at once, unprepared and counted, unless the plan says otherwise. */
export function retry(plan: {
  readonly rung: RungName | null;
  readonly where: RetryPlace;
  readonly reason: RetryReason;
  readonly explain: string;
  readonly avoid?: readonly string[];
  readonly extendMs?: number;
  readonly delayMs?: number;
  readonly before?: RetryPreparation;
  readonly isFree?: boolean;
}): RetryDecision {
  const usual = { delayMs: 0, before: "nothing", isFree: false, avoid: [], extendMs: 0 } as const;
  return { kind: "retry", ...usual, ...plan };
}

/** The end of the job. */
export function fail(reason: RetryReason, explain: string): RetryDecision {
  return { kind: "fail", reason, explain };
}

/** A time in words. */
export function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(ms % 1_000 === 0 ? 0 : 1)} s`;
}
