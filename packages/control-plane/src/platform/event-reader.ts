import type { Clock, Random, Service } from "@holdfast/runtime";
import type { Db, Queryable, Transaction } from "./db.ts";
import type { Log } from "./log.ts";
import { createLoop, type Loop } from "./loop.ts";
import type { Listener } from "./notify.ts";
import {
  currentCursor,
  EVENTS_CHANNEL,
  FIRST_CURSOR,
  matchesFilter,
  readEventsAfter,
  type EventCursor,
  type EventFilter,
  type StoredEvent,
} from "./outbox.ts";

/** What both kinds of reader need. */
export interface EventLoopOptions {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Wakes the reader early; polling goes on regardless. */
  readonly listener?: Listener;
  readonly pollEveryMs?: number;
  /** Least time between two reads, however many events come: see `LoopOptions.restMs`. */
  readonly restMs?: number;
  /** Events at once. */
  readonly batch?: number;
}

/** A consumer with a memory: each event is handled once, by one replica. */
export interface EventReaderOptions extends EventLoopOptions {
  /** Names the memory (a row of `event_cursors`); never reuse a name for another purpose. */
  readonly consumer: string;
  /**
   * Handles a batch in the transaction that moves the cursor: what it writes through `tx` happens
   * exactly once; what it does elsewhere may happen again after a crash.
   */
  readonly handle: (events: readonly StoredEvent[], tx: Transaction) => Promise<void>;
  readonly types?: readonly string[];
  /** Where a consumer that was never seen begins. */
  readonly from: "first" | "now";
}

const POLL_EVERY_MS = 500;
const BATCH = 200;

/** Makes a reader with a stored cursor. Replicas may all run it; each batch goes to one of them. */
export function createEventReader(options: EventReaderOptions): Loop {
  const { db, consumer, batch = BATCH } = options;
  const filter = options.types === undefined ? {} : { types: options.types };
  // All events are read and the unwanted dropped here: a cursor that moved only to wanted ones would
  // have the rest read again at every poll, and keep them from being pruned.
  const tick = async (): Promise<"more" | "idle"> => {
    if (!(await hasNews(db, consumer))) return "idle";
    const count = await db.transaction(async (tx) => {
      const cursor = await takeCursor(tx, consumer, options.from);
      if (cursor === undefined) return 0; // Another replica is at it.
      const events = await readEventsAfter(tx, cursor, batch);
      const last = events.at(-1);
      if (last === undefined) return 0;
      const wanted = events.filter((event) => matchesFilter(event, filter));
      if (wanted.length > 0) await options.handle(wanted, tx);
      await moveCursor(tx, consumer, last.cursor);
      return events.length;
    });
    return count === batch ? "more" : "idle";
  };
  return wokenLoop(`events:${consumer}`, tick, options);
}

/** A look without a lock: a row lock costs a transaction id and a write, twice a second for nothing. */
async function hasNews(db: Queryable, consumer: string): Promise<boolean> {
  const { rows } = await db.query<EventCursor>(
    "select xid::text as xid, seq from event_cursors where consumer = $1",
    [consumer],
  );
  const cursor = rows[0];
  // A consumer never seen before has its cursor made by the tick.
  return cursor === undefined || (await readEventsAfter(db, cursor, 1)).length > 0;
}

async function takeCursor(
  tx: Queryable,
  consumer: string,
  from: "first" | "now",
): Promise<EventCursor | undefined> {
  const take = async (): Promise<EventCursor | undefined> => {
    const { rows } = await tx.query<{ xid: string; seq: number }>(
      `select xid::text as xid, seq from event_cursors where consumer = $1 for update skip locked`,
      [consumer],
    );
    return rows[0];
  };
  const taken = await take();
  if (taken !== undefined) return taken;
  const first = from === "now" ? await currentCursor(tx) : FIRST_CURSOR;
  await tx.query(
    `insert into event_cursors (consumer, xid, seq) values ($1, $2::xid8, $3)
     on conflict (consumer) do nothing`,
    [consumer, first.xid, first.seq],
  );
  return await take();
}

async function moveCursor(tx: Queryable, consumer: string, to: EventCursor): Promise<void> {
  await tx.query(
    `update event_cursors set xid = $2::xid8, seq = $3, updated_at = now() where consumer = $1`,
    [consumer, to.xid, to.seq],
  );
}

/** A reader without memory: every replica sees every event from its start on (live streams). */
export interface EventTailOptions extends EventLoopOptions {
  readonly onEvents: (events: readonly StoredEvent[]) => void;
  readonly filter?: EventFilter;
}

/** Makes a tail over the outbox, beginning at the moment of its first tick. */
export function createEventTail(options: EventTailOptions): Loop {
  const { db, batch = BATCH } = options;
  let cursor: EventCursor | undefined;
  const tick = async (): Promise<"more" | "idle"> => {
    cursor ??= await currentCursor(db);
    const events = await readEventsAfter(db, cursor, batch);
    const last = events.at(-1);
    if (last === undefined) return "idle";
    cursor = last.cursor;
    const wanted = events.filter((event) => matchesFilter(event, options.filter ?? {}));
    if (wanted.length > 0) options.onEvents(wanted);
    return events.length === batch ? "more" : "idle";
  };
  return wokenLoop("events:tail", tick, options);
}

function wokenLoop(
  name: string,
  tick: () => Promise<"more" | "idle">,
  options: EventLoopOptions,
): Loop {
  const { clock, random, log, listener, pollEveryMs = POLL_EVERY_MS, restMs = 0 } = options;
  const loop = createLoop({ name, everyMs: pollEveryMs, restMs, tick, clock, random, log });
  let unlisten: (() => void) | undefined;
  return {
    name,
    async start() {
      unlisten ??= listener?.on(EVENTS_CHANNEL, () => loop.wake());
      await loop.start();
    },
    async stop() {
      unlisten?.();
      unlisten = undefined;
      await loop.stop();
    },
    wake: () => loop.wake(),
  } satisfies Service & Loop;
}
