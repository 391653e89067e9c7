/** What is removed when its time is over, and what is not. */
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { systemClock } from "@holdfast/runtime/system";
import {
  book,
  createBatchesKit,
  jobsOf,
  make,
  pagesOf,
  type BatchesKit,
} from "../../testing/batches-kit.ts";
import { ANN } from "../../testing/jobs-kit.ts";
import { createRetention } from "../jobs/retention-service.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { markRemoved, removeMarked } from "./removal-store.ts";

const HOUR_MS = 3_600_000;
const never = new AbortController().signal;

let kit: BatchesKit;
beforeAll(async () => void (kit = await createBatchesKit()));
afterAll(() => kit.close());
beforeEach(() => kit.clear());

async function removeJobs(): Promise<number> {
  const retention = createRetention({
    db: kit.db,
    clock: systemClock,
    log: SILENT_LOG,
    eventRetentionMs: HOUR_MS,
    onRemoved: () => undefined,
  });
  const rules = [{ state: "completed", olderThanMs: 10 * HOUR_MS }] as const;
  return (await retention.removeEnded(rules, never)).jobs;
}

const endedAgo = (table: string, hours: number) =>
  kit.db.query(
    `update ${table} set ended_at = now() - make_interval(hours => $1) where ended_at is not null`,
    [hours],
  );

it("jobs of a book stay until it has ended and their time is over, pages stay readable", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(2, { window: 1 }));
  await replica.settle();
  const [first = ""] = await jobsOf(replica, id);
  await kit.jobsKit.startAttempt(first);
  await kit.db.query("delete from leases");
  await kit.end([first]);
  await replica.settle();
  // Another job of that age goes; that of the living book stays.
  const other = await kit.jobsKit.one(replica.jobs, ANN, { batchId: "label" });
  await kit.end([other]);
  await endedAgo("jobs", 11);
  expect(await removeJobs()).toBe(1);
  const [, second = ""] = await jobsOf(replica, id);
  await kit.end([second]);
  await replica.settle();
  await endedAgo("jobs", 11);
  // The book has just ended.
  expect(await removeJobs()).toBe(0);
  await endedAgo("batches", 11);
  expect(await removeJobs()).toBe(2);
  expect(await kit.jobCount()).toBe(0);
  const [page] = await pagesOf(replica, id);
  expect(page).toMatchObject({ status: "done", jobId: first, job_metadata: { job_ids: [first] } });
  expect(page?.job_metadata["prompt_ids"]).toHaveLength(1);
  expect(await replica.batches.page(ANN, id, 1)).toMatchObject({
    versions: [{ jobId: first, outputs: [], outputsRemoved: true }],
  });
  const all = await replica.batches.pagesWithOutputs(ANN, id, { after: 0, limit: 10 });
  expect(all.items).toMatchObject([{ outputs: [] }, { outputs: [] }]);
});

it("a book goes some time after its end, not before its jobs, in steps", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(5));
  await replica.settle();
  await kit.end(await jobsOf(replica, id));
  await replica.settle();
  await endedAgo("batches", 50);
  expect(await markRemoved(kit.db, 60 * HOUR_MS, 10)).toBe(0);
  expect(await markRemoved(kit.db, 40 * HOUR_MS, 10)).toBe(0);
  await kit.db.query("delete from jobs");
  expect(await removeMarked(kit.db, 2)).toBe(0);
  expect(await markRemoved(kit.db, 40 * HOUR_MS, 10)).toBe(1);
  expect(await markRemoved(kit.db, 40 * HOUR_MS, 10)).toBe(0);
  const steps: number[] = [];
  for (;;) {
    const removed = await removeMarked(kit.db, 2);
    if (removed === 0) break;
    steps.push(removed);
  }
  expect(steps).toEqual([2, 2, 1, 1]);
  for (const table of ["batches", "book_pages", "book_graphs"]) {
    const { rows } = await kit.db.query(`select count(*)::int as count from ${table}`);
    expect(rows).toEqual([{ count: 0 }]);
  }
});

it("a living book is never removed", async () => {
  await make(kit.replica(), book(1));
  await kit.db.query("update batches set created_at = now() - interval '10 years'");
  expect(await markRemoved(kit.db, HOUR_MS, 10)).toBe(0);
});

it("pages of a whole book are read with their outputs in bounded steps", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(3));
  await replica.settle();
  const jobs = await jobsOf(replica, id);
  await kit.end(jobs.slice(0, 2));
  await replica.settle();
  await kit.db.query(
    "insert into blobs (sha256, size_bytes) values ('s', 1) on conflict do nothing",
  );
  await kit.db.query(
    `insert into outputs (id, job_id, attempt_id, lineage, node_id, ordinal, kind, name, media_type,
       size_bytes, sha256, temporary)
     select 'out_' || j || n, j, 'att_1', 1, '3', n, 'image', n || '.png', 'image/png', 1, 's', false
     from unnest($1::text[]) j, generate_series(0, 1) n`,
    [jobs],
  );
  const first = await replica.batches.pagesWithOutputs(ANN, id, { after: 0, limit: 1 });
  expect(first).toMatchObject({
    items: [{ page: { page: 1 }, outputs: [{ name: "0.png" }, { name: "1.png" }] }],
    next: 1,
  });
  const rest = await replica.batches.pagesWithOutputs(ANN, id, { after: 1, limit: 5 });
  expect(rest).toMatchObject({
    items: [
      { page: { page: 2 }, outputs: [{}, {}] },
      { page: { page: 3 }, outputs: [] },
    ],
    next: null,
  });
  const done = { after: 0, limit: 5, status: "done" } as const;
  expect((await replica.batches.pagesWithOutputs(ANN, id, done)).items).toHaveLength(2);
});
