/**
 * Recovery as callers see it: the error recovery API beside `/api/v1`, and its statistics.
 *
 * I1 A failed attempt is one error event. It is written in the transaction that ends the attempt, and
 *    settled in the one that ends the job (a trigger of migration 0005), whoever ends it.
 * I2 An event is in neither count while its job has not ended, nor when the job was cancelled.
 * I3 Counts are for ever: removing histories, jobs or machines takes nothing from them.
 */
import type { StatisticsWindow } from "@holdfast/contract";

/** What errors are counted by. */
export const DIMENSIONS = ["class", "strategy", "rung", "node_type", "machine"] as const;
/** One of {@link DIMENSIONS}. */
export type Dimension = (typeof DIMENSIONS)[number];

/** How finely counts are kept, by window: the finer, the shorter. */
export const GRAINS = {
  "1h": { grain: "minute", seconds: 3_600 },
  "24h": { grain: "hour", seconds: 86_400 },
  "7d": { grain: "hour", seconds: 604_800 },
  all: { grain: "all", seconds: null },
} as const satisfies Record<StatisticsWindow, { grain: string; seconds: number | null }>;

/** Errors of one key of a dimension, and how many of them ended how. */
export interface ErrorCount {
  readonly dimension: Dimension;
  readonly key: string;
  readonly errors: number;
  readonly recovered: number;
  readonly failed: number;
  readonly cancelled: number;
}

/** Keys that one caller's counts tell apart in a dimension; what comes after is {@link OTHER_KEY}. */
export const MAX_KEYS = 500;
/** Where errors are counted whose key came too late. */
export const OTHER_KEY = "(other)";

/** What was done after a failed attempt, as it is stored with it. Instants in epoch ms. */
export interface RecoveryStepFacts {
  readonly attempt: number;
  readonly round: number;
  readonly errorClass: string;
  readonly strategy: string;
  /** The rung, or the rule of the decision where none is named. */
  readonly rung: string;
  /** The decision in words. */
  readonly explain: string;
  readonly endedAt: number;
  /** Whether a later attempt of the same round completed the job. */
  readonly recovered: boolean;
}

/** A saved state that a later attempt can go on from. Instants in epoch ms. */
export interface CheckpointFacts {
  /** The sampler whose work it is. */
  readonly nodeId: string;
  readonly attemptNumber: number;
  /** How far the run was when it was saved. */
  readonly percent: number;
  readonly sizeBytes: number;
  /** Execution time that going on from it spares. */
  readonly savedMs: number;
  readonly createdAt: number;
}

/** What the feature needs of others; `services.ts` fills it. */
export interface RecoveryPorts {
  /** Saved states of a job that can be gone on from, beside its finished outputs; and the newest. */
  readonly usableCheckpoints: (
    jobId: string,
  ) => Promise<{ readonly count: number; readonly newest: CheckpointFacts | null }>;
  /** Removes those of jobs that ended so long ago; returns how many. */
  readonly removeCheckpoints: (endedHoursAgo: number) => Promise<number>;
}
