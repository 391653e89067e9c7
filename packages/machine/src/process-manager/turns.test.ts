import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, test } from "vitest";
import { createTurns } from "./turns.ts";

const live = new AbortController().signal;

test("one key's turns follow each other, another key's run beside them", async () => {
  const clock = createFakeClock();
  const turns = createTurns();
  const seen: string[] = [];
  const job = (key: string, name: string, ms: number): Promise<string> =>
    turns.take(key, live, async () => {
      seen.push(`${name} from ${clock.elapsed()}`);
      await clock.sleep(ms);
      return name;
    });
  const all = Promise.all([job("a", "a1", 100), job("a", "a2", 10), job("b", "b1", 10)]);
  await clock.advance(200);
  expect(await all).toEqual(["a1", "a2", "b1"]);
  expect(seen).toEqual(["a1 from 0", "b1 from 0", "a2 from 100"]);
});

test("a failed turn does not spoil the next", async () => {
  const turns = createTurns();
  const failed = turns.take("a", live, () => Promise.reject(new Error("no")));
  const next = turns.take("a", live, () => Promise.resolve("yes"));
  await expect(failed).rejects.toThrow("no");
  expect(await next).toBe("yes");
});

test("who is called off while waiting leaves at once, and the next still waits for the first", async () => {
  const clock = createFakeClock();
  const turns = createTurns();
  const seen: string[] = [];
  const first = turns.take("a", live, async () => {
    await clock.sleep(100);
    seen.push("first");
  });
  const off = new AbortController();
  const second = turns.take("a", off.signal, () => {
    seen.push("second");
    return Promise.resolve();
  });
  const third = turns.take("a", live, () => {
    seen.push("third");
    return Promise.resolve();
  });
  off.abort(new Error("called off"));
  await expect(second).rejects.toThrow("called off");
  expect(seen).toEqual([]);
  await clock.advance(100);
  await Promise.all([first, third]);
  expect(seen).toEqual(["first", "third"]);
  await expect(turns.take("a", off.signal, () => Promise.resolve())).rejects.toThrow("called off");
});
