/** What becomes of pages whose jobs end, and of jobs that somebody else changes. */
import { eventSchema } from "@holdfast/contract";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import {
  book,
  createBatchesKit,
  jobsOf,
  make,
  pagesOf,
  statesOf,
  type BatchesKit,
} from "../../testing/batches-kit.ts";
import { ANN } from "../../testing/jobs-kit.ts";
import { readEventsAfter, FIRST_CURSOR } from "../platform/outbox.ts";
import { toEventView } from "../jobs/view.ts";

let kit: BatchesKit;
beforeAll(async () => void (kit = await createBatchesKit()));
afterAll(() => kit.close());
beforeEach(() => kit.clear());

it("a page whose job fails waits, gets fresh rounds of that job, and is flagged at last", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(1, { maxRetries: 2 }));
  await replica.settle();
  const [jobId = ""] = await jobsOf(replica, id);
  await kit.jobsKit.startAttempt(jobId);
  await kit.db.query("delete from leases");
  const waits: number[] = [];
  for (const state of ["failed", "timeout"] as const) {
    await kit.end([jobId], { state });
    const before = Date.now();
    await replica.settle();
    const [page] = await pagesOf(replica, id);
    expect(page).toMatchObject({ status: "pending", badge: "Pending", jobId });
    waits.push(Math.round((Date.parse(page?.retryAt ?? "") - before) / 1_000));
    // Not before its time.
    await replica.settle();
    expect(await statesOf(replica, id)).toBe("1 pending");
    await kit.passPauses();
    await replica.settle();
    expect(await statesOf(replica, id)).toBe("1 rendering");
  }
  expect(waits).toEqual([15, 45]);
  await kit.end([jobId], { state: "failed" });
  await replica.settle();
  const [page] = await pagesOf(replica, id);
  expect(page).toMatchObject({
    status: "attention",
    badge: "Needs attention",
    retry_count: 2,
    needs_regeneration: true,
    retryAt: null,
    image_error: [
      { attempt: 1, final: false, class: "gpu_fault", message: "the card is gone", node_id: "2" },
      { attempt: 2, final: false, job_id: jobId },
      { attempt: 3, final: true, node_type: "KSampler", strategy: "RETRY" },
    ],
  });
  expect(page?.job_metadata["prompt_ids"]).toHaveLength(1);
  expect(await kit.jobCount()).toBe(1);
  expect(await kit.told()).toEqual([
    "book.created",
    "book.page.retry 1",
    "book.page.retry 1",
    "book.page.failed 1",
    "book.done",
  ]);
  expect(replica.told).toEqual(expect.arrayContaining(["book.page.retry", "book.page.failed"]));
});

it("events of books are as the contract says, and their caller's", async () => {
  const replica = kit.replica();
  const { id, number } = await make(replica, book(2, { name: "Castle", maxRetries: 1 }));
  await replica.settle();
  const jobs = await jobsOf(replica, id);
  await kit.end(jobs.slice(1));
  await kit.end(jobs, { state: "failed" });
  await replica.settle();
  await kit.passPauses();
  await replica.settle();
  await kit.end(jobs, { state: "failed" });
  await replica.settle();
  const events = (await readEventsAfter(kit.db, FIRST_CURSOR, 100)).filter(({ type }) =>
    type.startsWith("book."),
  );
  expect(events.map(({ type }) => type)).toEqual([
    "book.created",
    "book.page.retry",
    "book.page.done",
    "book.page.failed",
    "book.done",
  ]);
  for (const event of events) {
    expect(eventSchema.safeParse(toEventView(event)).error).toBeUndefined();
    expect(event).toMatchObject({
      owner: ANN.id,
      payload: { batchId: id, batchNumber: number, name: "Castle" },
    });
  }
  expect(events.at(-1)?.payload).toMatchObject({
    status: "attention",
    pages: { done: 1, attention: 1 },
  });
});

it("poison is flagged at once", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(1));
  await replica.settle();
  await kit.end(await jobsOf(replica, id), { state: "failed", poison: true });
  await replica.settle();
  expect((await pagesOf(replica, id))[0]).toMatchObject({
    status: "attention",
    retry_count: 0,
    image_error: [{ final: true }],
  });
});

it("a page whose job somebody cancels is cancelled, not flagged", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(2));
  await replica.settle();
  const [first = "", second = ""] = await jobsOf(replica, id);
  await replica.jobs.cancel(ANN, first);
  await kit.end([second]);
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 cancelled, 2 done");
  expect(await replica.batches.get(ANN, id)).toMatchObject({ status: "completed" });
});

it("a job that somebody queues again takes its page with it, and opens an ended batch", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(2, { maxRetries: 0 }));
  await replica.settle();
  const jobs = await jobsOf(replica, id);
  await kit.end(jobs, { state: "failed" });
  await replica.settle();
  expect(await replica.batches.get(ANN, id)).toMatchObject({
    status: "attention",
    endedAt: expect.any(String),
  });
  await replica.jobs.retry(ANN, jobs[1] ?? "");
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 attention, 2 rendering");
  expect(await replica.batches.get(ANN, id)).toMatchObject({ status: "running", endedAt: null });
  await kit.end(jobs);
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 attention, 2 done");
  const told = await kit.told();
  expect(told.filter((type) => type === "book.done")).toHaveLength(2);
  // Rendered once more, by force.
  await replica.jobs.retry(ANN, jobs[1] ?? "", { force: true });
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 attention, 2 rendering");
});

