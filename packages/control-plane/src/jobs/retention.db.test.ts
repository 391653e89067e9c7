import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  createTestDatabase,
  emptyTables,
  type TestDatabase,
} from "../../../../test/support/test-database.ts";
import { ANN, createJobsKit, graph, refusal } from "../../testing/jobs-kit.ts";
import type { Db, Queryable, Transaction } from "../platform/db.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { createRetention, type RetentionDeps } from "./retention-service.ts";
import {
  lockUnnamed,
  readUnnamed,
  removeUnnamed,
  tryLockRemoval,
  type SharedTable,
} from "./retention-store.ts";
import { removalRules, type EndedState } from "./retention.ts";

const HOUR_MS = 3_600_000;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ max: 16 });
});
afterAll(() => database.drop());
beforeEach(() =>
  emptyTables(database.db, ["jobs", "graphs", "requirements", "events", "event_cursors"]),
);
const { makeJobs, one, startAttempt, endedJobs } = createJobsKit(() => database.db);

const never = new AbortController().signal;
const rules = removalRules({ endedHours: 24, failedHours: 48 });

function makeRetention(more: Partial<RetentionDeps> = {}) {
  return createRetention({
    db: database.db,
    clock: systemClock,
    log: SILENT_LOG,
    eventRetentionMs: HOUR_MS,
    onRemoved: () => undefined,
    ...more,
  });
}

async function idsLeft(): Promise<Set<string>> {
  const { rows } = await database.db.query<{ id: string }>("select id from jobs");
  return new Set(rows.map((row) => row.id));
}

async function count(table: string): Promise<number> {
  const { rows } = await database.db.query<{ n: number }>(`select count(*) as n from ${table}`);
  return rows[0]?.n ?? 0;
}

/** A database on which something happens right after a statement whose text has `part` in it. */
function after(db: Db, part: string, happens: () => Promise<unknown>): Db {
  const wrap = (on: Queryable): Queryable["query"] =>
    async function query(text, values) {
      const result = await on.query<never>(text, values);
      if ((typeof text === "string" ? text : text.text).includes(part)) await happens();
      return result;
    };
  return {
    ...db,
    query: wrap(db),
    transaction: (fn, options) =>
      db.transaction((tx) => fn({ isTransaction: true, query: wrap(tx) }), options),
  };
}

