/** What the stand-in of MLflow keeps. */

/** One run as the server has it. */
export interface FakeRun {
  readonly id: string;
  readonly experimentId: string;
  readonly name: string;
  readonly startedAt: number;
  status: string;
  endedAt: number | undefined;
  isDeleted: boolean;
  readonly tags: Map<string, string>;
  readonly params: Map<string, string>;
  /** `[key, value, timestamp, step]` as JSON: the same one is kept once. */
  readonly metrics: Set<string>;
  /** SHA-256 by path. */
  readonly artifacts: Map<string, string>;
  /** Calls that changed it, in their order. */
  readonly history: string[];
}

/** Experiments and runs. */
export interface FakeState {
  readonly experiments: Map<string, { readonly id: string; name: string; isDeleted: boolean }>;
  readonly runs: Map<string, FakeRun>;
}
