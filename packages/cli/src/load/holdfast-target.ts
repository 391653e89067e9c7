/**
 * A Holdfast: jobs are submitted under an idempotency key, their ends come by one event stream, their outputs
 * are fetched. What passes (a cut connection, a server that restarts, a full queue) is waited out within the
 * job's time: that is how its callers are told to use it.
 *
 * Starts and ends of attempts are instants of the server's clock. They are shifted by what that clock was
 * ahead when the job was submitted, which is exact within half the time of the request that was answered.
 */
import type { JobObservation } from "@holdfast/load";
import { nextUuid, type Clock, type Random } from "@holdfast/runtime";
import { failureOf, fieldOf, type ApiAnswer, type ApiClient } from "../api/api-client.ts";
import { jobPath, toJob } from "../api/job-calls.ts";
import { lastingOutputs } from "../experiment/renderer.ts";
import { shownUrl } from "../experiment/shown-url.ts";
import { openJobEnds, type JobEnd, type JobEnds } from "./holdfast-ends.ts";
import { startJobTime } from "./job-time.ts";
import { type LoadJob, type LoadTarget, type Rendered } from "./load-target.ts";

/** What it is made of. */
export interface HoldfastTargetOptions {
  readonly api: ApiClient;
  readonly version: string | null;
  readonly clock: Clock;
  readonly random: Random;
}

/** Of every job, so that an operator sees where they come from. */
export const LOAD_TAG = "load";
/** What the server takes as a job's limit. */
const SERVER_TIMEOUT_MS = { min: 1_000, max: 86_400_000 };
const PASSING_FIRST_MS = 250;
const PASSING_MAX_MS = 5_000;
/** A submit that was cut off may be committed so long afterwards. */
const LATE_SUBMIT_MS = 300;
/** What is given up is cancelled within this time, or left to its timeout. */
const TAKE_BACK_MS = 10_000;

/** Opens a run's event stream. */
export async function openHoldfastTarget(options: HoldfastTargetOptions): Promise<LoadTarget> {
  return new HoldfastTarget(options, await openJobEnds(options.api, options.clock));
}

/** Something that ends a job before it has an end of its own. */
class Ended extends Error {
  override readonly name = "Ended";
  readonly outcome: "failed" | "refused";
  readonly errorClass: string;

  constructor(outcome: "failed" | "refused", errorClass: string, message: string) {
    super(message);
    this.outcome = outcome;
    this.errorClass = errorClass;
  }
}

/** What is known of a job so far; instants of the clock's `elapsed()`. */
interface Known {
  acceptedAt: number | null;
  startedAt: number | null;
  executedAt: number | null;
  retries: number;
  changed: boolean;
  outputs: number;
  bytes: number;
}

class HoldfastTarget implements LoadTarget {
  readonly kind = "holdfast";
  readonly url: string;
  readonly version: string | null;
  readonly #options: HoldfastTargetOptions;
  readonly #ends: JobEnds;
  /** Of this run alone: what is left of it is cancelled by it. */
  readonly #runTag: string;
  readonly #takingBack = new Set<Promise<unknown>>();
  #isAnyLeft = false;

  constructor(options: HoldfastTargetOptions, ends: JobEnds) {
    this.#options = options;
    this.#ends = ends;
    this.#runTag = `load-${nextUuid(options.random)}`;
    this.url = shownUrl(options.api.baseUrl);
    this.version = options.version;
  }

