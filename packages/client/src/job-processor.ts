import {
  ERROR_RECOVERY_PATH,
  isEndedStatus,
  isHoldfastError,
  jobPageSchema,
  recoveryRetriedSchema,
  recoveryStatusSchema,
  recoverySubmittedSchema,
  type ErrorCode,
  type JobStatus,
  type RecoveryStatus,
  type RecoverySubmit,
} from "@holdfast/contract";
import { createConnection, type Connection, type ServerOptions } from "./connection.ts";
import { growingPause, platformClock, type ClientClock } from "./timing.ts";

/** Told how far a job is: its number, percent done, and seconds since it was submitted. */
export type ProgressListener = (jobId: number, percent: number, elapsedSeconds: number) => void;

/** How to follow a job. */
export interface MonitorOptions {
  /** Called after every look; what it throws ends the following, not the job. */
  readonly onProgress?: ProgressListener;
  /** Ends the following; the job goes on unless it is cancelled. */
  readonly signal?: AbortSignal;
  /**
   * A name of your own for this submit: the same one with the same job gives the job of the first
   * time, for 48 hours. Without one, a submit whose answer was lost is still made once only.
   */
  readonly idempotencyKey?: string;
}

/** How a job ended. */
export interface JobResult {
  readonly success: boolean;
  readonly job_id: number;
  readonly status: JobStatus;
  /** Addresses of the outputs, in their order. */
  readonly output_files: readonly string[];
  /** Whether anything had to be recovered on the way. */
  readonly recovery_used: boolean;
  readonly error_message: string | null;
  /** What the server had to say about the submit. */
  readonly warnings: readonly string[];
}

/** Which jobs were queued again. */
export interface RetriedJobs {
  readonly count: number;
  readonly retried_job_ids: readonly number[];
}

/** Pause between looks while something happens, and while nothing does. */
const FIRST_LOOK_MS = 250;
const MAX_LOOK_MS = 2_000;
const MS_PER_SECOND = 1_000;
const DEFAULT_MAX_JOBS = 5;
const MAX_MAX_JOBS = 1_000;
/** Failed jobs looked through for some that may be retried. */
const MAX_JOBS_LOOKED_AT = 2_000;
const PAGE_SIZE = 100;
/** Somebody else was quicker, or the job may not be retried any more: the next one, then. */
const PASSED_OVER: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "job_not_ended",
  "job_ended",
  "retry_limit_reached",
  "not_found",
]);

/**
 * Submits jobs and follows them to their end, over lost connections and restarts of the server.
 * `await using` (or `[Symbol.asyncDispose]()`) ends what it follows; jobs go on.
 */
export class IntelligentJobProcessor implements AsyncDisposable {
  readonly #connection: Connection;
  readonly #clock: ClientClock;
  readonly #disposed = new AbortController();
  readonly #following = new Set<Promise<unknown>>();

  constructor(options: ServerOptions = {}) {
    this.#clock = options.clock ?? platformClock;
    this.#connection = createConnection({ ...options, clock: this.#clock });
  }

