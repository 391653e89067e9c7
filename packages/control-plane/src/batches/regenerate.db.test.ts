/** Pages rendered anew: which, with what, and what is kept of before. */
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import {
  book,
  createBatchesKit,
  disturbed,
  jobsOf,
  make,
  pagesOf,
  statesOf,
  type BatchesKit,
  type Replica,
} from "../../testing/batches-kit.ts";
import { ANN, graph, refusal } from "../../testing/jobs-kit.ts";

let kit: BatchesKit;
beforeAll(async () => void (kit = await createBatchesKit()));
afterAll(() => kit.close());
beforeEach(() => kit.clear());

/** A batch whose first pages are done and whose last ones are flagged. */
async function endedBatch(replica: Replica, done: number, flagged: number): Promise<string> {
  const { id } = await make(replica, book(done + flagged, { maxRetries: 0, window: 1_000 }));
  await replica.settle();
  const jobs = await jobsOf(replica, id);
  await kit.end(jobs.slice(0, done));
  await kit.end(jobs.slice(done), { state: "failed" });
  await replica.settle();
  return id;
}

it("all flagged pages are rendered anew, their batch runs again, and its end is told again", async () => {
  const replica = kit.replica();
  const id = await endedBatch(replica, 1, 2);
  expect(await replica.batches.get(ANN, id)).toMatchObject({ status: "attention" });
  const before = await jobsOf(replica, id);
  expect(await replica.batches.regenerate(ANN, id, {})).toEqual({
    batchId: id,
    pages: [2, 3],
    warnings: [],
  });
  expect(await replica.batches.get(ANN, id)).toMatchObject({ status: "running", endedAt: null });
  expect((await pagesOf(replica, id))[1]).toMatchObject({
    status: "pending",
    version: 2,
    retry_count: 0,
    needs_regeneration: false,
    jobId: null,
    image_error: [{ final: true }],
    job_metadata: { job_ids: [before[1]] },
  });
  await replica.settle();
  const after = await jobsOf(replica, id);
  expect(after[0]).toBe(before[0]);
  expect(after.slice(1)).not.toEqual(before.slice(1));
  expect((await pagesOf(replica, id))[2]?.job_metadata["job_ids"]).toEqual([before[2], after[2]]);
  await kit.end(after);
  await replica.settle();
  expect(await replica.batches.get(ANN, id)).toMatchObject({ status: "completed" });
  expect((await kit.told()).filter((type) => type === "book.done")).toHaveLength(2);
  expect(await replica.batches.regenerate(ANN, id, {})).toMatchObject({ batchId: id, pages: [] });
  expect(await replica.batches.get(ANN, id)).toMatchObject({ status: "completed" });
});

it("named pages are taken all or none, and done ones by force", async () => {
  const replica = kit.replica();
  const id = await endedBatch(replica, 2, 2);
  const { batches } = replica;
  expect(await refusal(batches.regenerate(ANN, id, { pages: [1, 3] }))).toBe("page_busy");
  expect(await refusal(batches.regenerate(ANN, id, { pages: [3, 9] }))).toBe("not_found");
  expect(await statesOf(replica, id)).toBe("1 done, 2 done, 3 attention, 4 attention");
  expect(await batches.regenerate(ANN, id, { pages: [3] })).toMatchObject({ pages: [3] });
  expect(await batches.regenerate(ANN, id, { pages: [1, 4], force: true })).toMatchObject({
    pages: [1, 4],
  });
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 rendering, 2 done, 3 rendering, 4 rendering");
});

it("a page with other values gets a job of them, and keeps both versions", async () => {
  const replica = kit.replica();
  const id = await endedBatch(replica, 1, 1);
  const admin = { id: "key_admin", role: "admin", allowedClasses: null } as const;
  const renewed = await replica.batches.regeneratePage(admin, id, 2, {
    seed: 77,
    set: { "2.steps": 5 },
  });
  expect(renewed.pages).toEqual([2]);
  await replica.settle();
  const [, jobId = ""] = await jobsOf(replica, id);
  expect(await replica.jobs.graph(ANN, jobId)).toMatchObject({
    "2": { inputs: { seed: 77, steps: 5 } },
  });
  // It is its owner's job, whoever asked for it.
  expect(await replica.jobs.get(ANN, jobId)).toMatchObject({ owner: ANN.id });
  expect(await replica.batches.page(ANN, id, 2)).toMatchObject({
    version: 2,
    job_metadata: { overrides: { "2.seed": 77, "2.steps": 5 }, version: 2 },
    versions: [
      { version: 2, jobId, overrides: { "2.seed": 77 }, by: "key_admin" },
      { version: 1, overrides: { "2.seed": 1 }, by: ANN.id, outputs: [], outputsRemoved: false },
    ],
  });
  const misfit = replica.batches.regeneratePage(ANN, id, 1, { set: { "8.seed": 1 } });
  expect(await refusal(misfit)).toBe("override_unmatched");
  expect(await refusal(replica.batches.regeneratePage(ANN, id, 3, {}))).toBe("not_found");
});

