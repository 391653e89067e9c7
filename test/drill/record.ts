/** What a drill writes down of one fault: facts alone, judged by `judge.ts`. Plain JSON. */
import type { LossLevel } from "@holdfast/recovery";

/** One attempt, as the job's page shows it. */
export interface AttemptRecord {
  readonly outcome: string;
  /** What it was called; null for an end that is no failure. */
  readonly class: string | null;
  readonly strategy: string | null;
  /** The rung that was taken after it, or why none was. */
  readonly rule: string | null;
  readonly action: string | null;
  /** The decision in words. */
  readonly reason: string | null;
  /** Samplers that ran to their end in it. */
  readonly samplersDone: number;
}

/** One stored picture: its place, and a hash of its pixels. */
export interface PictureRecord {
  readonly nodeId: string;
  readonly ordinal: number;
  readonly pixels: string;
}

/** What became of one fault. */
export interface FaultRecord {
  readonly index: number;
  readonly kind: string;
  /** Whether the fault met the job at all. */
  readonly hasStruck: boolean;
  /** `completed`, `failed`, `timeout`, or `unended` when the drill's patience ended first. */
  readonly state: string;
  readonly errorClass: string | null;
  readonly isPoison: boolean;
  /** From the submission to the end, in simulated ms. */
  readonly tookMs: number;
  readonly attempts: readonly AttemptRecord[];
  /** What the job says was changed. */
  readonly loss: LossLevel;
  readonly steps: readonly string[];
  readonly pictures: readonly PictureRecord[];
  /** What an undisturbed run of the declared graph gives. Empty when the job did not complete. */
  readonly expected: readonly PictureRecord[];
  /** Values of the caller's graph and of the declared one, where they differ. */
  readonly changed: readonly ChangedValue[];
  /** Samplers in the graph. */
  readonly samplers: number;
}

/** One value that the declared graph has in the place of the caller's. */
export interface ChangedValue {
  readonly nodeId: string;
  readonly input: string;
  readonly from: unknown;
  readonly to: unknown;
}
