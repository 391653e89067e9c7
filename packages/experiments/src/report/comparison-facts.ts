/** What the comparison page of an experiment is made of. */
import type { InputValue } from "@holdfast/comfyui/protocol";
import type { HealthRecord } from "../health.ts";
import type { Scalar } from "../spec/model.ts";

/** An experiment as its page tells it. */
export interface ComparisonFacts {
  readonly name: string;
  readonly specHash: string;
  /** When the page is written, as ISO text. */
  readonly writtenAt: string;
  readonly counts: ComparisonCounts;
  /** In the order of the experiment's file; fragments among them. */
  readonly dimensions: readonly ComparedDimension[];
  /** Each run once, in any order. */
  readonly runs: readonly ComparedRun[];
  /** Every attempt, as `health_checks.ndjson` has it. */
  readonly healthChecks: readonly HealthRecord[];
  readonly best: readonly BestMark[];
}

/** How far the experiment is. */
export interface ComparisonCounts {
  /** `--count` */
  readonly planned: number;
  readonly completed: number;
  /** Those that failed while a service was down, and were not repeated yet, among them. */
  readonly failed: number;
  /** Runs that were done more than once. */
  readonly repeated: number;
}

/** A dimension; runs whose value is not among these are shown behind them. */
export interface ComparedDimension {
  readonly name: string;
  readonly values: readonly Scalar[];
}

/** What became of one run. */
export interface ComparedRun {
  /** From 0. */
  readonly index: number;
  /** `exp_0099` */
  readonly name: string;
  readonly title: string;
  readonly seed: number | string;
  /** By dimension. */
  readonly values: Readonly<Record<string, Scalar>>;
  /** What was put into the graph; empty where it is not known. */
  readonly set: readonly InputValue[];
  /** `down`: failed because a service was down, and not repeated yet. */
  readonly status: "completed" | "failed" | "down";
  readonly startedAt: string;
  readonly endedAt: string;
  readonly durationMs: number;
  /** Null where it completed. */
  readonly error: ComparedError | null;
  /** Starts of it, from 1. */
  readonly attempts: number;
  /** Ends before the last one, in their order. */
  readonly earlier: readonly EarlierEnd[];
  /** What recovery did, in its order. */
  readonly recovery: readonly string[];
  /** What that cost: 0 nothing, 1 other pixels, 2 another size, 3 other content. */
  readonly loss: 0 | 1 | 2 | 3;
  readonly metrics: Readonly<Record<string, number>>;
  readonly images: readonly ComparedImage[];
}

/** Why a run failed. */
export interface ComparedError {
  readonly class: string;
  readonly message: string;
  readonly nodeId?: string | undefined;
  readonly nodeType?: string | undefined;
  readonly exceptionType?: string | undefined;
  readonly traceback?: string | undefined;
}

/** An attempt that failed and was followed by another one. */
export interface EarlierEnd extends ComparedError {
  readonly attempt: number;
  readonly endedAt: string;
  /** A service was down. */
  readonly isInfrastructure: boolean;
}

/** A picture. */
export interface ComparedImage {
  /**
   * Below the folder in which the page lies, with `/`. Anything else (a URL of a store, a path that
   * leaves the folder) is told in words and never loaded.
   */
  readonly path: string;
  /** In pixels, with the height, where they are known. */
  readonly width?: number;
  readonly height?: number;
}

/** A run that is marked as best. */
export interface BestMark {
  readonly index: number;
  /** `lowest loss`, `by hand` */
  readonly why: string;
}