it("a variable that is not changed keeps its value from version to version", async () => {
  const replica = kit.replica();
  const template = graph();
  template["3"] = {
    class_type: "SaveImage",
    inputs: { images: ["2", 0], filename_prefix: "{{prompt}}-{{style}}" },
  };
  const pages = [{ prompt: "a-b", set: { style: "c-d" } }];
  const { id } = await make(replica, book(1, { graph: template, pages }));
  const overrides = async (): Promise<unknown> =>
    (await replica.batches.page(ANN, id, 1)).job_metadata["overrides"];
  await replica.batches.regeneratePage(ANN, id, 1, { prompt: "x" });
  expect(await overrides()).toEqual({ "3.filename_prefix": "x-c-d" });
  await replica.batches.regeneratePage(ANN, id, 1, { set: { style: "e" } });
  await replica.batches.regenerate(ANN, id, { pages: [1] });
  await replica.batches.regeneratePage(ANN, id, 1, { prompt: "y" });
  expect(await overrides()).toEqual({ "3.filename_prefix": "y-e" });
});

it("of changes that come together none is lost", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(1, { paused: true }));
  const changes = [
    { seed: 7 },
    { set: { "2.steps": 5 } },
    { set: { "3.filename_prefix": "p" } },
    { set: { "1.ckpt_name": "m" } },
  ];
  await Promise.all(changes.map((one) => replica.batches.regeneratePage(ANN, id, 1, one)));
  expect((await replica.batches.page(ANN, id, 1)).job_metadata).toMatchObject({
    version: 5,
    overrides: { "2.seed": 7, "2.steps": 5, "3.filename_prefix": "p", "1.ckpt_name": "m" },
  });
});

it("a malformed page is mended by other values", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(1, { pages: [{ set: { "9.x": 1 } }], maxRetries: 0 }));
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 attention");
  // As it is, it stays what it is.
  await replica.batches.regenerate(ANN, id, {});
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 attention");
  await replica.batches.regeneratePage(ANN, id, 1, { seed: 4 });
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 rendering");
});

it("a page that renders is left alone, or by force its job is cancelled", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(1));
  await replica.settle();
  const [first = ""] = await jobsOf(replica, id);
  const { batches } = replica;
  expect(await refusal(batches.regeneratePage(ANN, id, 1, {}))).toBe("page_busy");
  expect(await refusal(batches.regenerate(ANN, id, { pages: [1] }))).toBe("page_busy");
  await batches.regeneratePage(ANN, id, 1, { force: true });
  await replica.settle();
  expect(await replica.jobs.get(ANN, first)).toMatchObject({ status: "cancelled" });
  const [second = ""] = await jobsOf(replica, id);
  expect(second).not.toBe(first);
  expect(await statesOf(replica, id)).toBe("1 rendering");
  await kit.end([second]);
  await replica.settle();
  expect(await batches.page(ANN, id, 1)).toMatchObject({
    status: "done",
    versions: [{ jobId: second }, { jobId: first }],
  });
});

it("a page that is renewed while it is given out leaves no job behind", async () => {
  const other = kit.replica();
  const { id } = await make(other, book(1));
  const before = () => other.batches.regeneratePage(ANN, id, 1, { force: true, seed: 5 });
  const replica = kit.replica({ jobs: disturbed(other.jobs, "submit", { before }) });
  await replica.settle();
  await replica.settle();
  const { rows } = await kit.db.query("select state from jobs order by id");
  expect(rows).toEqual([{ state: "cancelled" }, { state: "queued" }]);
  expect((await pagesOf(replica, id))[0]).toMatchObject({ version: 2, status: "rendering" });
});

it("whoever crashes with a page that was renewed meanwhile leaves no job running", async () => {
  const jobs = disturbed(kit.jobsKit.makeJobs(), "submit", { isKilled: true });
  const crashing = kit.replica({ jobs });
  const { id } = await make(crashing, book(1));
  await crashing.settle();
  const replica = kit.replica();
  await replica.batches.regenerate(ANN, id, { pages: [1], force: true });
  await kit.passStale();
  await replica.settle();
  const { rows } = await kit.db.query("select state from jobs order by id");
  expect(rows).toEqual([{ state: "cancelled" }, { state: "queued" }]);
});

it("another round that comes late, after its page was renewed, is cancelled", async () => {
  const other = kit.replica();
  const { id } = await make(other, book(1));
  const before = async (): Promise<void> => {
    await other.batches.regenerate(ANN, id, { pages: [1], force: true });
    await kit.passStale();
    await other.settle();
  };
  const slow = kit.replica({ jobs: disturbed(other.jobs, "retry", { before }) });
  await slow.settle();
  const [first = ""] = await jobsOf(slow, id);
  await kit.end([first], { state: "failed" });
  await slow.settle();
  await kit.passPauses();
  await slow.settle();
  expect(await slow.jobs.get(ANN, first)).toMatchObject({ status: "cancelled" });
  expect((await pagesOf(slow, id))[0]).toMatchObject({ version: 2, status: "rendering" });
});

it("2,100 flagged pages are renewed in steps", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(2_100, { paused: true }));
  await kit.db.query(
    "update book_pages set state = 'attention', ended_at = now() where batch_id = $1",
    [id],
  );
  const { pages } = await replica.batches.regenerate(ANN, id, {});
  expect(pages).toHaveLength(2_100);
  expect(await replica.batches.get(ANN, id)).toMatchObject({ pages: { pending: 2_100 } });
});

it("a batch is left alone while it is being cancelled", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(2));
  await replica.settle();
  await replica.batches.cancel(ANN, id);
  const refused = replica.batches.regenerate(ANN, id, { pages: [1], force: true });
  expect(await refusal(refused)).toBe("batch_not_ended");
  await replica.settle();
  await replica.batches.regenerate(ANN, id, { pages: [1] });
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 rendering, 2 cancelled");
});
