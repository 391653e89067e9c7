/**
 * The port between what drives a load run and what renders its jobs. Instants are of the clock's
 * `elapsed()`, so that a run's times are those of one clock that never jumps.
 */
import type { Graph } from "@holdfast/comfyui/protocol";
import type { GpuSample, JobObservation } from "@holdfast/load";

/** One job to be rendered. */
export interface LoadJob {
  readonly index: number;
  /** The name of its workflow: jobs of one name differ in their seeds alone. */
  readonly workflow: string;
  readonly graph: Graph;
  /** From the call to the last byte of its outputs; what takes longer is given up. */
  readonly timeoutMs: number;
}

/** What became of a job. */
export interface Rendered {
  readonly seen: JobObservation;
  /** Of its error; empty for a completed one. */
  readonly message: string;
  /** Whether its models had to be loaded; absent where the target does not tell. */
  readonly isCold?: boolean;
}

/** A look at a card without its instant. */
export type CardReading = Omit<GpuSample, "atMs">;

/** What jobs are rendered on. */
export interface LoadTarget {
  readonly kind: "holdfast" | "comfyui";
  /** Without user, password and query: it is printed and kept. */
  readonly url: string;
  /** Null where it does not tell. */
  readonly version: string | null;
  /**
   * Renders one job and fetches its outputs. Rejects for bugs alone: what goes wrong is an outcome. Aborted
   * by `signal` it ends as `cancelled`, and the work is taken back from the server.
   */
  render(job: LoadJob, signal: AbortSignal): Promise<Rendered>;
  /** What it tells of its cards; absent where it tells nothing. Empty for an answer that never came. */
  cards?(signal: AbortSignal): Promise<readonly CardReading[]>;
  /** Ends its connections, after work that was given up has been taken back. */
  close(): Promise<void>;
}

/** Class of errors of a target that cannot be reached. */
export const UNREACHABLE_CLASS = "network_error";
