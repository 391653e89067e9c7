import { seededRandom } from "@holdfast/runtime";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { ANN, BOB, createJobsKit, graph, ROOT } from "../../testing/jobs-kit.ts";
import type { Db, Queryable } from "../platform/db.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { migrate, migrationsFolder } from "../platform/migrations.ts";
import {
  foldTransitions,
  pruneEndCounts,
  readCounts,
  readRecentEnds,
  readRemovedCount,
  tryLockFolding,
  vacuumTransitions,
  type RecentEnds,
} from "./count-store.ts";

const HOUR_MS = 60 * 60 * 1000;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
const { makeJobs, one, startAttempt, endAttempt } = createJobsKit(() => database.db);

/** Counts of jobs as the table itself has them. */
async function countTable(db: Queryable): Promise<unknown[]> {
  const { rows } = await db.query(
    `select owner, state, held, count(*) as jobs from jobs group by owner, state, held
     order by owner collate "C", state collate "C", held`,
  );
  return rows;
}

async function countKept(db: Queryable): Promise<unknown[]> {
  const key = (count: { owner: string; state: string; held: boolean }): string =>
    `${count.owner} ${count.state} ${count.held}`;
  return [...(await readCounts(db, null))].sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

/** Holds the ends of the last hour against the table, at one instant of the database. */
function expectRecentEnds(db: Db, owner: string): Promise<RecentEnds> {
  return db.transaction(async (tx) => {
    const { rows } = await tx.query(
      `select count(*) filter (where state = 'completed') as completed,
         count(*) filter (where state in ('failed', 'timeout')) as failed
       from jobs where owner = $1
         and date_trunc('minute', ended_at) > now() - interval '1 hour'`,
      [owner],
    );
    const ends = await readRecentEnds(tx, owner, HOUR_MS);
    expect(ends).toEqual(rows[0]);
    return ends;
  });
}

const fold = (limit: number): Promise<number> =>
  database.db.transaction(async (tx) => {
    expect(await tryLockFolding(tx)).toBe(true);
    return await foldTransitions(tx, limit);
  });

test("counts and recent ends equal the table through random changes, folded or not", async () => {
  const jobs = makeJobs();
  const { jobs: made } = await jobs.submit(
    BOB,
    Array.from({ length: 80 }, () => ({ graph: graph(), tags: ["count"] })),
  );
  const random = seededRandom(4711);
  let removed = 0;
  for (const [index, { job }] of made.entries()) {
    const dice = random.next();
    if (dice < 0.6) await startAttempt(job.id);
    if (dice < 0.4) await endAttempt(job.id, dice < 0.2 ? "completed" : "failed");
    if (dice > 0.5) await jobs.cancel(BOB, job.id);
    if (dice > 0.9) await jobs.retry(BOB, job.id);
    if (dice < 0.1) await jobs.retry(BOB, job.id, { force: true });
    if (dice > 0.3 && dice < 0.4) {
      await database.db.query("delete from jobs where id = $1", [job.id]);
      removed += 1;
    }
    if (dice > 0.45 && dice < 0.5) {
      await database.db.query("update jobs set ended_at = now() - interval '50 minutes' where id = $1 and ended_at is not null", [job.id]); // prettier-ignore
    }
    if (index % 20 !== 7) continue;
    await fold(10);
    expect(await countKept(database.db)).toEqual(await countTable(database.db));
  }
  expect(removed).toBeGreaterThan(2);
  const check = async (): Promise<void> => {
    expect(await countKept(database.db)).toEqual(await countTable(database.db));
    const ends = await expectRecentEnds(database.db, BOB.id);
    expect(ends.completed).toBeGreaterThan(0);
    expect(ends.failed).toBeGreaterThan(0);
    expect(await readRemovedCount(database.db, BOB.id)).toBe(removed);
  };
  await check();
  expect(await fold(10_000)).toBeGreaterThan(20);
  await vacuumTransitions(database.db);
  expect((await database.db.query("select 1 from job_transitions")).rowCount).toBe(0);
  await check();
  const stats = await jobs.stats(BOB);
  const { rows } = await database.db.query<{ jobs: number }>(
    "select count(*) as jobs from jobs where owner = $1",
    [BOB.id],
  );
  expect(Object.values(stats.jobs).reduce((sum, n) => sum + n, 0)).toBe(rows[0]?.jobs);
});

test("a change that touches nothing counted leaves no transition", async () => {
  const id = await one(makeJobs(), ANN);
  await fold(10_000);
  await database.db.query(
    "update jobs set waiting_reason = 'x', lease_epoch = lease_epoch + 1 where id = $1",
    [id],
  );
  expect((await database.db.query("select 1 from job_transitions")).rowCount).toBe(0);
});

test("counts read while others change and fold are never off", async () => {
  const jobs = makeJobs();
  await jobs.submit(
    ANN,
    Array.from({ length: 150 }, () => ({ graph: graph(), batchId: "moving" })),
  );
  const before = (await readCounts(database.db, ANN.id)).reduce((sum, c) => sum + c.jobs, 0);
  const ids = (
    await database.db.query<{ id: string }>("select id from jobs where batch_id = 'moving'")
  ).rows.map((row) => row.id);
  let isDone = false;
  const change = async (): Promise<void> => {
    for (const id of ids) await startAttempt(id);
    isDone = true;
  };
  const keepFolding = async (): Promise<void> => {
    while (!isDone) {
      await database.db.transaction(async (tx) => {
        if (await tryLockFolding(tx)) await foldTransitions(tx, 3);
      });
    }
  };
  let looks = 0;
  const look = async (): Promise<void> => {
    while (!isDone) {
      const counts = await readCounts(database.db, ANN.id);
      expect(counts.reduce((sum, count) => sum + count.jobs, 0)).toBe(before);
      looks += 1;
    }
  };
  await Promise.all([change(), keepFolding(), keepFolding(), look()]);
  expect(looks).toBeGreaterThan(5);
  expect(await countKept(database.db)).toEqual(await countTable(database.db));
});

test("the oldest waiting job of a caller is its own, and none while all are held", async () => {
  const jobs = makeJobs();
  const carl = { ...ANN, id: "key_carl" };
  expect((await jobs.stats(carl)).oldestQueuedAgeMs).toBeNull();
  const id = await one(jobs, carl);
  await database.db.query("update jobs set created_at = now() - interval '3 hours' where id = $1", [
    id,
  ]);
  const first = (await jobs.stats(carl)).oldestQueuedAgeMs ?? 0;
  expect(Math.round(first / HOUR_MS)).toBe(3);
  expect((await jobs.stats(ROOT)).oldestQueuedAgeMs).not.toBeNull();
  await database.db.query("update jobs set held = true where id = $1", [id]);
  expect(await jobs.stats(carl)).toMatchObject({ oldestQueuedAgeMs: null, held: 1 });
});

test("minutes that have passed are neither counted nor kept", async () => {
  const id = await one(makeJobs(), ANN);
  await startAttempt(id);
  await endAttempt(id, "completed");
  await fold(10_000);
  const before = await readRecentEnds(database.db, ANN.id, HOUR_MS);
  await database.db.query("update job_end_counts set minute = minute - interval '61 minutes'");
  expect(await readRecentEnds(database.db, ANN.id, HOUR_MS)).toEqual({ completed: 0, failed: 0 });
  expect(before.completed).toBeGreaterThan(0);
  expect(await pruneEndCounts(database.db)).toBe(0);
  await database.db.query("update job_end_counts set minute = minute - interval '61 minutes'");
  expect(await pruneEndCounts(database.db)).toBeGreaterThan(0);
});

test("what was counted before the migration still counts after it", async () => {
  const old = await createTestDatabase({ migrated: false });
  const folder = await mkdtemp(join(tmpdir(), "holdfast-migrations-"));
  try {
    const first = "0001_spine.sql";
    await copyFile(join(migrationsFolder(), first), join(folder, first));
    await migrate(old.db, { folder, log: SILENT_LOG });
    await old.db.query(
      `with g as (
         insert into graphs (hash, body, node_count, size_bytes) values ('g', '{}', 1, 2) returning id
       ), r as (insert into requirements (hash, needs) values ('r', '{}') returning id)
       insert into jobs (id, owner, state, rank, requirement_id, graph_id, timeout_ms, ended_at)
       select 'job_' || i, 'key_ann',
         case when i % 3 = 0 then 'queued' when i % 3 = 1 then 'completed' else 'failed' end,
         i, r.id, g.id, 1000,
         case when i % 3 > 0 then now() - make_interval(mins => i) end
       from generate_series(1, 180) i, g, r`,
    );
    // Some of it folded, some of it not.
    await old.db.query(
      `with taken as (delete from job_count_deltas where state <> 'queued' returning *)
       insert into job_counts (owner, state, held, jobs)
       select owner, state, held, sum(jobs) from taken group by 1, 2, 3`,
    );
    await migrate(old.db, { folder: migrationsFolder(), log: SILENT_LOG });
    expect(await countKept(old.db)).toEqual(await countTable(old.db));
    const ends = await expectRecentEnds(old.db, "key_ann");
    expect(ends.completed).toBeGreaterThan(15);
    const { rowCount } = await old.db.query("select 1 from job_count_deltas");
    expect(rowCount).toBe(0);
  } finally {
    await rm(folder, { recursive: true });
    await old.drop();
  }
});
