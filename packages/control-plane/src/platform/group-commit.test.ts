import { isHoldfastError } from "@holdfast/contract";
import { createFakeClock } from "@holdfast/runtime/testing";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createGroupCommit } from "./group-commit.ts";

/** A flush that waits until the test lets it end. */
function heldFlush() {
  const batches: { readonly items: readonly number[]; readonly end: (error?: Error) => void }[] =
    [];
  const flush = (items: readonly number[]): Promise<readonly number[]> =>
    new Promise((resolve, reject) => {
      batches.push({
        items,
        end: (error) =>
          error === undefined ? resolve(items.map((item) => item * 10)) : reject(error),
      });
    });
  return { batches, flush };
}
const turns = async (): Promise<void> => {
  for (let i = 0; i < 20; i += 1) await Promise.resolve();
};

describe("gathering", () => {
  test("when idle an item is flushed at once, those that come meanwhile go together", async () => {
    const { batches, flush } = heldFlush();
    const group = createGroupCommit({ flush, maxBatch: 10, maxWaiting: 100, maxConcurrent: 1 });
    const first = group.add(1);
    await turns();
    expect(batches.map((batch) => batch.items)).toEqual([[1]]);
    const rest = [group.add(2), group.add(3), group.add(4)];
    await turns();
    expect(batches).toHaveLength(1);
    batches[0]?.end();
    expect(await first).toBe(10);
    await turns();
    expect(batches[1]?.items).toEqual([2, 3, 4]);
    batches[1]?.end();
    expect(await Promise.all(rest)).toEqual([20, 30, 40]);
  });

  test("no more flushes run at once than allowed, and none is larger than allowed", async () => {
    const { batches, flush } = heldFlush();
    const group = createGroupCommit({ flush, maxBatch: 2, maxWaiting: 100, maxConcurrent: 2 });
    const all = [1, 2, 3, 4, 5].map((item) => group.add(item));
    await turns();
    expect(batches.map((batch) => batch.items)).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(group.waiting()).toBe(1);
    batches[1]?.end();
    await turns();
    expect(batches[2]?.items).toEqual([5]);
    batches[0]?.end();
    batches[2]?.end();
    expect(await Promise.all(all)).toEqual([10, 20, 30, 40, 50]);
  });

  test("one that lingers waits for company, but not when the batch is full", async () => {
    const clock = createFakeClock();
    const { batches, flush } = heldFlush();
    const group = createGroupCommit({ flush, maxBatch: 2, maxWaiting: 9, lingerMs: 50, clock });
    const one = group.add(1);
    await turns();
    expect(batches).toHaveLength(0);
    await clock.advance(50);
    expect(batches.map((batch) => batch.items)).toEqual([[1]]);
    batches[0]?.end();
    expect(await one).toBe(10);
  });
});

test("one that rests takes the first at once and what follows together", async () => {
  const clock = createFakeClock();
  const { batches, flush } = heldFlush();
  const group = createGroupCommit({
    flush,
    maxBatch: 3,
    maxWaiting: 9,
    rest: { minMs: 50, maxMs: 50 },
    clock,
  });
  void group.add(1);
  await turns();
  expect(batches.map((batch) => batch.items)).toEqual([[1]]);
  batches[0]?.end();
  await clock.advance(10);
  void group.add(2);
  await clock.advance(39);
  void group.add(3);
  expect(batches).toHaveLength(1);
  await clock.advance(1);
  expect(batches[1]?.items).toEqual([2, 3]);
  batches[1]?.end();
  await clock.advance(500);
  void group.add(4);
  await turns();
  expect(batches[2]?.items).toEqual([4]);
});

describe("limits and failures", () => {
  test("over the limit an item is refused as overloaded and the others go on", async () => {
    const { batches, flush } = heldFlush();
    const group = createGroupCommit({ flush, maxBatch: 1, maxWaiting: 1, maxConcurrent: 1 });
    const first = group.add(1);
    await turns();
    const second = group.add(2);
    const refused = await group.add(3).catch((error: unknown) => error);
    expect(isHoldfastError(refused, "overloaded")).toBe(true);
    batches[0]?.end();
    await turns();
    batches[1]?.end();
    expect(await Promise.all([first, second])).toEqual([10, 20]);
  });

  test("a failed batch fails its callers only", async () => {
    const { batches, flush } = heldFlush();
    const group = createGroupCommit({ flush, maxBatch: 1, maxWaiting: 9, maxConcurrent: 1 });
    const first = group.add(1);
    const second = group.add(2);
    await turns();
    batches[0]?.end(new Error("no"));
    await expect(first).rejects.toThrow("no");
    await turns();
    batches[1]?.end();
    expect(await second).toBe(20);
  });

  test("an error as an item's result fails that item alone", async () => {
    const group = createGroupCommit<number, number>({
      flush: (items) =>
        Promise.resolve(items.map((item) => (item === 2 ? new Error("bad") : item))),
      maxBatch: 9,
      maxWaiting: 9,
    });
    const results = await Promise.allSettled([1, 2, 3].map((item) => group.add(item)));
    expect(results.map((result) => result.status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  });

  test("a flush that answers for too few is a bug that every caller hears of", async () => {
    const group = createGroupCommit<number, number>({
      flush: () => Promise.resolve([]),
      maxBatch: 9,
      maxWaiting: 9,
    });
    await expect(group.add(1)).rejects.toThrow(/one result per item/);
  });
});

test("whatever comes when, every item gets its own answer, once, in order, within the limits", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ bad: fc.boolean(), pauses: fc.nat({ max: 4 }) }), { maxLength: 40 }),
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 1, max: 3 }),
      async (items, maxBatch, maxConcurrent) => {
        let running = 0;
        const flushedOnce: number[] = [];
        const group = createGroupCommit<number, string>({
          maxBatch,
          maxWaiting: 1_000,
          maxConcurrent,
          retrySingly: true,
          flush: async (batch) => {
            running += 1;
            expect(running).toBeLessThanOrEqual(maxConcurrent);
            expect(batch.length).toBeLessThanOrEqual(maxBatch);
            for (let i = 0; i < 3; i += 1) await Promise.resolve();
            running -= 1;
            if (batch.some((index) => items[index]?.bad === true)) throw new Error("poisoned");
            flushedOnce.push(...batch);
            return batch.map((index) => `done ${index}`);
          },
        });
        const answers: Promise<string>[] = [];
        for (const [index, { pauses }] of items.entries()) {
          answers.push(group.add(index));
          answers.at(-1)?.catch(() => undefined);
          for (let i = 0; i < pauses; i += 1) await Promise.resolve();
        }
        const settled = await Promise.allSettled(answers);
        await group.drain();
        const told = settled.map((answer) =>
          answer.status === "fulfilled" ? answer.value : "rejected",
        );
        expect(told).toEqual(items.map(({ bad }, index) => (bad ? "rejected" : `done ${index}`)));
        const good = items.flatMap((item, index) => (item.bad ? [] : [index]));
        expect([...flushedOnce].sort((a, b) => a - b)).toEqual(good);
        expect(group.waiting()).toBe(0);
      },
    ),
  );
});
