import type { Verdict } from "./verdict.ts";

/** What a scenario came to with Holdfast. */
export type ScenarioResult =
  | {
      readonly kind: "judged";
      readonly verdict: Verdict;
      readonly jobs: number;
      readonly attempts: number;
      readonly seconds: number;
    }
  /** Never counted as passed. */
  | { readonly kind: "not_here"; readonly why: string }
  /** Its world could not be started: nothing is known. */
  | { readonly kind: "no_world"; readonly why: string };

/** What became of the same jobs with a bare client. */
export type BareResult =
  | {
      readonly kind: "rendered";
      /** Jobs that can be rendered. */
      readonly jobs: number;
      readonly lost: number;
      /** Why, each once. */
      readonly reasons: readonly string[];
      readonly struck: number | null;
    }
  | { readonly kind: "not_here"; readonly why: string }
  | { readonly kind: "no_world"; readonly why: string };

/** One line of the table. */
export interface FaultRow {
  readonly name: string;
  readonly title: string;
  readonly expectation: string;
  /** Absent where it was not asked for. */
  readonly holdfast?: ScenarioResult;
  readonly bare?: BareResult;
}

/** What a run came to; written as JSON. */
export interface FaultRun {
  readonly version: 1;
  readonly holdfast: string;
  readonly startedAt: string;
  readonly seconds: number;
  readonly on: string;
  readonly jobs: number;
  readonly rows: readonly FaultRow[];
}
