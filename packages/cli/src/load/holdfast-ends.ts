/**
 * Ends of jobs of a Holdfast: one event stream for all of them, which goes on after a cut where it was. The
 * stream is early news; a job that it has not told of for a while is looked at, so none is waited for in vain.
 */
import type { Clock } from "@holdfast/runtime";
import { failureOf, fieldOf, type ApiClient } from "../api/api-client.ts";
import { followEvents, type StreamMessage } from "../api/event-stream.ts";
import { jobPath } from "../api/job-calls.ts";

/** How a job ended. */
export interface JobEnd {
  readonly status: "completed" | "failed" | "timeout" | "cancelled";
  /** Recovery changed its graph. */
  readonly changed: boolean;
  readonly errorClass: string | null;
  readonly message: string;
}

/** All that are waited for. */
export interface JobEnds {
  /** Resolves at the job's end; rejects with the signal's reason. */
  of(jobId: string, signal: AbortSignal): Promise<JobEnd>;
  close(): Promise<void>;
}

const TYPES = "job.completed,job.failed,job.timeout,job.cancelled,job.changed";
/** The stream stands before the first job is sent, or after so long the looks have to do. */
const OPEN_WAIT_MS = 5_000;
const LOOK_EVERY_MS = 2_000;
/** A job that nothing was told of for so long is looked at. */
const SILENT_MS = 5_000;
const LOOKS_A_ROUND = 50;
/** Ends told of before their submit was answered, and of other clients' jobs. */
const TOLD_MAX = 10_000;

interface Waiting {
  readonly end: (how: JobEnd) => void;
  lookAt: number;
}

/** Opens the stream. */
export async function openJobEnds(api: ApiClient, clock: Clock): Promise<JobEnds> {
  const over = new AbortController();
  const waiting = new Map<string, Waiting>();
  const told = new Map<string, JobEnd>();
  const changed = new Set<string>();

  const onMessage = (message: StreamMessage): void => {
    const data = fieldOf(parsed(message.data), "data");
    const jobId = fieldOf(data, "jobId");
    if (typeof jobId !== "string") return;
    if (message.event === "job.changed") {
      keepFew(changed);
      changed.add(jobId);
      return;
    }
    const end = toEnd(message.event.replace(/^job\./, ""), fieldOf(data, "error"), {
      changed: changed.delete(jobId),
    });
    if (end === undefined) return;
    const waiter = waiting.get(jobId);
    if (waiter !== undefined) waiter.end(end);
    else {
      keepFew(told);
      told.set(jobId, end);
    }
  };

  const opened = new AbortController();
  const following = followEvents(api, `/api/v1/events?types=${TYPES}`, {
    clock,
    signal: over.signal,
    onMessage,
    onOpen: () => opened.abort(),
  });
  const looking = keepLooking(api, waiting, clock, over.signal);
  await clock.sleep(OPEN_WAIT_MS, opened.signal).catch(() => undefined);

  return {
    async of(jobId, signal) {
      signal.throwIfAborted();
      const known = told.get(jobId);
      told.delete(jobId);
      if (known !== undefined) return known;
      return await new Promise<JobEnd>((resolve, reject) => {
        const release = (): void => {
          waiting.delete(jobId);
          signal.removeEventListener("abort", onAbort);
        };
        const onAbort = (): void => {
          release();
          reject(signal.reason as Error);
        };
        signal.addEventListener("abort", onAbort, { once: true });
        waiting.set(jobId, {
          lookAt: clock.elapsed() + SILENT_MS,
          end: (how) => {
            release();
            resolve(how);
          },
        });
      });
    },
    async close() {
      over.abort();
      await Promise.all([following, looking]);
    },
  };
}

async function keepLooking(
  api: ApiClient,
  waiting: ReadonlyMap<string, Waiting>,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  const pause = async (): Promise<boolean> =>
    await clock.sleep(LOOK_EVERY_MS, signal).then(
      () => true,
      () => false,
    );
  while (await pause()) {
    const silent = [...waiting].filter(([, { lookAt }]) => lookAt <= clock.elapsed());
    for (const [jobId, waiter] of silent.slice(0, LOOKS_A_ROUND)) {
      if (signal.aborted) return;
      waiter.lookAt = clock.elapsed() + SILENT_MS;
      const end = await look(api, jobId, signal);
      if (end !== undefined) waiter.end(end);
    }
  }
}

/** Undefined while it has not ended, or nobody can say. */
async function look(
  api: ApiClient,
  jobId: string,
  signal: AbortSignal,
): Promise<JobEnd | undefined> {
  try {
    const answer = await api.request(jobPath(jobId), { signal });
    if (answer.kind === "answered") {
      const job: unknown = await answer.response.json();
      const changed = fieldOf(job, "changes") !== null;
      return toEnd(String(fieldOf(job, "status")), fieldOf(job, "error"), { changed });
    }
    const isPassing =
      answer.kind === "unreachable" || answer.status >= 500 || answer.status === 429;
    if (isPassing) return undefined;
    const { message } = failureOf(answer, api.baseUrl);
    return { status: "failed", changed: false, errorClass: answer.code ?? "refused", message };
  } catch {
    return undefined; // Cut off in the middle, or the end of the run.
  }
}

function toEnd(
  status: string,
  error: unknown,
  { changed }: { readonly changed: boolean },
): JobEnd | undefined {
  switch (status) {
    case "completed":
      return { status, changed, errorClass: null, message: "" };
    case "failed":
    case "timeout":
    case "cancelled": {
      const errorClass = fieldOf(error, "customType") ?? fieldOf(error, "class");
      const message = fieldOf(error, "message");
      return {
        status,
        changed,
        errorClass: typeof errorClass === "string" ? errorClass : status,
        message: typeof message === "string" ? message : "",
      };
    }
    default:
      return undefined;
  }
}

function keepFew(kept: Map<string, unknown> | Set<string>): void {
  if (kept.size < TOLD_MAX) return;
  const [oldest] = kept.keys();
  if (oldest !== undefined) kept.delete(oldest);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // Not one of ours: the looks find what it should have told.
  }
}
