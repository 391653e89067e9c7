import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { createDb } from "./db.ts";
import { createEventReader, createEventTail } from "./event-reader.ts";
import { SILENT_LOG } from "./log.ts";
import { createListener, createNotifier } from "./notify.ts";
import {
  appendEvents,
  currentCursor,
  cursorOfEvent,
  EVENTS_CHANNEL,
  FIRST_CURSOR,
  pruneEvents,
  readEventsAfter,
  repairAfterRestore,
  type EventCursor,
  type NewEvent,
  type StoredEvent,
} from "./outbox.ts";

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

const event = (id: string, over: Partial<NewEvent> = {}): NewEvent => ({
  id,
  type: "thing.happened",
  version: 1,
  owner: "anna",
  payload: { id },
  ...over,
});
const append = (...events: NewEvent[]): Promise<void> =>
  database.db.transaction((tx) => appendEvents(tx, events));
const ids = (events: readonly StoredEvent[]): string[] => events.map((found) => found.id);
const gate = (): { opened: Promise<void>; open: () => void } => {
  let open: () => void = () => undefined;
  return { opened: new Promise<void>((resolve) => (open = resolve)), open: () => open() };
};
const parts = {
  clock: systemClock,
  random: systemRandom,
  log: SILENT_LOG,
};

/** A transaction that writes an event and commits when told to. */
const slowCommitter = async (id: string): Promise<{ commit: () => Promise<void> }> => {
  const written = gate();
  const mayCommit = gate();
  const done = database.db.transaction(async (tx) => {
    await appendEvents(tx, [event(id)]);
    written.open();
    await mayCommit.opened;
  });
  await written.opened;
  return {
    commit: async () => {
      mayCommit.open();
      await done;
    },
  };
};

describe("reading in commit order", () => {
  test("an event committed late under an earlier number is not skipped", async () => {
    const slow = await slowCommitter("slow");
    await append(event("fast"));
    const early = await readEventsAfter(database.db, FIRST_CURSOR, 10);
    await slow.commit();
    const cursor = early.at(-1)?.cursor ?? FIRST_CURSOR;
    const late = await readEventsAfter(database.db, cursor, 10);
    expect([...ids(early), ...ids(late)]).toEqual(["slow", "fast"]);
  });

  test("a reader that trusts numbers alone loses the slow committer's event", async () => {
    // The twin of the test above, without the guard: it shows what the guard is for.
    const naive = async (after: number): Promise<{ seq: number; id: string }[]> => {
      const { rows } = await database.db.query<{ seq: number; id: string }>(
        "select seq, id from events where seq > $1 order by seq",
        [after],
      );
      return rows;
    };
    const slow = await slowCommitter("slow");
    await append(event("fast"));
    const early = await naive(0);
    await slow.commit();
    const late = await naive(early.at(-1)?.seq ?? 0);
    expect([...early, ...late].map((row) => row.id)).toEqual(["fast"]);
  });

  test("many writers at once: a reader sees every event once", async () => {
    const seen: string[] = [];
    let cursor: EventCursor = FIRST_CURSOR;
    let isWriting = true;
    const read = async (): Promise<void> => {
      for (;;) {
        const last = !isWriting;
        const events = await readEventsAfter(database.db, cursor, 7);
        seen.push(...ids(events));
        cursor = events.at(-1)?.cursor ?? cursor;
        if (last && events.length === 0) return;
      }
    };
    const reading = read();
    const writers = Array.from({ length: 6 }, async (_, writer) => {
      for (let round = 0; round < 25; round += 1) {
        await database.db.transaction(async (tx) => {
          await appendEvents(tx, [event(`${writer}-${round}-a`)]);
          if (round % 3 === writer % 3) await tx.query("select pg_sleep(0.002)");
          await appendEvents(tx, [event(`${writer}-${round}-b`)]);
        });
      }
    });
    await Promise.all(writers);
    isWriting = false;
    await reading;
    expect(seen).toHaveLength(300);
    expect(new Set(seen).size).toBe(300);
  });

  test("what is rolled back is never seen, and the same id is written once", async () => {
    await database.db
      .transaction(async (tx) => {
        await appendEvents(tx, [event("undone")]);
        throw new Error("no");
      })
      .catch(() => undefined);
    await append(event("once"));
    await append(event("once"), event("twice"));
    expect(ids(await readEventsAfter(database.db, FIRST_CURSOR, 10))).toEqual(["once", "twice"]);
  });
});

