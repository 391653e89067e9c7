/** Pause, resume, cancel, another priority or window, and removal by hand. */
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import {
  book,
  createBatchesKit,
  disturbed,
  jobsOf,
  make,
  statesOf,
  type BatchesKit,
} from "../../testing/batches-kit.ts";
import { ANN, BOB, refusal, ROOT } from "../../testing/jobs-kit.ts";

let kit: BatchesKit;
beforeAll(async () => void (kit = await createBatchesKit()));
afterAll(() => kit.close());
beforeEach(() => kit.clear());

it("a paused batch gives nothing out, what runs goes on, and a resume goes on with the rest", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(3, { window: 1 }));
  await replica.settle();
  await replica.batches.pause(ANN, id);
  await replica.settle();
  await kit.end(await jobsOf(replica, id));
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 done, 2 pending, 3 pending");
  expect(await replica.batches.get(ANN, id)).toMatchObject({ status: "paused" });
  await replica.batches.resume(ANN, id);
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 done, 2 rendering, 3 pending");
});

it("a retry whose time has come waits for the resume as well", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(1));
  await replica.settle();
  await kit.end(await jobsOf(replica, id), { state: "failed" });
  await replica.batches.pause(ANN, id);
  await replica.settle();
  await kit.passPauses();
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 pending");
  await replica.batches.resume(ANN, id);
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 rendering");
});

it("a paused batch ends when its last page has", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(1));
  await replica.settle();
  await replica.batches.pause(ANN, id);
  await kit.end(await jobsOf(replica, id));
  await replica.settle();
  expect(await replica.batches.get(ANN, id)).toMatchObject({ status: "completed" });
});

it("a cancel ends live jobs and all pages that have not ended, and tells the end once", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(2_500, { window: 4, maxRetries: 0 }));
  await replica.settle();
  const [done = "", failed = "", running = ""] = await jobsOf(replica, id);
  await kit.end([done]);
  await kit.end([failed], { state: "failed" });
  await replica.settle();
  await kit.jobsKit.startAttempt(running);
  const cancelled = await replica.batches.cancel(ANN, id);
  expect(await replica.batches.view(cancelled)).toMatchObject({ status: "cancelled" });
  // Again: the same.
  await replica.batches.cancel(ANN, id);
  await replica.settle();
  expect(await replica.batches.get(ANN, id)).toMatchObject({
    status: "cancelled",
    pages: { pending: 0, rendering: 0, done: 1, attention: 1, cancelled: 2_498 },
    endedAt: expect.any(String),
  });
  const { rows } = await kit.db.query(
    "select state, count(*)::int as jobs from jobs group by state order by state",
  );
  expect(rows).toEqual([
    { state: "cancelled", jobs: 4 },
    { state: "completed", jobs: 1 },
    { state: "failed", jobs: 1 },
  ]);
  expect((await kit.told()).filter((type) => type === "book.done")).toHaveLength(1);
  expect(await refusal(replica.batches.resume(ANN, id))).toBe("batch_ended");
  expect(await refusal(replica.batches.pause(ANN, id))).toBe("batch_ended");
});

it("a job that is made while its batch is cancelled is cancelled as well", async () => {
  const other = kit.replica();
  const { id } = await make(other, book(1));
  const before = async (): Promise<void> => {
    await other.batches.cancel(ANN, id);
    await other.tick();
  };
  const replica = kit.replica({ jobs: disturbed(other.jobs, "submit", { before }) });
  await replica.settle();
  await kit.passPauses();
  await replica.settle();
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 cancelled");
  expect((await kit.db.query("select state from jobs")).rows).toEqual([{ state: "cancelled" }]);
});

it("another priority reaches jobs that wait, and those that are made later", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(3, { window: 2 }));
  await replica.settle();
  await replica.batches.change(ANN, id, { priority: 50, window: 3, name: "Dusk" });
  await replica.settle();
  const { rows } = await kit.db.query(
    "select distinct priority, count(*)::int as jobs from jobs group by 1",
  );
  expect(rows).toEqual([{ priority: 50, jobs: 3 }]);
  expect(await replica.batches.get(ANN, id)).toMatchObject({
    priority: 50,
    window: 3,
    name: "Dusk",
  });
});

it("a priority that changes while a page is given out reaches that page's job", async () => {
  const other = kit.replica();
  const { id } = await make(other, book(1));
  const before = async (): Promise<void> => {
    await other.batches.change(ANN, id, { priority: 9 });
    await other.tick();
  };
  const replica = kit.replica({ jobs: disturbed(other.jobs, "submit", { before }) });
  await replica.settle();
  expect((await kit.db.query("select priority from jobs")).rows).toEqual([{ priority: 9 }]);
});

it("a priority that changes while a page waits for its round counts for that round", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(1));
  await replica.settle();
  await kit.end(await jobsOf(replica, id), { state: "failed" });
  await replica.settle();
  await replica.batches.change(ANN, id, { priority: 9 });
  await replica.settle();
  await kit.passPauses();
  await replica.settle();
  expect((await kit.db.query("select priority, state from jobs")).rows).toEqual([
    { priority: 9, state: "queued" },
  ]);
});

it("a window stays one where pages go in order", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(2, { parallel: false }));
  expect(await refusal(replica.batches.change(ANN, id, { window: 2 }))).toBe("invalid_request");
});

it("a batch is removed when it has ended, and its jobs stay", async () => {
  const replica = kit.replica();
  const { id, number } = await make(replica, book(1));
  await replica.settle();
  expect(await refusal(replica.batches.remove(ANN, id))).toBe("batch_not_ended");
  await kit.end(await jobsOf(replica, id));
  await replica.settle();
  await replica.batches.remove(ANN, id);
  expect(await refusal(replica.batches.get(ANN, id))).toBe("not_found");
  expect(await refusal(replica.batches.get(ANN, String(number)))).toBe("not_found");
  expect(await kit.jobCount()).toBe(1);
});

it("batches of others are not there, but for operators", async () => {
  const replica = kit.replica();
  const { id, number } = await make(replica, book(1));
  const { batches } = replica;
  for (const ask of [
    () => batches.get(BOB, id),
    () => batches.get(BOB, String(number)),
    () => batches.pages(BOB, id, { after: 0, limit: 1 }),
    () => batches.page(BOB, id, 1),
    () => batches.pause(BOB, id),
    () => batches.resume(BOB, id),
    () => batches.cancel(BOB, id),
    () => batches.change(BOB, id, { priority: 1 }),
    () => batches.remove(BOB, id),
    () => batches.regenerate(BOB, id, {}),
    () => batches.regeneratePage(BOB, id, 1, {}),
    () => batches.pagesWithOutputs(BOB, id, { after: 0, limit: 1 }),
  ]) {
    expect(await refusal(ask())).toBe("not_found");
  }
  expect(await batches.get(ROOT, id)).toMatchObject({ id, owner: ANN.id });
});