describe("ended jobs", () => {
  test("go when their time is over, whole; all others stay as they are", async () => {
    const jobs = makeJobs();
    const gone = [
      ...(await endedJobs(jobs, 3, { hoursAgo: 25 })),
      ...(await endedJobs(jobs, 2, { hoursAgo: 24.01, state: "cancelled" })),
      ...(await endedJobs(jobs, 2, { hoursAgo: 49, state: "failed" })),
      ...(await endedJobs(jobs, 2, { hoursAgo: 1_000, state: "timeout" })),
    ];
    const staying = [
      ...(await endedJobs(jobs, 2, { hoursAgo: 23 })),
      ...(await endedJobs(jobs, 2, { hoursAgo: 47, state: "failed" })),
      ...(await endedJobs(jobs, 1, { hoursAgo: 0, state: "timeout" })),
    ];
    const live = [await one(jobs, ANN), await one(jobs, ANN), await one(jobs, ANN)];
    await database.db.query(
      "update jobs set created_at = now() - interval '1 year' where id = any($1::text[])",
      [live],
    );
    await startAttempt(live[1] ?? "");
    await database.db.query("update jobs set state = 'recovering', run_at = now() where id = $1", [
      live[2],
    ]);
    const before = (await jobs.stats(ANN)).removed;
    const told = new Map<string, number>();
    const retention = makeRetention({
      onRemoved: (kind, rows) => void told.set(kind, (told.get(kind) ?? 0) + rows),
    });
    const removed = { jobs: 9, attempts: 9, outputs: 9 };
    expect(await retention.removeEnded(rules, never)).toEqual(removed);
    expect(await idsLeft()).toEqual(new Set([...staying, ...live]));
    expect(gone.length).toBe(9);
    expect([...told.entries()]).toEqual([["job", 9], ["attempt", 9], ["output", 9]]); // prettier-ignore
    expect([await count("attempts"), await count("outputs")]).toEqual([6, 5]);
    expect(await count("leases")).toBe(1);
    // Its bytes are the sweep's business.
    expect(await count("blobs")).toBe(1);
    expect((await jobs.stats(ANN)).removed - before).toBe(9);
    expect(await retention.removeEnded(rules, never)).toMatchObject({ jobs: 0 });
  });

  test("without a rule nothing goes", async () => {
    await endedJobs(makeJobs(), 2, { hoursAgo: 100_000 });
    const none = removalRules({ endedHours: 0, failedHours: 0 });
    expect(await makeRetention().removeEnded(none, never)).toMatchObject({ jobs: 0 });
    expect(await count("jobs")).toBe(2);
  });

  test("many go in several batches, and a signal ends it between two of them", async () => {
    await endedJobs(makeJobs(), 350, { hoursAgo: 30 });
    const abort = new AbortController();
    const retention = makeRetention({
      onRemoved: (kind) => {
        if (kind === "output") abort.abort();
      },
    });
    expect(await retention.removeEnded(rules, abort.signal)).toMatchObject({ jobs: 100 });
    expect(await makeRetention().removeEnded(rules, never)).toMatchObject({ jobs: 250 });
  });

  test("a batch that takes too long is tried again smaller", async () => {
    await endedJobs(makeJobs(), 40, { hoursAgo: 30 });
    const limits: number[] = [];
    const { db } = database;
    const slow: Db = {
      ...db,
      transaction: (fn, options) =>
        db.transaction(
          (tx) =>
            fn({
              ...tx,
              query: async (text, values) => {
                const limit = Number(values?.[4] ?? 0);
                if (limit > 0) limits.push(limit);
                if (limit > 2)
                  await tx.query("set local statement_timeout = 5; select pg_sleep(1)");
                return await tx.query(text, values);
              },
            }),
          options,
        ),
    };
    const removed = await makeRetention({ db: slow }).removeEnded(rules.slice(0, 1), never);
    expect(removed.jobs).toBe(40);
    expect(limits.slice(0, 3)).toEqual([100, 12, 1]);
  });

  test("two replicas remove each job once, and one leaves to the other what that is doing", async () => {
    const jobs = makeJobs();
    await endedJobs(jobs, 400, { hoursAgo: 30 });
    const [a, b] = await Promise.all([
      makeRetention().removeEnded(rules, never),
      makeRetention().removeEnded(rules, never),
    ]);
    expect(a.jobs + b.jobs).toBe(400);
    expect(a.outputs + b.outputs).toBe(400);
    await endedJobs(jobs, 5, { hoursAgo: 30 });
    await database.db.transaction(async (tx) => {
      expect(await tryLockRemoval(tx)).toBe(true);
      expect(await makeRetention().removeEnded(rules, never)).toMatchObject({ jobs: 0 });
    });
    expect(await makeRetention().removeEnded(rules, never)).toMatchObject({ jobs: 5 });
  });

  test("stay while a living reader of events has still to be told of them", async () => {
    const jobs = makeJobs();
    const [id = ""] = await endedJobs(jobs, 1, { hoursAgo: 30 });
    await endedJobs(jobs, 1, { hoursAgo: 40 });
    await database.db.query("delete from events");
    await database.db.query(
      `insert into events (id, type, version, at, owner, job_id, payload)
       select 'evt_' || id, 'job.completed', 1, ended_at, owner, id, '{}' from jobs where id = $1`,
      [id],
    );
    await database.db.query(
      "insert into event_cursors (consumer, xid, seq) values ('webhooks', '0', 0)",
    );
    await makeRetention().removeEnded(rules, never);
    expect(await idsLeft()).toEqual(new Set([id]));
    // Read to the end.
    await database.db.query(
      "update event_cursors set xid = (select xid from events), seq = (select seq from events)",
    );
    expect(await makeRetention().removeEnded(rules, never)).toMatchObject({ jobs: 1 });
  });

  test("do not wait for a reader of events that has died", async () => {
    await endedJobs(makeJobs(), 1, { hoursAgo: 30 });
    await database.db.query("update events set at = now() - interval '31 hours'");
    await database.db.query(
      `insert into event_cursors (consumer, xid, seq, updated_at)
       values ('old', '0', 0, now() - interval '5 hours')`,
    );
    expect(await makeRetention().removeEnded(rules, never)).toMatchObject({ jobs: 1 });
  });
});