describe("filters and places", () => {
  test("events are found by owner, type and job, and carry their facts", async () => {
    await append(
      event("a", { owner: "anna", jobId: "job_1", payload: { n: [1] } }),
      event("b", { owner: "ben", jobId: "job_1" }),
      event("c", { owner: "anna", type: "thing.ended" }),
    );
    const read = (filter: Parameters<typeof readEventsAfter>[3]): Promise<string[]> =>
      readEventsAfter(database.db, FIRST_CURSOR, 10, filter).then(ids);
    expect(await read({ owner: "anna" })).toEqual(["a", "c"]);
    expect(await read({ types: ["thing.ended"] })).toEqual(["c"]);
    expect(await read({ jobId: "job_1" })).toEqual(["a", "b"]);
    expect(await read({ jobId: "job_1", owner: "ben" })).toEqual(["b"]);
    const [first] = await readEventsAfter(database.db, FIRST_CURSOR, 1);
    expect(first).toMatchObject({ jobId: "job_1", payload: { n: [1] }, version: 1 });
  });

  test("a client that names the last event it saw gets what followed", async () => {
    await append(event("a"));
    await append(event("b"));
    const cursor = await cursorOfEvent(database.db, "a");
    expect(ids(await readEventsAfter(database.db, cursor ?? FIRST_CURSOR, 10))).toEqual(["b"]);
    expect(await cursorOfEvent(database.db, "gone")).toBeUndefined();
  });

  test("reading from now on gives nothing of before and everything after, running writers included", async () => {
    await append(event("before"));
    const slow = await slowCommitter("running");
    const cursor = await currentCursor(database.db);
    await slow.commit();
    await append(event("after"));
    expect(ids(await readEventsAfter(database.db, cursor, 10))).toEqual(["running", "after"]);
  });
});

describe("readers with a memory", () => {
  const readerOf = (handled: string[], failOnce = false) => {
    let mustFail = failOnce;
    const full = gate();
    const reader = createEventReader({
      ...parts,
      db: database.db,
      consumer: "test",
      from: "first",
      pollEveryMs: 5,
      batch: 3,
      handle: async (events, tx) => {
        await tx.query("select 1");
        if (mustFail) {
          mustFail = false;
          throw new Error("handler broke");
        }
        handled.push(...ids(events));
        if (handled.length >= 8) full.open();
      },
    });
    return { reader, full: full.opened };
  };
  const eight = Array.from({ length: 8 }, (_, index) => event(`e${index}`));

  test("two replicas share the work, nothing is handled twice", async () => {
    await append(...eight);
    const handled: string[] = [];
    const one = readerOf(handled);
    const two = readerOf(handled);
    await Promise.all([one.reader.start(), two.reader.start()]);
    await Promise.race([one.full, two.full]);
    await Promise.all([one.reader.stop(), two.reader.stop()]);
    expect(handled.sort((a, b) => (a < b ? -1 : 1))).toEqual(eight.map((written) => written.id));
  });

  test("a batch whose handler failed is handled again", async () => {
    await append(...eight);
    const handled: string[] = [];
    const { reader, full } = readerOf(handled, true);
    await reader.start();
    await full;
    await reader.stop();
    expect(handled).toEqual(eight.map((written) => written.id));
  });

  test("a reader started again goes on where the last one ended", async () => {
    await append(...eight);
    const first: string[] = [];
    const one = readerOf(first);
    await one.reader.start();
    await one.full;
    await one.reader.stop();
    const again: string[] = Array.from({ length: 7 }, () => "filler");
    const two = readerOf(again);
    await append(event("new"));
    await two.reader.start();
    await two.full;
    await two.reader.stop();
    expect(again.at(-1)).toBe("new");
    expect(again).toHaveLength(8);
  });
});

test("a consumer of one type moves past all others, so that they can be pruned", async () => {
  const done = gate();
  const handled: string[] = [];
  const reader = createEventReader({
    ...parts,
    db: database.db,
    consumer: "picky",
    from: "first",
    types: ["thing.ended"],
    pollEveryMs: 5,
    batch: 2,
    handle: async (events) => {
      handled.push(...ids(events));
      done.open();
    },
  });
  const others = Array.from({ length: 7 }, (_, index) => event(`other${index}`));
  await append(...others, event("wanted", { type: "thing.ended" }));
  await append(event("last"));
  await reader.start();
  await done.opened;
  await reader.stop();
  expect(handled).toEqual(["wanted"]);
  const later = Date.now() + 3_600_000;
  const pruned = { olderThanMs: 60_000, limit: 100, nowMs: later };
  await database.db.query("update event_cursors set updated_at = $1", [
    new Date(later).toISOString(),
  ]);
  expect(await pruneEvents(database.db, pruned)).toBeGreaterThanOrEqual(8);
});

test("a notification wakes a tail long before it would poll", async () => {
  const connection = { ...parts, target: database.url };
  const listener = createListener({ ...connection, processName: "hears" });
  const notifier = createNotifier({ ...connection, processName: "tells" });
  const seen = gate();
  const woken = gate();
  const told: string[] = [];
  listener.on(EVENTS_CHANNEL, () => woken.open());
  const tail = createEventTail({
    ...parts,
    db: database.db,
    listener,
    pollEveryMs: 60_000,
    onEvents: (events) => {
      told.push(...ids(events));
      seen.open();
    },
  });
  await tail.start();
  await listener.start();
  await woken.opened; // The listener is connected, and the tail has looked once.
  await append(event("a"));
  notifier.notify(EVENTS_CHANNEL);
  await seen.opened;
  await Promise.all([tail.stop(), listener.stop(), notifier.stop()]);
  expect(told).toEqual(["a"]);
});