  async render(job: LoadJob, signal: AbortSignal): Promise<Rendered> {
    const { clock } = this.#options;
    const begunAt = clock.elapsed();
    const time = startJobTime(job.timeoutMs, signal, clock);
    const known: Known = {
      acceptedAt: null,
      startedAt: null,
      executedAt: null,
      retries: 0,
      changed: false,
      outputs: 0,
      bytes: 0,
    };
    const ended = (
      outcome: JobObservation["outcome"],
      errorClass: string | null,
      message: string,
    ): Rendered => ({
      seen: {
        ...known,
        begunAt,
        loadedAt: null,
        endedAt: clock.elapsed(),
        outcome,
        errorClass,
      },
      message,
    });
    let jobId: string | undefined;
    try {
      const submitted = await this.#submit(job, time.signal);
      jobId = submitted.id;
      known.acceptedAt = clock.elapsed();
      const aheadMs = Date.parse(submitted.createdAt) - (submitted.askedAt + known.acceptedAt) / 2;
      const end = await this.#ends.of(jobId, time.signal);
      known.changed = end.changed;
      const isCompleted = end.status === "completed";
      const [attempts] = await Promise.all([
        this.#attempts(jobId, time.signal),
        isCompleted ? this.#collect(jobId, known, time.signal) : undefined,
      ]);
      addAttempts(known, attempts, aheadMs);
      const cold = lastTiming(attempts, "cold");
      return {
        ...ended(outcomeOf(end), end.errorClass, end.message),
        ...(cold !== undefined && { isCold: cold === 1 }),
      };
    } catch (error) {
      const over = time.over();
      if (over !== null) {
        this.#takeBack(over, jobId);
        const words = over === "timed_out" ? `not done within ${job.timeoutMs / 1_000} s` : "";
        return ended(over, over === "timed_out" ? "timeout" : "cancelled", words);
      }
      if (!(error instanceof Ended)) throw error;
      return ended(error.outcome, error.errorClass, error.message);
    } finally {
      time.release();
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#takingBack);
    if (this.#isAnyLeft) {
      await this.#cancelRun();
      // A submit that was on its way when it was cut off.
      await this.#options.clock.sleep(LATE_SUBMIT_MS);
      await this.#cancelRun();
    }
    await this.#ends.close();
  }

  async #submit(
    job: LoadJob,
    signal: AbortSignal,
  ): Promise<{ readonly id: string; readonly createdAt: string; readonly askedAt: number }> {
    const { random, clock } = this.#options;
    // Of the last request: before it the job may have waited long to be let in.
    let askedAt = clock.elapsed();
    const limit = Math.max(SERVER_TIMEOUT_MS.min, Math.round(job.timeoutMs));
    const request = {
      method: "POST" as const,
      json: {
        graph: job.graph,
        name: `load ${job.workflow} ${job.index}`.slice(0, 200),
        tags: [LOAD_TAG, this.#runTag],
        metadata: { load: { index: job.index, workflow: job.workflow } },
        timeoutMs: Math.min(SERVER_TIMEOUT_MS.max, limit),
      },
      headers: { "idempotency-key": `load-${nextUuid(random)}` },
    };
    const answer = await this.#settled("/api/v1/jobs", signal, request, undefined, () => {
      askedAt = clock.elapsed();
    });
    return { ...toJob(fieldOf(answer, "job")), askedAt };
  }

  async #attempts(jobId: string, signal: AbortSignal): Promise<readonly unknown[]> {
    const answer = await this.#settled(`${jobPath(jobId)}/attempts`, signal);
    const attempts = fieldOf(answer, "attempts");
    return Array.isArray(attempts) ? attempts : [];
  }

  async #collect(jobId: string, known: Known, signal: AbortSignal): Promise<void> {
    const answer = await this.#settled(`${jobPath(jobId)}/outputs`, signal);
    const list = fieldOf(answer, "outputs");
    const all = (Array.isArray(list) ? list : []).flatMap((output: unknown) => {
      const id = fieldOf(output, "id");
      if (typeof id !== "string" || fieldOf(output, "kind") === "text") return [];
      return [{ id, temporary: fieldOf(output, "temporary") === true }];
    });
    const files = lastingOutputs(all);
    for (const { id } of files) {
      known.bytes += await this.#settled(
        `/api/v1/outputs/${encodeURIComponent(id)}/content`,
        signal,
        { headers: { accept: "*/*" } },
        async (response) => {
          let bytes = 0;
          for await (const piece of response.body ?? []) bytes += (piece as Uint8Array).length;
          return bytes;
        },
      );
    }
    known.outputs = files.length;
  }

  /** Asks until it is answered: what passes is waited out, for as long as the job has time. */
  async #settled<T = unknown>(
    path: string,
    signal: AbortSignal,
    request: Parameters<ApiClient["request"]>[1] = {},
    read: (response: Response) => Promise<T> = async (response) => (await response.json()) as T,
    onAsk: () => void = () => undefined,
  ): Promise<T> {
    const { api, clock } = this.#options;
    for (let pauseMs = PASSING_FIRST_MS; ; pauseMs = Math.min(PASSING_MAX_MS, pauseMs * 2)) {
      signal.throwIfAborted();
      onAsk();
      const answer = await api.request(path, { ...request, signal });
      if (answer.kind === "answered") {
        const value = await read(answer.response).then(
          (got) => ({ got }),
          () => undefined, // Cut off in the middle: it is asked again.
        );
        if (value !== undefined) return value.got;
      } else if (answer.kind === "refused" && !isPassing(answer)) {
        const { message } = failureOf(answer, api.baseUrl);
        const outcome = request.method === "POST" ? "refused" : "failed";
        throw new Ended(outcome, answer.code ?? `http_${answer.status}`, message);
      }
      const wishedMs =
        answer.kind === "refused" ? (answer.retryAfterSeconds ?? 0) * 1_000 : pauseMs;
      await clock.sleep(Math.max(pauseMs, wishedMs), signal);
    }
  }

  #takeBack(over: "timed_out" | "cancelled", jobId: string | undefined): void {
    if (over === "cancelled" || jobId === undefined) {
      // Also a submit that was not answered in time: it may have come through.
      this.#isAnyLeft = true;
      return;
    }
    const taking: Promise<unknown> = this.#post(`${jobPath(jobId)}/cancel`, {}).finally(() =>
      this.#takingBack.delete(taking),
    );
    this.#takingBack.add(taking);
  }

  /** All live jobs of this run, page by page. */
  async #cancelRun(): Promise<void> {
    for (let more = true; more;) {
      const answer = await this.#post("/api/v1/jobs/cancel", { tag: this.#runTag });
      more = fieldOf(answer, "more") === true;
    }
  }

  /** The answer, or undefined: a server that is gone is told nothing. */
  async #post(path: string, json: unknown): Promise<unknown> {
    const { api, clock } = this.#options;
    const late = new AbortController();
    const over = new AbortController();
    clock.sleep(TAKE_BACK_MS, over.signal).then(
      () => late.abort(),
      () => undefined,
    );
    try {
      const answer = await api.request(path, { method: "POST", json, signal: late.signal });
      return answer.kind === "answered" ? await answer.response.json() : undefined;
    } catch {
      return undefined; // Too late: the job's own timeout ends it.
    } finally {
      over.abort();
    }
  }
}