it("a page that waits for its round is not given another when its job was queued by hand", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(1));
  await replica.settle();
  const [jobId = ""] = await jobsOf(replica, id);
  await kit.end([jobId], { state: "failed" });
  await replica.settle();
  await replica.jobs.retry(ANN, jobId);
  await replica.settle();
  expect((await pagesOf(replica, id))[0]).toMatchObject({ status: "rendering", retryAt: null });
  await kit.passPauses();
  await replica.settle();
  await kit.end([jobId]);
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 done");
  const { rows } = await kit.db.query("select round from jobs");
  expect(rows).toEqual([{ round: 2 }]);
});

it("a round that began and ended while nobody looked is settled once", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(1));
  await replica.settle();
  const [jobId = ""] = await jobsOf(replica, id);
  await kit.end([jobId], { state: "failed" });
  await replica.settle();
  await replica.jobs.retry(ANN, jobId);
  await kit.end([jobId]);
  await replica.settle();
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 done");
  expect(await kit.told()).toEqual([
    "book.created",
    "book.page.retry 1",
    "book.page.done 1",
    "book.done",
  ]);
});

it("a page whose job is gone before it was settled is flagged", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(1));
  await replica.settle();
  await kit.db.query("delete from jobs");
  await kit.passPauses();
  await replica.settle();
  expect((await pagesOf(replica, id))[0]).toMatchObject({
    status: "attention",
    image_error: [{ message: expect.stringContaining("was removed"), final: true }],
  });
});

it("what jobs with a batch label of their caller's own do is no book's matter", async () => {
  const replica = kit.replica();
  const label = await kit.jobsKit.one(replica.jobs, ANN, { batchId: "nightly" });
  const foreign = await kit.jobsKit.one(replica.jobs, ANN, { batchId: `bat_${"0".repeat(26)}` });
  await kit.end([label, foreign]);
  const { rows } = await kit.db.query("select count(*)::int as count from book_turns");
  expect(rows).toEqual([{ count: 0 }]);
});

it("many ends of one book that cannot be settled keep no other book from its own", async () => {
  const replica = kit.replica();
  const held = await make(replica, book(30));
  const free = await make(replica, book(1));
  await replica.settle();
  await kit.end(await jobsOf(replica, held.id));
  await kit.end(await jobsOf(replica, free.id));
  await kit.db.transaction(async (tx) => {
    await tx.query("select 1 from batches where id = $1 for update", [held.id]);
    await replica.tick();
    expect(await statesOf(replica, free.id)).toBe("1 done");
  });
  await replica.settle();
  expect(await replica.batches.get(ANN, held.id)).toMatchObject({ status: "completed" });
});

it("progress tells the pace of the last pages", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(4, { window: 2 }));
  await replica.settle();
  await kit.end(await jobsOf(replica, id));
  await replica.settle();
  // Not since it was made: it had to wait for a machine.
  await kit.db.query("update batches set created_at = now() - interval '1 hour'");
  await kit.db.query(
    "update book_pages set last_attempted_at = now() - interval '60 seconds' where job_id is not null",
  );
  const { progress } = await replica.batches.get(ANN, id);
  expect(progress.percent).toBe(50);
  expect(progress.pagesPerMinute).toBeGreaterThan(1.9);
  expect(progress.pagesPerMinute).toBeLessThanOrEqual(2);
  expect(progress.secondsLeft).toBeGreaterThanOrEqual(60);
  const { items } = await replica.batches.list(ANN, {}, { cursor: null, limit: 10 });
  expect(items[0]?.progress.percent).toBe(50);
});

it("time left reaches past the last round that is known, and time at rest is no pace", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(4));
  await replica.settle();
  const jobs = await jobsOf(replica, id);
  await kit.db.query("update book_pages set last_attempted_at = now() - interval '4 seconds'");
  await kit.end(jobs.slice(2));
  await kit.end(jobs, { state: "failed" });
  await replica.settle();
  await kit.db.query(
    `update book_pages set retry_at = now() + page * interval '1 minute' where state = 'pending'`,
  );
  const waiting = await replica.batches.get(ANN, id);
  expect(waiting.progress).toMatchObject({ percent: 50, waitingPages: 2 });
  expect(waiting.progress.secondsLeft).toBeGreaterThan(115);
  expect(waiting.progress.secondsLeft).toBeLessThan(125);
  const [first] = await pagesOf(replica, id);
  expect(waiting.progress.nextRoundAt).toBe(first?.retryAt);

  await kit.passPauses();
  await replica.settle();
  await kit.end(await jobsOf(replica, id));
  await replica.settle();
  await kit.db.query(
    `update book_pages set last_attempted_at = last_attempted_at - interval '11 minutes',
       ended_at = ended_at - interval '11 minutes'`,
  );
  await replica.batches.regeneratePage(ANN, id, 2, {});
  expect((await replica.batches.get(ANN, id)).progress.secondsLeft).toBeLessThan(10);
  await replica.settle();
  const again = await replica.batches.get(ANN, id);
  expect(again).toMatchObject({ status: "running", pages: { rendering: 1 } });
  expect(again.progress).toMatchObject({ waitingPages: 0, nextRoundAt: null });
  expect(again.progress.secondsLeft).toBeLessThan(10);
});

it("of a book of 10,000 pages whose half waits for its next round is told how far it is", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(10_000, { paused: true }));
  await kit.db.query(
    `update book_pages set last_attempted_at = now() - interval '1 minute',
       state = case when page <= 5000 then 'done' else 'pending' end,
       ended_at = case when page <= 5000 then now() - page * interval '1 ms' end,
       retry_at = case when page > 5000 then now() + page * interval '1 second' end`,
  );
  await kit.db.query("update batches set status = 'running'");
  const { progress } = await replica.batches.get(ANN, id);
  expect(progress).toMatchObject({ waitingPages: 5_000, percent: 50 });
}, 30_000);