describe("a job that is retried while its time is over", () => {
  test("stays when the retry was there first", async () => {
    const jobs = makeJobs();
    const [id = ""] = await endedJobs(jobs, 1, { hoursAgo: 30 });
    const removing = after(database.db, "update jobs j set state = 'queued'", () =>
      // The retry has not committed.
      makeRetention().removeEnded(rules, never),
    );
    await makeJobs({ on: removing }).retry(ANN, id, { force: true });
    expect(await makeRetention().removeEnded(rules, never)).toMatchObject({ jobs: 0 });
    expect((await jobs.get(ANN, id)).status).toBe("recovering");
  });

  test("is not there any more when the removal was there first", async () => {
    const jobs = makeJobs();
    const [id = ""] = await endedJobs(jobs, 1, { hoursAgo: 30 });
    let retrying: Promise<unknown> = Promise.resolve();
    const removing = after(database.db, "gone as (delete from jobs", async () => {
      retrying = refusal(jobs.retry(ANN, id, { force: true }));
      // Until the retry waits for the row.
      for (let look = 0; look < 1_000; look += 1) {
        const { rowCount } = await database.db.query(
          "select 1 from pg_locks where not granted and locktype in ('transactionid', 'tuple')",
        );
        if (rowCount > 0) break;
      }
    });
    const completed = rules.slice(0, 1);
    await makeRetention({ db: removing }).removeEnded(completed, never);
    expect(await retrying).toBe("not_found");
    expect(await count("jobs")).toBe(0);
  });

  test("is either retried or gone, whoever comes when", async () => {
    const jobs = makeJobs();
    let retried = 0;
    for (let round = 0; round < 12; round += 1) {
      const ids = await endedJobs(jobs, 12, { hoursAgo: 30 });
      const [codes] = await Promise.all([
        Promise.all(ids.map((id) => refusal(jobs.retry(ANN, id, { force: true })))),
        makeRetention().removeEnded(rules, never),
        makeRetention().removeEnded(rules, never),
      ]);
      const left = await idsLeft();
      for (const [index, id] of ids.entries()) {
        expect([codes[index], left.has(id)]).toEqual(
          left.has(id) ? [undefined, true] : ["not_found", false],
        );
        if (left.has(id)) retried += 1;
      }
    }
    expect(retried).toBeGreaterThan(0);
    const { rows } = await database.db.query("select distinct state from jobs");
    expect(rows).toEqual([{ state: "queued" }]);
  });
});

describe("random jobs", () => {
  test("exactly those go whose state has ended and whose time is over", async () => {
    const random = seededRandom(99);
    const states = ["completed", "failed", "timeout", "cancelled", "queued"] as const;
    const jobs = makeJobs();
    const staying = new Set<string>();
    for (let index = 0; index < 60; index += 1) {
      const state = states[Math.floor(random.next() * states.length)] ?? "queued";
      const hoursAgo = random.next() * 96;
      if (state === "queued") {
        staying.add(await one(jobs, ANN));
        continue;
      }
      const [id = ""] = await endedJobs(jobs, 1, { state, hoursAgo });
      const kept: Record<EndedState, number> = { completed: 24, cancelled: 24, failed: 48, timeout: 48 }; // prettier-ignore
      if (hoursAgo < kept[state]) staying.add(id);
    }
    await makeRetention().removeEnded(rules, never);
    expect(await idsLeft()).toEqual(staying);
    expect(staying.size).toBeGreaterThan(10);
  });
});

/** Every row of a table that no job names is removed in steps, from its beginning to its end. */
async function sweep(table: SharedTable, on = makeRetention()): Promise<number> {
  let removed = 0;
  let next: number | undefined;
  do {
    const part = await on.removeUnnamed(table, next);
    removed += part.removed;
    next = part.next;
  } while (next !== undefined);
  return removed;
}
const sweepBoth = async (): Promise<void> => {
  await sweep("graphs");
  await sweep("requirements");
};

