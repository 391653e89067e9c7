/** What recovery changed in a page's graph is told wherever the page is shown, and for as long. */
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { book, createBatchesKit, jobsOf, make, pagesOf } from "../../testing/batches-kit.ts";
import type { BatchesKit, Replica } from "../../testing/batches-kit.ts";
import { ANN } from "../../testing/jobs-kit.ts";

const SMALLER = { loss: "size", steps: ["Reduced parameters: 4.width 1024 → 816."] } as const;
const IN_PARTS = { loss: "none", steps: ["Decoded in parts."] } as const;

let kit: BatchesKit;
beforeAll(async () => void (kit = await createBatchesKit()));
afterAll(() => kit.close());
beforeEach(() => kit.clear());

const change = (jobId: string, changes: object) =>
  kit.db.query("update jobs set plan = $2 where id = $1", [
    jobId,
    JSON.stringify({ patch: null, changes }),
  ]);

const shown = async (replica: Replica, id: string): Promise<unknown[]> =>
  (await pagesOf(replica, id)).map(({ changes }) => changes);

it("is there while the page renders, when it is done, and when its job is gone", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(3));
  await replica.settle();
  const [first = "", second = "", third = ""] = await jobsOf(replica, id);
  await change(first, SMALLER);
  await change(second, IN_PARTS);
  expect(await shown(replica, id)).toEqual([SMALLER, IN_PARTS, null]);
  expect(await replica.batches.get(ANN, id)).toMatchObject({ changedPages: 0 });
  await kit.end([first, second, third]);
  await replica.settle();
  await kit.db.query("delete from jobs");
  expect(await shown(replica, id)).toEqual([SMALLER, IN_PARTS, null]);
  // What the result is the same with does not count.
  expect(await replica.batches.get(ANN, id)).toMatchObject({ changedPages: 1 });
  expect((await replica.batches.list(ANN, {}, { cursor: null, limit: 5 })).items).toMatchObject([
    { changedPages: 1 },
  ]);
});

it("is of the round that counts: a fresh one begins with the page's own graph", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(1));
  await replica.settle();
  const [jobId = ""] = await jobsOf(replica, id);
  await change(jobId, SMALLER);
  await kit.end([jobId], { state: "failed" });
  await replica.settle();
  expect(await shown(replica, id)).toEqual([null]);
  await kit.passPauses();
  await replica.settle();
  expect(await shown(replica, id)).toEqual([null]);
  await kit.end([jobId]);
  await replica.settle();
  expect(await shown(replica, id)).toEqual([null]);
});

it("stays with the version it was made of", async () => {
  const replica = kit.replica();
  const { id } = await make(replica, book(1));
  await replica.settle();
  const jobs = await jobsOf(replica, id);
  await change(jobs[0] ?? "", SMALLER);
  await kit.end(jobs);
  await replica.settle();
  await replica.batches.regenerate(ANN, id, { pages: [1], force: true });
  await replica.settle();
  await kit.end(await jobsOf(replica, id));
  await replica.settle();
  expect(await replica.batches.page(ANN, id, 1)).toMatchObject({
    changes: null,
    versions: [
      { version: 2, changes: null },
      { version: 1, changes: SMALLER },
    ],
  });
  expect(await replica.batches.get(ANN, id)).toMatchObject({ changedPages: 0 });
});
