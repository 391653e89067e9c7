import * as fc from "fast-check";
import { expect, test } from "vitest";
import { chooseNext, DownloadPool } from "./download-pool.ts";

const waiting = (sizeBytes: number | null, isNeeded = false) => ({ sizeBytes, isNeeded });

test("what somebody waits for comes first, then what is or may be largest", () => {
  expect(chooseNext([])).toBe(-1);
  expect(chooseNext([waiting(1), waiting(3), waiting(2)])).toBe(1);
  expect(chooseNext([waiting(9), waiting(null), waiting(5)])).toBe(1);
  expect(chooseNext([waiting(9), waiting(1, true), waiting(null)])).toBe(1);
  expect(chooseNext([waiting(1), waiting(1)])).toBe(0);
});

interface Opened {
  readonly key: string;
  end(): void;
  fail(error: Error): void;
}

/** A pool whose jobs end when the test says so. */
function poolOf(parallel: number, sizes: Readonly<Record<string, number | null>>) {
  const pool = new DownloadPool<string>(parallel);
  const running: Opened[] = [];
  for (const [key, sizeBytes] of Object.entries(sizes)) {
    pool.add({
      key,
      sizeBytes,
      run: (signal, onProgress) =>
        new Promise((resolve, reject) => {
          onProgress(1, sizeBytes);
          signal.addEventListener("abort", () => reject(signal.reason as Error));
          running.push({ key, end: () => resolve(key), fail: reject });
        }),
    });
  }
  pool.start();
  return { pool, running, keys: () => running.map(({ key }) => key) };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test("never more than the limit run, and each that ends makes room", async () => {
  const { pool, running, keys } = poolOf(2, { a: 1, b: 3, c: 2, d: 4 });
  expect(keys()).toEqual(["d", "b"]);
  running[0]?.end();
  await turn();
  expect(keys()).toEqual(["d", "b", "c"]);
  const a = pool.result("a");
  running[1]?.fail(new Error("broken"));
  await turn();
  expect(keys()).toEqual(["d", "b", "c", "a"]);
  await expect(pool.result("b")).rejects.toThrow("broken");
  running[3]?.end();
  expect(await a).toBe("a");
  expect(await pool.result("unknown")).toBeUndefined();
  expect(pool.total()).toEqual({ jobs: 4, endedJobs: 3, doneBytes: 4, totalBytes: 10 });
  running[2]?.end();
  await pool.close(new Error("over"));
});

test("closing ends what runs and what waits, and waits for the end", async () => {
  const { pool } = poolOf(1, { a: 1, b: null });
  const results = Promise.allSettled([pool.result("a"), pool.result("b")]);
  expect(pool.total().totalBytes).toBeNull();
  await pool.close(new Error("over"));
  expect((await results).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  pool.add({ key: "late", sizeBytes: 1, run: async () => "late" });
  await expect(pool.result("late")).rejects.toThrow("over");
});

test("every job runs once, never more than the limit at a time, in whatever order they are wanted", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5 }),
      fc.array(fc.option(fc.nat(9)), { maxLength: 20 }),
      fc.array(fc.nat(19), { maxLength: 20 }),
      async (parallel, sizes, wanted) => {
        const pool = new DownloadPool<number>(parallel);
        let running = 0;
        let most = 0;
        const runs = sizes.map(() => 0);
        for (const [at, sizeBytes] of sizes.entries()) {
          const run = async () => {
            running += 1;
            most = Math.max(most, running);
            runs[at] = (runs[at] ?? 0) + 1;
            await turn();
            running -= 1;
            return at;
          };
          pool.add({ key: String(at), sizeBytes, run });
          pool.add({ key: String(at), sizeBytes, run });
        }
        await Promise.all(wanted.map((at) => pool.result(String(at))));
        pool.start();
        await Promise.all(sizes.map((_, at) => pool.result(String(at))));
        expect(runs.every((count) => count === 1)).toBe(true);
        expect(most).toBeLessThanOrEqual(parallel);
      },
    ),
    { numRuns: 30 },
  );
});
