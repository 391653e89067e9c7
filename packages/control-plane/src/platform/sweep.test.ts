import { seededRandom } from "@holdfast/runtime";
import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, test } from "vitest";
import { SILENT_LOG } from "./log.ts";
import { createSweepLoop } from "./sweep.ts";

test("a sweep goes on where its last part ended, tells each pass, and begins again after a pause", async () => {
  const clock = createFakeClock();
  const begun: (number | undefined)[] = [];
  const passes: number[] = [];
  const loop = createSweepLoop<number>({
    name: "test",
    everyMs: 1_000,
    clock,
    random: seededRandom(1),
    log: SILENT_LOG,
    onPass: (removed) => void passes.push(removed),
    step: async (after) => {
      begun.push(after);
      await clock.sleep(10);
      return { removed: 2, next: after === 20 ? undefined : (after ?? 0) + 10 };
    },
  });
  await loop.start();
  await clock.advance(10);
  expect(begun).toEqual([undefined]);
  // It rests three times as long as the step took.
  await clock.advance(29);
  expect(begun).toEqual([undefined]);
  await clock.advance(1 + 10 + 30 + 10);
  expect(begun).toEqual([undefined, 10, 20]);
  expect(passes).toEqual([6]);
  await clock.advance(1_000);
  expect(begun).toEqual([undefined, 10, 20, undefined]);
  const stopped = loop.stop();
  await clock.advance(10);
  await stopped;
});

test("a step that fails is tried again where it was, and a pass without a find tells nothing", async () => {
  const clock = createFakeClock();
  const begun: (number | undefined)[] = [];
  const passes: number[] = [];
  let isBroken = true;
  const loop = createSweepLoop<number>({
    name: "test",
    everyMs: 1_000_000,
    clock,
    random: seededRandom(1),
    log: SILENT_LOG,
    onPass: (removed) => void passes.push(removed),
    step: (after) => {
      begun.push(after);
      if (after === 10 && isBroken) {
        isBroken = false;
        return Promise.reject(new Error("gone"));
      }
      return Promise.resolve({ removed: 0, next: after === 10 ? undefined : 10 });
    },
  });
  await loop.start();
  await clock.advance(0);
  await clock.advance(10_000);
  expect(begun).toEqual([undefined, 10, 10]);
  expect(passes).toEqual([]);
  await loop.stop();
});
