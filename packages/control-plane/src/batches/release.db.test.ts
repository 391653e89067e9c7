/** How pages become jobs: the window, the order, crashes, a full queue, malformed pages. */
import { createBatchSchema, HoldfastError } from "@holdfast/contract";
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
} from "../../testing/batches-kit.ts";
import { ANN, graph, withImage } from "../../testing/jobs-kit.ts";

let kit: BatchesKit;
beforeAll(async () => void (kit = await createBatchesKit()));
afterAll(() => kit.close());
beforeEach(() => kit.clear());

it("pages become jobs in order, as many as the window has room for", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(5, { window: 2, priority: 7, tags: ["t"] }));
  await replica.settle();
  expect(await statesOf(replica, id)).toBe(
    "1 rendering, 2 rendering, 3 pending, 4 pending, 5 pending",
  );
  const [first = "", second = ""] = await jobsOf(replica, id);
  expect(await replica.jobs.get(ANN, first)).toMatchObject({
    batchId: id,
    priority: 7,
    tags: ["t"],
    owner: ANN.id,
  });
  expect(await replica.jobs.graph(ANN, second)).toMatchObject({ "2": { inputs: { seed: 1 } } });
  await kit.end([second]);
  await replica.settle();
  expect(await statesOf(replica, id)).toBe(
    "1 rendering, 2 done, 3 rendering, 4 pending, 5 pending",
  );
  expect((await pagesOf(replica, id))[0]).toMatchObject({
    badge: "Rendering",
    last_attempted_at: expect.any(String),
    job_metadata: { job_ids: [first] },
  });
});

it("in order a page waits until the one before has ended, its retries included", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(3, { parallel: false, maxRetries: 1 }));
  await replica.settle();
  await kit.passPauses();
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 rendering, 2 pending, 3 pending");
  await kit.end(await jobsOf(replica, id), { state: "failed" });
  await replica.settle();
  // It waits for its second round, and the others wait for it.
  expect(await statesOf(replica, id)).toBe("1 pending, 2 pending, 3 pending");
  await kit.passPauses();
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 rendering, 2 pending, 3 pending");
  await kit.end(await jobsOf(replica, id), { state: "failed" });
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 attention, 2 rendering, 3 pending");
  await kit.end(await jobsOf(replica, id));
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 attention, 2 done, 3 rendering");
  expect(await kit.jobCount()).toBe(3);
});

it("a window larger than a step is filled by steps, never over its size", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(300, { window: 250 }));
  await replica.settle();
  expect((await replica.batches.get(ANN, id)).pages).toMatchObject({ rendering: 250, pending: 50 });
  expect(await kit.jobCount()).toBe(250);
});

it("a crash between submit and note makes no second job", async () => {
  const jobs = disturbed(kit.jobsKit.makeJobs(), "submit", { isKilled: true });
  const crashing = kit.replica({ jobs });
  const { id } = await make(crashing, book(4));
  await crashing.settle();
  expect(await kit.jobCount()).toBe(4);
  expect(await statesOf(crashing, id)).toBe("1 rendering, 2 rendering, 3 rendering, 4 rendering");
  expect(await jobsOf(crashing, id)).toEqual(["", "", "", ""]);
  // Another process, some time later: until then whoever has them may only be slow.
  const after = kit.replica();
  await after.settle();
  expect(await jobsOf(after, id)).toEqual(["", "", "", ""]);
  await kit.passStale();
  await after.settle();
  const known = await jobsOf(after, id);
  expect(new Set(known).size).toBe(4);
  expect(known).not.toContain("");
  expect(await kit.jobCount()).toBe(4);
  await kit.end(known);
  await after.settle();
  expect(await after.batches.get(ANN, id)).toMatchObject({ status: "completed" });
});

