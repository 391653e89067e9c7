/** The options of `holdfast experiment …`, as commander gives them. */

/** Of `experiment run`. */
export interface RunOptions {
  readonly count?: number;
  readonly preFlight?: boolean;
  readonly startFrom?: number;
  readonly resume?: boolean;
  readonly inFlight?: number;
  readonly onUnhealthy?: "abort" | "wait";
  readonly services?: string;
  readonly server?: string;
  readonly holdfast?: string;
  readonly apiKey?: string;
  readonly output?: string;
  readonly store?: string;
  /** `--mlflow URL`; false for `--no-mlflow`. */
  readonly mlflow?: string | boolean;
  /** False for `--no-check`. */
  readonly check?: boolean;
  readonly dryRun?: number;
  readonly timeout?: number;
  readonly json?: boolean;
}

/** Of `experiment list` and `show`. */
export interface ShowOptions {
  readonly json?: boolean;
}

/** Of `experiment sync`. */
export interface SyncOptions extends ShowOptions {
  readonly mlflow?: string;
  readonly timeout?: number;
}

/** Of `experiment best`. */
export interface BestOptions extends ShowOptions {
  readonly by?: string;
  readonly lowest?: boolean;
  readonly command?: string;
  readonly mark?: string;
}
