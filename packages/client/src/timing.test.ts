import { expect, test } from "vitest";
import { growingPause, platformClock } from "./timing.ts";

test.each([
  [0, 250],
  [1, 250],
  [2, 500],
  [4, 2_000],
  [5, 2_000],
  [1_000, 2_000],
])("pause number %i is %i ms", (attempt, ms) => {
  expect(growingPause(attempt, 250, 2_000)).toBe(ms);
});

test("a sleep ends with its signal, with the signal's reason", async () => {
  const over = new AbortController();
  const sleeping = platformClock.sleep(60_000, over.signal);
  over.abort(new Error("enough"));
  await expect(sleeping).rejects.toThrow("enough");
  await expect(platformClock.sleep(60_000, over.signal)).rejects.toThrow("enough");
  await platformClock.sleep(0, new AbortController().signal);
});
