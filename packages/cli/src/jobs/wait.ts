import type { JobView } from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import { failureOf, type ApiClient } from "../api/api-client.ts";
import { followEvents } from "../api/event-stream.ts";
import { jobEventsPath, jobPath, toJob } from "../api/job-calls.ts";

/** Polling is the truth; an event only makes the next look come at once. */
const POLL_MS = 700;
/** Looks at the same job are at least so far apart, however many events come. */
const MIN_POLL_MS = 100;
/** Streams opened at once; more jobs than that are polled alone. */
const MAX_STREAMS = 4;
/** Jobs asked for at once. */
const POLLS_AT_ONCE = 8;
/** A server that cannot be reached for so long is given up; the jobs go on. */
const UNREACHABLE_LIMIT_MS = 10 * 60_000;

/** What a watcher wants to hear. */
export interface WaitListener {
  /** The jobs, in the order they were given, as they are now. */
  changed(jobs: readonly JobView[]): void;
  /** The server stopped answering, or answers again. */
  connection(state: "lost" | "back", reason: string): void;
}

/**
 * Waits until every job has ended and answers how each of them is then. Survives restarts of the
 * server. Throws `CommandFailure` when the server refuses (no such job, no key), or is gone for
 * {@link UNREACHABLE_LIMIT_MS}; rejects with the signal's reason when it is aborted.
 */
export async function waitForJobs(
  api: ApiClient,
  first: readonly JobView[],
  options: {
    readonly clock: Clock;
    readonly signal: AbortSignal;
    readonly listener: WaitListener;
  },
): Promise<readonly JobView[]> {
  const { clock, signal, listener } = options;
  const jobs = [...first];
  const done = new AbortController();
  const both = AbortSignal.any([signal, done.signal]);
  let pause = new AbortController();
  const streams = (first.length > MAX_STREAMS ? [] : first).map((job) =>
    followEvents(api, jobEventsPath(job.id), {
      clock,
      signal: both,
      onMessage: () => pause.abort(),
    }),
  );
  const contact = createContact(clock, listener);
  try {
    listener.changed(jobs);
    while (jobs.some((job) => job.endedAt === null)) {
      pause = new AbortController();
      await pollOpenJobs(api, jobs, signal, contact);
      listener.changed(jobs);
      if (jobs.every((job) => job.endedAt !== null)) break;
      await clock.sleep(MIN_POLL_MS, signal);
      await clock
        .sleep(POLL_MS - MIN_POLL_MS, AbortSignal.any([signal, pause.signal]))
        .catch(() => {
          signal.throwIfAborted();
        });
    }
    return jobs;
  } finally {
    done.abort();
    await Promise.all(streams);
  }
}

interface Contact {
  answered(): void;
  /** Throws when it has been lost for too long. */
  lost(reason: string, giveUp: () => Error): void;
}

function createContact(clock: Clock, listener: WaitListener): Contact {
  let lostSince: number | undefined;
  return {
    answered() {
      if (lostSince !== undefined) listener.connection("back", "");
      lostSince = undefined;
    },
    lost(reason, giveUp) {
      if (lostSince === undefined) {
        lostSince = clock.elapsed();
        listener.connection("lost", reason);
      } else if (clock.elapsed() - lostSince > UNREACHABLE_LIMIT_MS) {
        throw giveUp();
      }
    },
  };
}

/** Looks at every job that has not ended, and puts what it finds in its place. */
async function pollOpenJobs(
  api: ApiClient,
  jobs: JobView[],
  signal: AbortSignal,
  contact: Contact,
): Promise<void> {
  const open = jobs.map((job, i) => (job.endedAt === null ? i : -1)).filter((i) => i >= 0);
  let next = 0;
  const work = async (): Promise<void> => {
    for (let at = next++; at < open.length; at = next++) {
      const place = open[at] ?? 0;
      const job = jobs[place];
      if (job === undefined) return;
      const answer = await api.request(jobPath(job.id), { signal });
      if (answer.kind === "answered") {
        contact.answered();
        jobs[place] = toJob(await answer.response.json().catch(() => job));
        continue;
      }
      const isPassing =
        answer.kind === "unreachable" || answer.status >= 500 || answer.status === 429;
      if (!isPassing) throw failureOf(answer, api.baseUrl);
      const reason = answer.kind === "unreachable" ? answer.reason : answer.message;
      contact.lost(reason, () => failureOf(answer, api.baseUrl));
      return;
    }
  };
  await Promise.all(Array.from({ length: POLLS_AT_ONCE }, work));
}
