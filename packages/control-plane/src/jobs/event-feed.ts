/**
 * Events as callers follow them live: one tail over the outbox for the whole process, handed on to
 * every stream and every wait. The tail is a hint that comes early; whoever waits for something looks
 * into the database as well.
 */
import { HoldfastError, type EventType } from "@holdfast/contract";
import type { Service } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import { createEventTail, type EventLoopOptions } from "../platform/event-reader.ts";
import { createEventQueue } from "../platform/http/event-queue.ts";
import {
  cursorOfEvent,
  readEventsAfter,
  type EventCursor,
  type StoredEvent,
} from "../platform/outbox.ts";

/** Which events to follow; all that are given must fit. */
export interface FeedFilter {
  readonly owner: string | null;
  readonly types: readonly string[] | null;
  readonly batchId: string | null;
}

/** Live events of this process. */
export interface EventFeed extends Service {
  /**
   * Events of these types were written by this process: read them now, without the notification's
   * way round, if anybody listens for such.
   */
  wake(written: readonly EventType[]): void;
  /**
   * Hears the events of one job after their commit. Returns what ends it. Throws `overloaded` when
   * too many listen.
   */
  onJob(jobId: string, listener: (event: StoredEvent) => void): () => void;
  /**
   * Events from now on, or from after the event named. Ends with the signal, and when the reader is
   * too slow: it may come back with the id of the last one it saw.
   */
  follow(
    filter: FeedFilter,
    lastEventId: string | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<StoredEvent, void, undefined>;
}

/** Events that wait for one slow reader at most. */
const MAX_QUEUED_EVENTS = 2_000;
/** Streams of everything that one process serves at once: each event is shown to each of them. */
const MAX_STREAMS = 1_000;
/** Listeners to single jobs at once. */
const MAX_JOB_LISTENERS = 20_000;
/** Events read at once while a reader catches up. */
const CATCH_UP_PAGE = 500;

/** Live events are read at most so often: a job's few events of one moment cost one read, not three. */
const REST_MS = 4;

/** Makes the feed; it reads nothing before `start`. */
export function createEventFeed(options: EventLoopOptions): EventFeed {
  /** Each stream's listener, and the types that it is for; null for all. */
  const streams = new Map<(event: StoredEvent) => void, readonly string[] | null>();
  const byJob = new Map<string, Set<(event: StoredEvent) => void>>();
  let jobListeners = 0;
  const tail = createEventTail({
    restMs: REST_MS,
    ...options,
    onEvents: (events) => {
      for (const event of events) {
        for (const listener of streams.keys()) listener(event);
        for (const listener of byJob.get(event.jobId ?? "") ?? []) listener(event);
      }
    },
  });
  return {
    name: "jobs:event-feed",
    start: () => tail.start(),
    stop: () => tail.stop(),
    wake(written) {
      const isHeard = [...streams.values()].some(
        (types) => types === null || written.some((type) => types.includes(type)),
      );
      // The others are read past by the next poll.
      if (isHeard || byJob.size > 0) tail.wake();
    },
    onJob(jobId, listener) {
      if (jobListeners >= MAX_JOB_LISTENERS) throw tooMany();
      const all = byJob.get(jobId) ?? new Set();
      byJob.set(jobId, all.add(listener));
      jobListeners += 1;
      return () => {
        if (!all.delete(listener)) return;
        jobListeners -= 1;
        if (all.size === 0 && byJob.get(jobId) === all) byJob.delete(jobId);
      };
    },
    async *follow(filter, lastEventId, signal) {
      const queue = createEventQueue<StoredEvent>(MAX_QUEUED_EVENTS);
      if (streams.size >= MAX_STREAMS) throw tooMany();
      const listener = (event: StoredEvent): void => {
        if (fits(event, filter)) queue.push(event);
      };
      streams.set(listener, filter.types);
      try {
        const from =
          lastEventId === undefined ? undefined : await cursorOfEvent(options.db, lastEventId);
        let last = from;
        if (from !== undefined) {
          for await (const event of catchUp(options.db, filter, from, signal)) {
            last = event.cursor;
            if (fits(event, filter)) yield event;
          }
        }
        for await (const event of queue.read(signal)) {
          if (last === undefined || isAfter(event.cursor, last)) yield event;
        }
      } finally {
        streams.delete(listener);
        queue.end();
      }
    },
  };
}

function tooMany(): HoldfastError {
  return new HoldfastError("overloaded", "too many callers follow events here; poll instead", {
    retryAfterSeconds: 10,
  });
}

async function* catchUp(
  db: Db,
  filter: FeedFilter,
  from: EventCursor,
  signal: AbortSignal,
): AsyncGenerator<StoredEvent, void, undefined> {
  const known = {
    ...(filter.owner !== null && { owner: filter.owner }),
    ...(filter.types !== null && { types: filter.types }),
  };
  for (let cursor = from; !signal.aborted;) {
    const page = await readEventsAfter(db, cursor, CATCH_UP_PAGE, known);
    yield* page;
    const last = page.at(-1);
    if (last === undefined || page.length < CATCH_UP_PAGE) return;
    cursor = last.cursor;
  }
}

function fits(event: StoredEvent, filter: FeedFilter): boolean {
  if (filter.owner !== null && event.owner !== filter.owner) return false;
  if (filter.types !== null && !filter.types.includes(event.type)) return false;
  return filter.batchId === null || batchOf(event) === filter.batchId;
}

function batchOf(event: StoredEvent): unknown {
  const { payload } = event;
  return typeof payload === "object" && payload !== null && "batchId" in payload
    ? payload.batchId
    : null;
}

/** The order in which the outbox is read: transaction, then place. Transaction ids have 64 bits. */
function isAfter(a: EventCursor, b: EventCursor): boolean {
  return a.xid === b.xid ? a.seq > b.seq : BigInt(a.xid) > BigInt(b.xid);
}