  /**
   * Submits a job and resolves when it has ended, however it ended. Rejects with `HoldfastError` when
   * the server refuses the job, with `ServerUnreachableError` when it is away for too long, and with
   * the signal's reason when that is aborted.
   */
  async submitAndMonitorJob(job: RecoverySubmit, options: MonitorOptions = {}): Promise<JobResult> {
    return await this.#follow(options.signal, async (signal) => {
      const begunAt = this.#clock.elapsed();
      const submitted = recoverySubmittedSchema.parse(
        await this.#connection.call(`${ERROR_RECOVERY_PATH}/jobs/submit`, {
          method: "POST",
          body: job,
          headers: { "idempotency-key": options.idempotencyKey ?? crypto.randomUUID() },
          isRepeatable: true,
          signal,
        }),
      );
      const data = await this.#waitForEnd(submitted.job_id, begunAt, signal, options.onProgress);
      return {
        success: data.status === "completed",
        job_id: submitted.job_id,
        status: data.status,
        output_files: data.output_files.map((path) => new URL(path, this.#connection.baseUrl).href),
        recovery_used: data.recovery_history.length > 0,
        error_message: data.error_message ?? endInWords(data.status),
        warnings: submitted.warnings,
      };
    });
  }

  /** A job's status, by its number or its id. */
  async getJobStatus(jobId: number | string): Promise<RecoveryStatus> {
    return await this.#follow(undefined, (signal) => this.#status(jobId, signal));
  }

  /** Cancels a job, whatever it does now; resolves to its status. Rejects with `job_ended`. */
  async cancelJob(jobId: number | string): Promise<RecoveryStatus> {
    return await this.#follow(undefined, async (signal) => {
      await this.#connection.call(`/api/v1/jobs/${encodeURIComponent(jobId)}/cancel`, {
        method: "POST",
        // A cancel that is repeated is answered as the first was.
        isRepeatable: true,
        signal,
      });
      return await this.#status(jobId, signal);
    });
  }

  /**
   * Queues failed and timed-out jobs again, the newest first, at most `maxJobs` (1 to 1000, default 5).
   * Those past the retry limit are passed over.
   */
  async retryFailedJobs(options: { readonly maxJobs?: number } = {}): Promise<RetriedJobs> {
    const maxJobs = options.maxJobs ?? DEFAULT_MAX_JOBS;
    if (!Number.isInteger(maxJobs) || maxJobs < 1 || maxJobs > MAX_MAX_JOBS) {
      throw new RangeError(`maxJobs: expected 1 to ${MAX_MAX_JOBS}, found ${maxJobs}`);
    }
    return await this.#follow(undefined, async (signal) => {
      const retried: number[] = [];
      for await (const number of this.#failedJobs(signal)) {
        if (await this.#retry(number, signal)) retried.push(number);
        if (retried.length === maxJobs) break;
      }
      return { count: retried.length, retried_job_ids: retried };
    });
  }

  /** Ends everything that is followed, and waits until that has ended. Jobs go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort(new Error("the processor was disposed of"));
    await Promise.allSettled(this.#following);
  }

  async #status(jobId: number | string, signal: AbortSignal): Promise<RecoveryStatus> {
    const path = `${ERROR_RECOVERY_PATH}/jobs/${encodeURIComponent(jobId)}/status`;
    return recoveryStatusSchema.parse(
      await this.#connection.call(path, { isRepeatable: true, signal }),
    );
  }

  /** Polling is the truth: it needs nothing to be remembered, here or there. */
  async #waitForEnd(
    jobId: number,
    begunAt: number,
    signal: AbortSignal,
    onProgress: ProgressListener | undefined,
  ): Promise<RecoveryStatus["data"]> {
    let quiet = 0;
    let last = "";
    for (;;) {
      const { data } = await this.#status(jobId, signal);
      onProgress?.(jobId, data.progress, (this.#clock.elapsed() - begunAt) / MS_PER_SECOND);
      if (isEndedStatus(data.status)) return data;
      const now = `${data.status} ${data.progress} ${data.retry_count}`;
      quiet = now === last ? quiet + 1 : 1;
      last = now;
      await this.#clock.sleep(growingPause(quiet, FIRST_LOOK_MS, MAX_LOOK_MS), signal);
    }
  }

  async *#failedJobs(signal: AbortSignal): AsyncGenerator<number> {
    let cursor: string | null = null;
    for (let looked = 0; looked < MAX_JOBS_LOOKED_AT; looked += PAGE_SIZE) {
      const after = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
      const page = jobPageSchema.parse(
        await this.#connection.call(
          `/api/v1/jobs?status=failed,timeout&limit=${PAGE_SIZE}${after}`,
          { isRepeatable: true, signal },
        ),
      );
      for (const job of page.items) yield job.number;
      cursor = page.next;
      if (cursor === null) return;
    }
  }

  async #retry(number: number, signal: AbortSignal): Promise<boolean> {
    try {
      const answer = await this.#connection.call(`${ERROR_RECOVERY_PATH}/jobs/${number}/retry`, {
        method: "POST",
        body: { force_retry: false },
        // A second one might take a job up again that has failed once more.
        isRepeatable: false,
        signal,
      });
      recoveryRetriedSchema.parse(answer);
      return true;
    } catch (error) {
      if (isHoldfastError(error) && PASSED_OVER.has(error.code)) return false;
      throw error;
    }
  }

  /** Runs something that ends with the caller's signal, or when this is disposed of. */
  async #follow<T>(
    given: AbortSignal | undefined,
    run: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    this.#disposed.signal.throwIfAborted();
    const over = new AbortController();
    const sources = [this.#disposed.signal, ...(given === undefined ? [] : [given])];
    const listeners = sources.map((source) => {
      const onAbort = (): void => over.abort(source.reason);
      if (source.aborted) onAbort();
      source.addEventListener("abort", onAbort, { once: true });
      return () => source.removeEventListener("abort", onAbort);
    });
    const running = run(over.signal);
    this.#following.add(running);
    try {
      return await running;
    } finally {
      this.#following.delete(running);
      for (const stop of listeners) stop();
    }
  }
}

/** What to say of an end that has no error. */
function endInWords(status: JobStatus): string | null {
  return status === "cancelled" ? "the job was cancelled" : null;
}