it("a crash between a retry and its note gives no second round", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(1));
  await replica.settle();
  const [jobId = ""] = await jobsOf(replica, id);
  await kit.end([jobId], { state: "failed" });
  await replica.settle();
  const crashing = kit.replica({ jobs: disturbed(replica.jobs, "retry", { isKilled: true }) });
  await kit.passPauses();
  await crashing.settle();
  // The round is over before anybody sees that it was begun.
  await kit.end([jobId], { state: "failed" });
  await replica.settle();
  await kit.passStale();
  await replica.settle();
  const { rows } = await kit.db.query("select round, state from jobs");
  expect(rows).toEqual([{ round: 2, state: "failed" }]);
  expect((await pagesOf(replica, id))[0]).toMatchObject({
    status: "pending",
    retry_count: 2,
    image_error: [{ attempt: 1 }, { attempt: 2 }],
  });
});

it("a note that comes rounds too late leaves a later round to whoever begins it", async () => {
  const other = kit.replica();
  const { id } = await make(other, book(1));
  const early = { before: () => Promise.reject(new Error("killed")) };
  const killed = kit.replica({ jobs: disturbed(other.jobs, "retry", early) });
  const before = async (): Promise<void> => {
    // Another takes the page over, its first round fails, and whoever was to begin the second is gone.
    await kit.passStale();
    await other.settle();
    await kit.end(await jobsOf(other, id), { state: "failed" });
    await other.settle();
    await kit.passPauses();
    await killed.tick();
  };
  const slow = kit.replica({ jobs: disturbed(other.jobs, "submit", { before }) });
  await slow.settle();
  await kit.passStale();
  await other.settle();
  const { rows } = await kit.db.query("select round, state from jobs");
  expect(rows).toEqual([{ round: 2, state: "queued" }]);
  await kit.end(await jobsOf(other, id));
  await other.settle();
  expect(await statesOf(other, id)).toBe("1 done");
});

it("two replicas give out and settle each page once", async () => {
  const replicas = [kit.replica(), kit.replica(), kit.replica()];
  const [first] = replicas;
  if (first === undefined) throw new Error("none");
  const { id } = await make(first, book(120, { window: 60 }));
  for (let round = 0; round < 40; round += 1) {
    await Promise.all(replicas.map((replica) => replica.tick()));
    const live = await kit.db.query<{ id: string }>("select id from jobs where ended_at is null");
    expect(live.rows.length).toBeLessThanOrEqual(60);
    await kit.end(live.rows.map((row) => row.id));
    await Promise.all(replicas.map((replica) => replica.tick()));
    if ((await first.batches.get(ANN, id)).status === "completed") break;
  }
  expect(await first.batches.get(ANN, id)).toMatchObject({ pages: { done: 120 } });
  expect(await kit.jobCount()).toBe(120);
  const told = await kit.told();
  expect(told.filter((type) => type === "book.done")).toHaveLength(1);
  expect(new Set(told.filter((type) => type.startsWith("book.page.done"))).size).toBe(120);
  expect(told).toHaveLength(122);
});

it("what nobody was woken for is found by the next look", async () => {
  const maker = kit.replica();
  const { id } = await make(maker, book(2, { window: 1 }));
  // Another process, that was told nothing.
  const other = kit.replica();
  await other.tick();
  expect(await statesOf(other, id)).toBe("1 rendering, 2 pending");
  await kit.end(await jobsOf(other, id));
  await other.tick();
  expect(await statesOf(other, id)).toBe("1 done, 2 rendering");
});

