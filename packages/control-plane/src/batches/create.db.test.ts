import { isHoldfastError } from "@holdfast/contract";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import {
  book,
  createBatchesKit,
  make,
  pagesOf,
  type BatchesKit,
} from "../../testing/batches-kit.ts";
import { ANN, BOB, graph, refusal } from "../../testing/jobs-kit.ts";

let kit: BatchesKit;
beforeAll(async () => void (kit = await createBatchesKit()));
afterAll(() => kit.close());
beforeEach(() => kit.clear());

async function rows(table: string): Promise<number> {
  const { rows: found } = await kit.db.query<{ count: number }>(
    `select count(*)::int as count from ${table}`,
  );
  return found[0]?.count ?? 0;
}

it("a batch is written whole and makes no job", async () => {
  const replica = kit.replica();
  const { batches } = replica;
  const { batch, created, warnings } = await batches.create(
    ANN,
    book(3, { name: "Castle", tags: ["a"], priority: 5, metadata: { job: 7 } }),
  );
  expect({ created, warnings }).toEqual({ created: true, warnings: [] });
  expect(batch).toMatchObject({
    name: "Castle",
    owner: ANN.id,
    status: "running",
    parallel: true,
    window: 256,
    priority: 5,
    tags: ["a"],
    maxRetries: 3,
    retryBackoffSeconds: [15, 45, 90],
    pageCount: 3,
    pages: { pending: 3, rendering: 0, attention: 0, done: 0, cancelled: 0 },
    progress: { percent: 0, pagesPerMinute: null, secondsLeft: null },
    metadata: { job: 7 },
    endedAt: null,
  });
  expect(await batches.get(ANN, batch.id)).toEqual(batch);
  expect(await batches.get(ANN, String(batch.number))).toEqual(batch);
  expect(await pagesOf(replica, batch.id)).toMatchObject([
    { page: 1, status: "pending", badge: "Pending", retry_count: 0, needs_regeneration: false },
    {
      page: 2,
      job_metadata: { overrides: { "2.seed": 1 }, prompt_ids: [], job_ids: [], version: 1 },
    },
    { page: 3, image_error: [], last_attempted_at: null, jobId: null },
  ]);
  expect(await kit.jobCount()).toBe(0);
  expect(await kit.told()).toEqual(["book.created"]);
  expect(replica.wakes()).toBe(1);
});

it("a page that cannot be written leaves nothing of its batch", async () => {
  await kit.db.query("alter table book_pages add constraint full_disk check (page < 2500)");
  try {
    await expect(make(kit.replica(), book(2_500))).rejects.toThrow(/full_disk/);
  } finally {
    await kit.db.query("alter table book_pages drop constraint full_disk");
  }
  for (const table of ["batches", "book_graphs", "book_pages", "events"]) {
    expect(await rows(table)).toBe(0);
  }
});

it("the same key gives the same batch, and another body is refused", async () => {
  const { batches } = kit.replica();
  const first = await batches.create(ANN, book(2), "k");
  const again = await batches.create(ANN, book(2), "k");
  expect(again).toMatchObject({ created: false, batch: { id: first.batch.id } });
  expect(await refusal(batches.create(ANN, book(3), "k"))).toBe("idempotency_conflict");
  // Keys are a caller's own.
  expect((await batches.create(BOB, book(3), "k")).created).toBe(true);
  expect(await rows("batches")).toBe(2);
});

it("of two that come with one key together one is made", async () => {
  const made = await Promise.all(
    Array.from({ length: 6 }, () => kit.replica().batches.create(ANN, book(50), "k")),
  );
  expect(new Set(made.map(({ batch }) => batch.id)).size).toBe(1);
  expect(made.filter(({ created }) => created)).toHaveLength(1);
  expect(await rows("book_pages")).toBe(50);
});

it("a window for pages that go in order is refused", async () => {
  const { batches } = kit.replica();
  const refused = batches.create(ANN, book(2, { parallel: false, window: 4 }));
  await expect(refused).rejects.toSatisfy((error) => isHoldfastError(error, "invalid_request"));
  const { batch } = await batches.create(ANN, book(2, { parallel: false }));
  expect(batch).toMatchObject({ parallel: false, window: 1 });
});

it("10,000 pages share one graph, and are counted and listed by index", async () => {
  const replica = kit.replica();
  const batch = await make(replica, book(10_000, { paused: true }));
  expect(batch).toMatchObject({ status: "paused", pageCount: 10_000, pages: { pending: 10_000 } });
  expect(await rows("book_graphs")).toBe(1);
  const after = await replica.batches.pages(ANN, batch.id, { after: 7_000, limit: 500 });
  expect(after.items).toHaveLength(500);
  expect(after.items[0]?.page).toBe(7_001);
  expect(after.next).toBe(7_500);
  const none = { after: 0, limit: 50, status: "attention" } as const;
  expect(await replica.batches.pages(ANN, batch.id, none)).toEqual({ items: [], next: null });
  await kit.db.query("analyze book_pages");
  const plans = await Promise.all(
    [
      "state = 'attention' and page > 0 order by page limit 50",
      "page > 7000 order by page limit 50",
      "state = 'pending' and (retry_at is null or retry_at <= now()) order by page limit 100",
    ].map(async (where) => {
      const { rows: lines } = await kit.db.query<Record<string, string>>(
        `explain (analyze, costs off, timing off, summary off)
         select * from book_pages where batch_id = '${batch.id}' and ${where}`,
      );
      return lines.map((line) => Object.values(line).join()).join("\n");
    }),
  );
  for (const plan of plans) {
    expect(plan).toMatch(/Index Scan using book_pages_(?:pkey|by_state)/);
    expect(plan).not.toContain("Sort");
  }
}, 30_000);

it("lists are those of the caller, by status and name, newest first", async () => {
  const replica = kit.replica();
  const castle = await make(replica, book(1, { name: "Castle at dusk" }));
  const river = await make(replica, book(1, { name: "River", paused: true }));
  const other = await make(replica, book(1, { name: "Castle", graph: graph(2) }), BOB);
  const list = async (
    filter: Parameters<typeof replica.batches.list>[1],
    caller = ANN,
    limit = 50,
    cursor: string | null = null,
  ) => {
    const { items, next } = await replica.batches.list(caller, filter, { cursor, limit });
    return { ids: items.map(({ id }) => id), next };
  };
  expect(await list({})).toEqual({ ids: [river.id, castle.id], next: null });
  expect(await list({ status: "paused" })).toMatchObject({ ids: [river.id] });
  expect(await list({ name: "castle" })).toMatchObject({ ids: [castle.id] });
  const root = { id: "local", role: "admin", allowedClasses: null } as const;
  expect(await list({ name: "castle" }, root)).toMatchObject({ ids: [other.id, castle.id] });
  const first = await list({}, ANN, 1);
  expect(first).toEqual({ ids: [river.id], next: river.id });
  expect(await list({}, ANN, 1, first.next)).toEqual({ ids: [castle.id], next: null });
});