describe("upkeep", () => {
  test("old events go, those a consumer has still to read stay", async () => {
    await append(event("read"));
    const [read] = await readEventsAfter(database.db, FIRST_CURSOR, 1);
    await append(event("unread"));
    await database.db.query(
      "insert into event_cursors (consumer, xid, seq) values ('slow', $1::xid8, $2)",
      [read?.cursor.xid, read?.cursor.seq],
    );
    const later = Date.now() + 3_600_000;
    await database.db.query("update event_cursors set updated_at = $1", [
      new Date(later).toISOString(),
    ]);
    expect(
      await pruneEvents(database.db, { olderThanMs: 7_200_000, limit: 10, nowMs: later }),
    ).toBe(0);
    expect(await pruneEvents(database.db, { olderThanMs: 60_000, limit: 10, nowMs: later })).toBe(
      1,
    );
    expect(ids(await readEventsAfter(database.db, FIRST_CURSOR, 10))).toEqual(["unread"]);
    // Nobody waits for ever for a consumer that is gone.
    const muchLater = { olderThanMs: 60_000, limit: 10, nowMs: later + 600_000 };
    expect(await pruneEvents(database.db, muchLater)).toBe(1);
  });

  test("a dump restored where transaction ids are low is read on, nothing is skipped", async () => {
    await append(event("handled"), event("unread"));
    const far = "900000000000";
    await database.db.query("update events set xid = $1::xid8", [far]);
    await database.db.query(
      `insert into event_cursors (consumer, xid, seq)
       select 'test', xid, seq from events where id = 'handled'`,
    );
    expect(await readEventsAfter(database.db, FIRST_CURSOR, 10)).toEqual([]);
    expect(await database.db.transaction(repairAfterRestore)).toBe(true);
    expect(await database.db.transaction(repairAfterRestore)).toBe(false);
    await append(event("new"));
    const { rows } = await database.db.query<EventCursor>(
      "select xid::text as xid, seq from event_cursors where consumer = 'test'",
    );
    const events = await readEventsAfter(database.db, rows[0] ?? FIRST_CURSOR, 10);
    expect(ids(events)).toEqual(["unread", "new"]);
  });
});

describe("wake-up calls", () => {
  test("a burst of notifications becomes few, and each payload arrives", async () => {
    const connection = { ...parts, target: database.url };
    const listener = createListener({ ...connection, processName: "hears" });
    const notifier = createNotifier({ ...connection, processName: "tells" });
    const connected = gate();
    const last = gate();
    const payloads: (string | undefined)[] = [];
    listener.on("test_channel", (payload) => {
      payloads.push(payload);
      if (payload === undefined) connected.open();
      if (payload === "last") last.open();
    });
    await listener.start();
    await connected.opened;
    for (let i = 0; i < 1_000; i += 1) notifier.notify("test_channel", i % 2 === 0 ? "a" : "b");
    notifier.notify("test_channel", "last");
    await last.opened;
    await Promise.all([listener.stop(), notifier.stop()]);
    expect(payloads).toEqual([undefined, "a", "b", "last"]);
  });

  test("nothing is sent while only the sender's own process listens", async () => {
    const own = { ...parts, target: database.url, processName: "one" };
    const clock = createFakeClock();
    const listener = createListener(own);
    const notifier = createNotifier({ ...own, clock });
    const heard: (string | undefined)[] = [];
    const connected = gate();
    listener.on("test_channel", (payload) => {
      heard.push(payload);
      connected.open();
    });
    await listener.start();
    await connected.opened;
    notifier.notify("test_channel", "alone");
    await expect.poll(() => clock.sleeperCount()).toBe(1); // It has sent, or found nobody.
    const other = createListener({ ...own, processName: "two" });
    const listens = gate();
    const arrived = gate();
    other.on("test_channel", (payload) => (payload === undefined ? listens : arrived).open());
    await other.start();
    await listens.opened;
    await clock.advance(2_000);
    notifier.notify("test_channel", "together");
    await arrived.opened;
    await clock.advance(2_000);
    await Promise.all([listener.stop(), other.stop(), notifier.stop()]);
    expect(heard).toEqual([undefined, "together"]);
  });

  test("a listener whose connection is cut comes back and has everybody look again", async () => {
    const listener = createListener({
      ...parts,
      target: database.url,
      processName: "cut-me",
    });
    const first = gate();
    const second = gate();
    let calls = 0;
    listener.on("test_channel", (payload) => {
      calls += payload === undefined ? 1 : 0;
      (calls === 1 ? first : second).open();
    });
    await listener.start();
    await first.opened;
    await database.db.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'holdfast-listener-cut-me'",
    );
    await second.opened;
    await listener.stop();
    expect(calls).toBe(2);
  });
});

test("a pool that finds no server says that it is a connection failure", async () => {
  const lost: unknown[] = [];
  const db = createDb({
    ...parts,
    target: "postgres://nobody:none@127.0.0.1:1/none",
    applicationName: "test",
    onConnectionLost: (error) => lost.push(error),
  });
  await expect(db.query("select 1")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  expect(lost).toHaveLength(1);
  await db.close();
});
