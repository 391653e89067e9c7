/** What is known of an attempt that did not finish, and what can be decided about its job. */
import type { ClassifiedError, ErrorClass } from "./error-class.ts";
import type { RungName } from "./ladder.ts";

/**
 * How an attempt ended without finishing. A cancel is not among them: there is nothing to decide.
 * - `failed`: the instance (or the runner) reported a failure.
 * - `stalled`: no sign of progress within the stall limit.
 * - `instance_died`: the ComfyUI process ended during the attempt.
 * - `machine_died`: the whole machine went away, or its agent did.
 * - `lease_lost`: the lease ran out or was taken over.
 * - `drained`: it ran, and the machine was asked to give its work back.
 * - `released`: given back before it began: a drain, an instance that died under another job, or one
 *   that is not well.
 * - `surplus`: given back before it began, because the prompt before it turned out long.
 */
export type RetryOutcome =
  | "failed"
  | "stalled"
  | "instance_died"
  | "machine_died"
  | "lease_lost"
  | "drained"
  | "released"
  | "surplus";

/** The outcomes that are failures; the others are free. */
export type FailedOutcome = Extract<RetryOutcome, "failed" | "stalled" | "instance_died">;

/** One earlier attempt of this round that ended in a failure (not a free end). */
export interface EarlierFailure {
  readonly outcome: FailedOutcome;
  readonly class: ErrorClass;
  /** Where it failed; null when it never got to an instance. */
  readonly instanceId: string | null;
  /** The operator's name for the error, where a custom pattern matched. */
  readonly customType?: string | null;
}

/** The memory of a card; null where the instance does not tell. */
export interface CardFacts {
  readonly totalBytes: number | null;
}

/** Another instance that could run the job. */
export interface OtherInstance {
  readonly id: string;
  readonly machineId: string;
  readonly card: CardFacts;
}

/** What is known of the job's execution time. */
export interface TimeFacts {
  /** Over all attempts, this one included. */
  readonly spentMs: number;
  /** What the job may spend, an extension included. */
  readonly limitMs: number;
  /** What of that limit is an extension; 0 while there is none. */
  readonly extendedMs: number;
  /** How long this attempt executed. */
  readonly attemptMs: number;
  /** How far this attempt came, 0 to 100; null when it gave no sign, or its last one is long ago. */
  readonly steadyPercent: number | null;
}

/** All that the decision looks at. */
export interface RetryFacts {
  readonly outcome: RetryOutcome;
  /** Whether ComfyUI ever executed it: a graph that was refused has cost no GPU time. */
  readonly hasExecuted: boolean;
  /** What the evidence was classified as; read for `failed`, `stalled` and `instance_died` only. */
  readonly error: ClassifiedError;
  /** The instance of the attempt that just ended, or null when it never got to one. */
  readonly instanceId: string | null;
  /** Failed attempts of this round before this one, oldest first; free ends are not in it. */
  readonly earlierFailures: readonly EarlierFailure[];
  /** Attempts of this round given back for nothing (drain, release, lost lease, machine's death) before this one. */
  readonly freeReturns: number;
  /** Attempts of this round that were `surplus`, before this one; not among the free returns. */
  readonly surplusReturns: number;
  /** The instances that died during this job, this attempt's included when it did. */
  readonly deathsOnInstances: readonly string[];
  /** The machine of that instance. */
  readonly machineId: string | null;
  /** The card of that instance. */
  readonly card: CardFacts;
  /** Whether that instance answers: it confirmed that the run was stopped. Read for time-outs only. */
  readonly isInstanceAlive: boolean;
  /** What the failure itself says it asked the card for, in bytes; null where it does not say. */
  readonly wantedBytes: number | null;
  /** Other instances, healthy and with what the graph needs, that the job need not avoid. */
  readonly others: readonly OtherInstance[];
  readonly time: TimeFacts;
  /** Whether a machine offers to fetch what is missing, and nobody has it. Left out: no. */
  readonly isModelFetchable?: boolean;
  /** False for attached instances, which belong to somebody else. */
  readonly canRestartInstance: boolean;
  /** `ERROR_RECOVERY_ENABLED`: without it the first failure ends a job; free returns stay free. */
  readonly isRecoveryEnabled: boolean;
  /** `MAX_RETRY_ATTEMPTS`: retries for failures of the job itself. */
  readonly maxRetryAttempts: number;
}

/** Where the next attempt may run. `same` and `elsewhere` speak of the instance of the last one. */
export type RetryPlace = "anywhere" | "same" | "elsewhere";

/** What the agent does to the instance before the next attempt starts there. */
export type RetryPreparation = "nothing" | "free_memory" | "restart_instance";

/** Why a decision was taken; stable names for logs, counts and tests. */
export type RetryReason =
  | "drained"
  | "released"
  | "surplus"
  | "lease_lost"
  | "machine_died"
  | "two_instances_died"
  | "too_many_free_returns"
  | "recoveries_used_up"
  | "retries_used_up"
  | "same_graph_fails_everywhere"
  | "validate_again"
  | "credential_refused"
  | "nobody_else_can_serve"
  | "tried_enough"
  | "try_elsewhere"
  | "upload_input_again"
  | "free_memory_first"
  | "restart_first"
  | "fetch_first"
  | "wait_for_connection"
  | "wait_for_file_lock"
  | "after_crash"
  | "after_stall"
  | "resume_same"
  | "longer_limit"
  | "out_of_time"
  | "recovery_disabled"
  | "custom_pattern"
  | "after_foreign_interrupt"
  | "graph_changed"
  | "once_more";

/** What becomes of the job. Plain data: logged, stored with the attempt, shown to people. */
export type RetryDecision =
  | {
      readonly kind: "retry";
      readonly delayMs: number;
      /** The rung of the class's ladder that this is; null for free returns. */
      readonly rung: RungName | null;
      readonly where: RetryPlace;
      /** Instances that the next attempt keeps away from, beside those of before. */
      readonly avoid: readonly string[];
      /** How much longer the job may execute than it was allowed so far. */
      readonly extendMs: number;
      readonly before: RetryPreparation;
      /** True when this retry is not counted as a recovery (I1). */
      readonly isFree: boolean;
      readonly reason: RetryReason;
      readonly explain: string;
    }
  | { readonly kind: "fail"; readonly reason: RetryReason; readonly explain: string }
  | { readonly kind: "poison"; readonly reason: RetryReason; readonly explain: string };
