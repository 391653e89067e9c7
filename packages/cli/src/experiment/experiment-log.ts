/** Where an experiment's runs and health checks are told of, beside its folder: a port. */
import type { ExperimentRun, HealthRecord, ResultRecord } from "@holdfast/experiments";

/** How far delivery is. */
export interface LogDelivery {
  /** Records that are on the disk and not delivered yet. */
  readonly pending: number;
  /** Records that were refused for good. */
  readonly setAside: number;
  /** The file that has those. */
  readonly setAsideFile: string;
  /** Why nothing goes through now, in words. */
  readonly trouble: string | undefined;
}

/**
 * Every call resolves when the disk has what was told: nobody waits for a network. That the disk does
 * not take it is said, and is no failure of a run.
 */
export interface ExperimentLog {
  checked(record: HealthRecord): Promise<void>;
  runStarted(run: ExperimentRun): Promise<void>;
  runEnded(record: ResultRecord): Promise<void>;
  /** The process ends. */
  ended(how: "finished" | "unhealthy" | "refused" | "interrupted"): Promise<void>;
  /** Waits for delivery, at most so long. */
  flush(timeoutMs: number, signal: AbortSignal): Promise<LogDelivery>;
  /** What is pending stays on the disk. */
  close(): Promise<void>;
}