it("a full queue is waited for, and no page's fault", async () => {
  const replica = kit.replica({ maxQueuedJobs: 3 });
  const { id } = await make(replica, book(5));
  await replica.settle();
  const pages = await pagesOf(replica, id);
  const rendering = pages.filter(({ status }) => status === "rendering").length;
  expect(rendering).toBeLessThanOrEqual(3);
  const waiting = pages.filter(({ status }) => status === "pending");
  expect(waiting.length).toBeGreaterThanOrEqual(2);
  for (const page of waiting) {
    expect(page).toMatchObject({
      retry_count: 0,
      image_error: [],
      last_attempted_at: null,
      waitingReason: expect.stringContaining("at most 3 may"),
    });
  }
  const roomy = kit.replica();
  await kit.passPauses();
  await roomy.settle();
  expect((await pagesOf(roomy, id)).every(({ status }) => status === "rendering")).toBe(true);
  expect((await pagesOf(roomy, id)).every(({ waitingReason }) => waitingReason === null)).toBe(
    true,
  );
  expect(await kit.jobCount()).toBe(5);
});

it("a malformed page is tried twice and flagged, and the rest is rendered", async () => {
  const replica = kit.replica();
  const request = book(0, {
    pages: [
      { set: { "2.seed": 1 } },
      { set: { "9.text": "nowhere" } },
      { set: { "2.model": ["9", 0] } },
      { set: { "2.seed": 2 } },
    ],
  });
  const { id } = await make(replica, request);
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 rendering, 2 pending, 3 pending, 4 rendering");
  expect((await pagesOf(replica, id))[1]).toMatchObject({
    badge: "Pending",
    retry_count: 1,
    retryAt: expect.any(String),
    last_attempted_at: expect.any(String),
    image_error: [{ subclass: "override_unmatched", attempt: 1, final: false, job_id: null }],
  });
  await kit.end(await jobsOf(replica, id));
  await kit.passPauses();
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 done, 2 attention, 3 attention, 4 done");
  expect((await pagesOf(replica, id))[2]).toMatchObject({
    needs_regeneration: true,
    badge: "Needs attention",
    image_error: [{}, { subclass: "graph_dangling_link", node_id: "2", final: true }],
  });
  expect(await replica.batches.get(ANN, id)).toMatchObject({ status: "attention" });
  expect(await kit.told()).toEqual([
    "book.created",
    "book.page.retry 2",
    "book.page.retry 3",
    "book.page.done 1",
    "book.page.done 4",
    "book.page.failed 2",
    "book.page.failed 3",
    "book.done",
  ]);
  expect(await kit.jobCount()).toBe(2);
});

it("a page whose file arrives before its second try is rendered", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(1, { graph: withImage("late.png"), pages: [{}] }));
  await replica.settle();
  expect((await pagesOf(replica, id))[0]).toMatchObject({
    status: "pending",
    image_error: [{ subclass: "input_missing" }],
  });
  kit.jobsKit.uploaded.set("late.png", "a".repeat(64));
  await kit.passPauses();
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 rendering");
});

it("node classes that the key may not use are its pages' trouble", async () => {
  const replica = kit.replica();
  const request = createBatchSchema.parse({ pages: [{ graph: graph() }] });
  const { id } = await make(replica, request, { ...ANN, allowedClasses: ["SaveImage"] });
  await replica.settle();
  expect((await pagesOf(replica, id))[0]).toMatchObject({
    image_error: [{ subclass: "node_class_forbidden" }],
  });
  expect(await kit.jobCount()).toBe(0);
});

it("a book that breaks does not keep the others from theirs", async () => {
  const jobs = kit.jobsKit.makeJobs();
  const broken = await make(kit.replica(), book(1));
  const replica = kit.replica({
    jobs: {
      ...jobs,
      async submit(caller, requests, options) {
        if (requests[0]?.batchId === broken.id) throw new HoldfastError("internal", "broken");
        return await jobs.submit(caller, requests, options);
      },
    },
  });
  const { id } = await make(replica, book(1));
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 rendering");
  // What was begun of it is taken up, and breaks again, with another's beside it.
  await kit.db.query("update book_pages set releasing_since = now(), job_id = null");
  await kit.passStale();
  await replica.settle();
  expect(await jobsOf(replica, id)).not.toContain("");
  expect(await jobsOf(replica, broken.id)).toEqual([""]);
});