function isPassing(answer: Exclude<ApiAnswer, { kind: "answered" }>): boolean {
  return answer.kind === "unreachable" || answer.status >= 500 || answer.status === 429;
}

function outcomeOf(end: JobEnd): JobObservation["outcome"] {
  switch (end.status) {
    case "completed":
      return "completed";
    case "timeout":
      return "timed_out";
    // Somebody else's doing: ours ends the wait before its event comes.
    case "cancelled":
    case "failed":
      return "failed";
  }
}

/** Times of the last attempt; what is not told stays null. */
function addAttempts(known: Known, attempts: readonly unknown[], aheadMs: number): void {
  known.retries = Math.max(0, attempts.length - 1);
  const last = attempts.at(-1);
  const at = (name: string): number | null => {
    const instant = fieldOf(last, name);
    const ms = typeof instant === "string" ? Date.parse(instant) : Number.NaN;
    return Number.isNaN(ms) ? null : ms - aheadMs;
  };
  known.startedAt = at("startedAt");
  const executeMs = lastTiming(attempts, "executeMs");
  known.executedAt =
    known.startedAt !== null && executeMs !== undefined
      ? known.startedAt + executeMs
      : at("endedAt");
}

/** What the agent told of the last attempt, by its name. */
function lastTiming(attempts: readonly unknown[], name: string): number | undefined {
  const value = fieldOf(fieldOf(attempts.at(-1), "timings"), name);
  return typeof value === "number" ? value : undefined;
}
