import { seededRandom } from "@holdfast/runtime";
import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, test } from "vitest";
import { SILENT_LOG } from "./log.ts";
import { createLoop } from "./loop.ts";

const setUp = (
  tick: (signal: AbortSignal) => Promise<"more" | "idle" | undefined | void>,
  restMs = 0,
) => {
  const clock = createFakeClock();
  const loop = createLoop({
    name: "test",
    everyMs: 1_000,
    restMs,
    tick,
    clock,
    random: seededRandom(1),
    log: SILENT_LOG,
  });
  return { clock, loop };
};

test("a loop ticks at its pace, and at once while there is more", async () => {
  const outcomes = ["more", "more", "idle"] as const;
  let ticks = 0;
  const { clock, loop } = setUp(async () => outcomes[ticks++]);
  await loop.start();
  await clock.advance(0);
  expect(ticks).toBe(3);
  await clock.advance(999);
  expect(ticks).toBe(3);
  await clock.advance(1);
  expect(ticks).toBe(4);
  await loop.stop();
});

test("a wake ends the pause, one during a tick is not lost", async () => {
  let ticks = 0;
  const { clock, loop } = setUp(async () => {
    ticks += 1;
    if (ticks === 1) loop.wake();
  });
  await loop.start();
  await clock.advance(0);
  expect(ticks).toBe(2);
  loop.wake();
  await clock.advance(0);
  expect(ticks).toBe(3);
  await loop.stop();
});

test("wakes that come while a loop rests are heeded together, by one tick after the rest", async () => {
  let ticks = 0;
  const { clock, loop } = setUp(async () => void (ticks += 1), 100);
  await loop.start();
  await clock.advance(500);
  expect(ticks).toBe(1);
  loop.wake();
  await clock.advance(0);
  expect(ticks).toBe(2); // The first after a quiet time at once.
  for (let at = 0; at < 99; at += 1) {
    loop.wake();
    await clock.advance(1);
  }
  expect(ticks).toBe(2);
  await clock.advance(1);
  expect(ticks).toBe(3);
  await clock.advance(500);
  expect(ticks).toBe(3);
  loop.wake();
  await clock.advance(0);
  loop.wake();
  await loop.stop();
  expect(ticks).toBe(4);
  expect(clock.sleeperCount()).toBe(0);
});

test("a tick that fails is tried again later and later, and the loop lives", async () => {
  let ticks = 0;
  const { clock, loop } = setUp(async () => {
    ticks += 1;
    if (ticks <= 3) throw new Error("no");
  });
  await loop.start();
  const at: number[] = [];
  while (ticks < 4) {
    const before = ticks;
    await clock.advance(10);
    if (ticks > before) at.push(clock.elapsed());
  }
  const gaps = at.slice(1).map((instant, index) => instant - (at[index] ?? 0));
  expect(gaps[1] ?? 0).toBeGreaterThan(gaps[0] ?? 0);
  await loop.stop();
});

test("stop waits for the tick under way and tells it to end", async () => {
  let hasEnded = false;
  const { clock, loop } = setUp(
    (signal) =>
      new Promise((resolve) => {
        signal.addEventListener("abort", () => {
          hasEnded = true;
          resolve();
        });
      }),
  );
  await loop.start();
  await clock.advance(0);
  await loop.stop();
  expect(hasEnded).toBe(true);
  expect(clock.sleeperCount()).toBe(0);
});