describe("templates and requirements", () => {
  test("go with their last job, live or ended, and not before", async () => {
    const jobs = makeJobs();
    await jobs.submit(ANN, [
      { graph: graph(1, "a.safetensors") },
      { graph: graph(2, "a.safetensors") },
      { graph: graph(1, "b.safetensors") },
    ]);
    expect(await sweep("graphs")).toBe(0);
    expect(await sweep("requirements")).toBe(0);
    const [a, b] = [await count("graphs"), await count("requirements")];
    expect([a, b]).toEqual([2, 2]);
    await database.db.query(
      `update jobs set state = 'failed', ended_at = now() - interval '9 days'
       where number in (select number from jobs order by number limit 2)`,
    );
    await sweepBoth();
    expect(await count("graphs")).toBe(2);
    await makeRetention().removeEnded(rules, never);
    await sweepBoth();
    expect([await count("graphs"), await count("requirements")]).toEqual([1, 1]);
  });

  test("a table longer than a step is gone through to its end", async () => {
    await database.db.query(
      `insert into graphs (hash, body, node_count, size_bytes)
       select i::text, '{}', 1, 2 from generate_series(1, 1200) i`,
    );
    expect(await sweep("graphs")).toBe(1200);
  });

  test("a submit that remembers them stores them anew when they are gone", async () => {
    const jobs = makeJobs();
    await one(jobs, ANN);
    await database.db.query("delete from jobs");
    await sweepBoth();
    expect([await count("graphs"), await count("requirements")]).toEqual([0, 0]);
    const id = await one(jobs, ANN);
    expect(await jobs.graph(ANN, id)).toEqual(graph());
  });

  test.each([
    ["graphs", "insert into graphs"],
    ["requirements", "insert into requirements"],
  ] as const)(
    "%s that go between the moment a submit finds them and the moment it locks them are stored again",
    async (_table, part) => {
      await one(makeJobs(), ANN);
      await database.db.query("delete from jobs");
      let sweeps = 0;
      const between = after(database.db, part, async () => {
        sweeps += 1;
        if (sweeps === 1) await sweepBoth();
      });
      const jobs = makeJobs({ on: between });
      const id = await one(jobs, ANN);
      expect(await jobs.graph(ANN, id)).toEqual(graph());
      expect(sweeps).toBe(2);
    },
  );

  test.each(["graphs", "requirements"] as const)(
    "%s that a submit has locked stay until it commits, and then because of its job",
    async (table) => {
      await one(makeJobs(), ANN);
      await database.db.query("delete from jobs");
      const found: number[] = [];
      const between = after(database.db, `from ${table} where hash = any`, async () => {
        found.push((await readUnnamed(database.db, table, 0, 10)).ids.length);
        found.push(await sweep(table));
      });
      await one(makeJobs({ on: between }), ANN);
      expect(found).toEqual([1, 0]);
      expect(await sweep(table)).toBe(0);
    },
  );

  test("a submit that commits between the look and the lock keeps what it names", async () => {
    const jobs = makeJobs();
    await one(jobs, ANN);
    await database.db.query("delete from jobs");
    const { ids } = await readUnnamed(database.db, "graphs", 0, 10);
    expect(ids).toHaveLength(1);
    await database.db.transaction(async (tx: Transaction) => {
      await one(makeJobs(), ANN);
      const locked = await lockUnnamed(tx, "graphs", ids);
      expect(locked).toEqual(ids);
      expect(await removeUnnamed(tx, "graphs", locked)).toBe(0);
    });
  });

  test("submits of several replicas that meet removals and sweeps all succeed, and lack nothing", async () => {
    const replicas = [makeJobs(), makeJobs(), makeJobs()];
    const kept = new Map<string, string>();
    let isDone = false;
    const submitting = async (index: number): Promise<void> => {
      const random = seededRandom(index);
      for (let round = 0; round < 40; round += 1) {
        const model = `m${Math.floor(random.next() * 3)}.safetensors`;
        const jobs = replicas[index % replicas.length] ?? makeJobs();
        const { jobs: made } = await jobs.submit(ANN, [{ graph: graph(round, model) }]);
        const id = made[0]?.job.id ?? "";
        // Most end at once and long ago: their templates lose their last job again and again.
        if (random.next() < 0.9) {
          await database.db.query(
            "update jobs set state = 'completed', ended_at = now() - interval '9 days' where id = $1",
            [id],
          );
        } else kept.set(id, model);
      }
    };
    const removing = async (): Promise<void> => {
      while (!isDone) {
        await makeRetention().removeEnded(rules, never);
        await sweepBoth();
      }
    };
    const removers = [removing(), removing()];
    try {
      await Promise.all([0, 1, 2, 3, 4, 5].map(submitting));
    } finally {
      isDone = true;
      await Promise.all(removers);
    }
    await makeRetention().removeEnded(rules, never);
    expect(await idsLeft()).toEqual(new Set(kept.keys()));
    const { rowCount } = await database.db.query(
      "select 1 from jobs j join graphs g on g.id = j.graph_id join requirements r on r.id = j.requirement_id",
    );
    expect(rowCount).toBe(kept.size);
    for (const [id, model] of kept) {
      expect(JSON.stringify(await replicas[0]?.graph(ANN, id))).toContain(model);
    }
  });
});
