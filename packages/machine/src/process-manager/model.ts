/** What the supervisor needs of a process manager; PM2 behind it, a fake in tests. */

/** A process to run. */
export interface ProcessSpec {
  /** Telling, unique on the machine: `comfyui-gpu0`. */
  readonly name: string;
  /** Absolute path. */
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** All of its environment: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly outFile: string;
  readonly errorFile: string;
  /** From SIGINT to SIGKILL. */
  readonly stopTimeoutMs: number;
  /** Names what it was started from: another digest means that it has to be started anew. */
  readonly digest: string;
}

/** A process as the manager sees it. */
export interface ManagedProcess {
  readonly name: string;
  readonly state: "online" | "launching" | "stopping" | "stopped" | "errored";
  /** Null when it does not run. */
  readonly pid: number | null;
  /** Of the spec it was started with; null for one that somebody else started. */
  readonly digest: string | null;
  readonly startedAt: number | null;
  /** Of the end before; null while unknown. PM2 tells 0 for a death by a signal. */
  readonly exitCode: number | null;
}

/** Starts and ends processes that outlive this program. Calls have a time limit and throw in words. */
export interface ProcessManager {
  /** Makes the manager ready: installed, its daemon running. Safe to repeat. */
  ensureReady(signal: AbortSignal): Promise<void>;
  /** All that run, also those that the manager itself lost sight of, and the ends that it knows of. */
  list(signal: AbortSignal): Promise<readonly ManagedProcess[]>;
  /** Starts it, or starts it anew with this spec. Never restarted by the manager itself. */
  start(spec: ProcessSpec, signal: AbortSignal): Promise<ManagedProcess>;
  /** Ends it with all that it started, and forgets it; one that is not there is well. */
  remove(name: string, signal: AbortSignal): Promise<void>;
  /**
   * Lets the manager open anew what it writes itself. The processes' logs need no such call: they are
   * never renamed (`log-rotation.ts`).
   */
  reopenLogs(signal: AbortSignal): Promise<void>;
  /** Ends the manager and everything under it. */
  kill(signal: AbortSignal): Promise<void>;
}
