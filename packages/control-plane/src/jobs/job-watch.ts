import type { Clock, Random, Service } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { createLoop } from "../platform/loop.ts";
import {
  cursorOfEvent,
  FIRST_CURSOR,
  readEventsAfter,
  type StoredEvent,
} from "../platform/outbox.ts";
import type { EventFeed } from "./event-feed.ts";
import { readEventType, readOverAmong, readTimeline } from "./read-store.ts";

/** Waiting for single jobs. */
export interface JobWatch extends Service {
  /** Resolves when the job has ended or is gone, after `timeoutMs`, or when the signal is aborted. */
  waitForEnd(jobId: string, timeoutMs: number, signal: AbortSignal): Promise<void>;
  /**
   * A job's events from its first on (or from after the one named), live, until its end has been
   * told, the job is gone, or the signal is aborted.
   */
  follow(
    jobId: string,
    lastEventId: string | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<StoredEvent, void, undefined>;
}

/** What a watch is made of. */
export interface JobWatchDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly feed: EventFeed;
}

/** How often jobs that are waited for are looked at, all in one statement. */
const LOOK_EVERY_MS = 1_000;
/** A stream that heard nothing looks into the outbox this often. */
const FOLLOW_EVERY_MS = 5_000;
/** Events of one job read at once. */
const PAGE = 500;
const END_TYPES: ReadonlySet<string> = new Set([
  "job.completed",
  "job.failed",
  "job.timeout",
  "job.cancelled",
]);

/** Makes a watch. */
export function createJobWatch(deps: JobWatchDeps): JobWatch {
  const { db, feed } = deps;
  const waiting = new Map<string, Set<() => void>>();
  const loop = createLoop({
    ...deps,
    name: "jobs:watch",
    everyMs: LOOK_EVERY_MS,
    tick: async () => {
      if (waiting.size === 0) return;
      for (const jobId of (await readOverAmong(db, [...waiting.keys()])).keys()) {
        for (const done of waiting.get(jobId) ?? []) done();
      }
    },
  });
  return {
    name: "jobs:watch",
    start: () => loop.start(),
    stop: () => loop.stop(),
    waitForEnd: (jobId, timeoutMs, signal) =>
      untilHeard(deps.clock, timeoutMs, signal, (done) => {
        const others = waiting.get(jobId) ?? new Set();
        const unlisten = feed.onJob(jobId, (event) => {
          if (END_TYPES.has(event.type)) done();
        });
        waiting.set(jobId, others.add(done));
        // It may have ended before anybody listened.
        loop.wake();
        return () => {
          unlisten();
          others.delete(done);
          if (others.size === 0 && waiting.get(jobId) === others) waiting.delete(jobId);
        };
      }),
    follow: (jobId, lastEventId, signal) => followJob(deps, jobId, lastEventId, signal),
  };
}

/** Resolves when `done` is called, after `ms`, or with the signal; stops listening then. */
async function untilHeard(
  clock: Clock,
  ms: number,
  signal: AbortSignal,
  listen: (done: () => void) => () => void,
): Promise<void> {
  if (signal.aborted) return;
  const heard = new AbortController();
  const wake = (): void => heard.abort();
  // By hand, not by `AbortSignal.any`: its list of followers grows with every call in Node 20.
  signal.addEventListener("abort", wake, { once: true });
  const unlisten = listen(wake);
  try {
    await clock.sleep(ms, heard.signal).catch(() => undefined);
  } finally {
    unlisten();
    signal.removeEventListener("abort", wake);
  }
}

async function* followJob(
  deps: JobWatchDeps,
  jobId: string,
  lastEventId: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<StoredEvent, void, undefined> {
  const { db, feed } = deps;
  let cursor = FIRST_CURSOR;
  let lastType: string | undefined;
  if (lastEventId !== undefined) {
    cursor = (await cursorOfEvent(db, lastEventId)) ?? FIRST_CURSOR;
    lastType = await readEventType(db, lastEventId);
  }
  let hasNews = false;
  const unlisten = feed.onJob(jobId, () => void (hasNews = true));
  try {
    while (!signal.aborted) {
      hasNews = false;
      // Asked before the events are read: an end seen here has its event in the page, or soon will.
      const over = (await readOverAmong(db, [jobId])).get(jobId);
      const page = await readEventsAfter(db, cursor, PAGE, { jobId });
      for (const event of page) {
        cursor = event.cursor;
        lastType = event.type;
        yield event;
      }
      if (page.length === PAGE || hasNews) continue;
      // Of one that was removed everything was told long ago; its last events may be removed too.
      if (over === "gone" || (over === "ended" && (await isToldToTheEnd(db, jobId, lastType)))) {
        return;
      }
      const waitMs = over === "ended" ? LOOK_EVERY_MS : FOLLOW_EVERY_MS;
      await untilHeard(deps.clock, waitMs, signal, (done) => feed.onJob(jobId, done));
    }
  } finally {
    unlisten();
  }
}

/** Whether nothing more will come of an ended job; its events may have been removed long ago. */
async function isToldToTheEnd(
  db: Db,
  jobId: string,
  lastType: string | undefined,
): Promise<boolean> {
  if (lastType !== undefined) return END_TYPES.has(lastType);
  return (await readTimeline(db, jobId, null, 1)).length === 0;
}
