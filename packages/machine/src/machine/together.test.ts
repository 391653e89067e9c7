import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, test } from "vitest";
import { endAll, throwFailures } from "./end-all.ts";
import { together } from "./together.ts";

test("all are done at once, and waited for", async () => {
  const clock = createFakeClock();
  const done: string[] = [];
  const work = (name: string, ms: number) => async () => {
    await clock.sleep(ms);
    done.push(name);
  };
  const all = together(new AbortController().signal, work("slow", 20), work("quick", 10));
  await clock.advance(20);
  await all;
  expect(done).toEqual(["quick", "slow"]);
});

test("a failure ends the others, and is thrown once they have ended", async () => {
  const clock = createFakeClock();
  const done: string[] = [];
  const all = together(
    new AbortController().signal,
    async () => {
      await clock.sleep(10);
      throw new Error("first");
    },
    async (signal) => {
      await clock.sleep(60_000, signal).catch(() => undefined);
      done.push("ended");
      throw new Error("second");
    },
  ).catch((error: unknown) => `${String(error)} after ${done.join()}`);
  await clock.advance(10);
  expect(await all).toBe("Error: first after ended");
  expect(clock.sleeperCount()).toBe(0);
});

test("everything is ended whatever fails, and what failed is told as one", async () => {
  const done: string[] = [];
  const failures = await endAll(
    () => Promise.reject(new Error("one")),
    () => {
      done.push("two");
      return Promise.resolve();
    },
    () => {
      throw new Error("three");
    },
  );
  expect(done).toEqual(["two"]);
  expect(() => throwFailures("not ended", failures)).toThrow("not ended: one; three");
  expect(() => throwFailures("not ended", [])).not.toThrow();
  expect(() => throwFailures("not ended", ["text"])).toThrow("not ended: text");
});
