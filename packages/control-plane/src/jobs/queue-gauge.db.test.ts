import { createFakeClock } from "@holdfast/runtime/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { ANN, createJobsKit, graph } from "../../testing/jobs-kit.ts";
import { createQueueGauge, GAUGE_MAX_AGE_MS } from "./queue-gauge.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
const { makeJobs, one, startAttempt } = createJobsKit(() => database.db);

test("jobs about to be accepted count at once, and once only when they are on disk", async () => {
  const clock = createFakeClock();
  const gauge = createQueueGauge(database.db, clock);
  await gauge.refresh();
  expect(gauge.waiting()).toBe(0);
  const reserved = gauge.reserve(ANN.id, 3);
  expect(gauge.waiting()).toBe(3);
  // A reading during which they are not on disk yet must not lose them.
  await gauge.refresh(0);
  expect(gauge.waiting()).toBe(3);
  await makeJobs().submit(
    ANN,
    [1, 2, 3].map((seed) => ({ graph: graph(seed) })),
  );
  reserved.commit();
  expect(gauge.waiting()).toBe(3);
  await gauge.refresh(0);
  expect(gauge.waiting()).toBe(3);
  gauge.reserve(ANN.id, 5).release();
  expect(gauge.waiting()).toBe(3);
  expect((await gauge.standings([ANN.id, "key_new"])).get(ANN.id)).toEqual({
    lastRank: 3,
    waiting: 3,
  });
  expect((await gauge.standings(["key_new"])).get("key_new")).toEqual({ lastRank: 0, waiting: 0 });
});

test("the time of the queue follows what is served, and never falls", async () => {
  const clock = createFakeClock();
  const jobs = makeJobs();
  const { jobs: made } = await jobs.submit(
    ANN,
    Array.from({ length: 5 }, () => ({ graph: graph(), priority: 9 })),
  );
  const { rows } = await database.db.query<{ rank: number }>(
    "select rank from jobs where id = $1",
    [made[3]?.job.id],
  );
  await startAttempt(made[3]?.job.id ?? "");
  const gauge = createQueueGauge(database.db, clock);
  await gauge.refresh();
  expect(gauge.virtualTime(9)).toBe(rows[0]?.rank);
  expect(gauge.virtualTime(0)).toBeLessThan(rows[0]?.rank ?? 0);
  await database.db.query("delete from attempts");
  await clock.advance(GAUGE_MAX_AGE_MS);
  await gauge.refresh();
  expect(gauge.virtualTime(9)).toBe(rows[0]?.rank);
});

test("a failed reading keeps what was counted before it", async () => {
  const clock = createFakeClock();
  let isDown = false;
  const gauge = createQueueGauge(
    {
      ...database.db,
      query: (...query) =>
        isDown ? Promise.reject(new Error("down")) : database.db.query(...query),
    },
    clock,
  );
  await gauge.refresh();
  const before = gauge.waiting();
  gauge.reserve(ANN.id, 2).commit();
  isDown = true;
  await expect(gauge.refresh(0)).rejects.toThrow("down");
  expect(gauge.waiting()).toBe(before + 2);
  isDown = false;
  await one(makeJobs(), ANN);
  await gauge.refresh(0);
  expect(gauge.waiting()).toBe(before + 1);
});
