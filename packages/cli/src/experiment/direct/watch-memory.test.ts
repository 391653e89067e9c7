import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, it } from "vitest";
import { createMemoryLooks } from "./watch-memory.ts";

const GB = 2 ** 30;
const settle = () => new Promise((resolve) => setImmediate(resolve));

/** A ComfyUI whose device is so, look after look; the last for ever. */
function ground(type: string, ...freeGb: readonly number[]) {
  const clock = createFakeClock();
  let looks = 0;
  const client = {
    systemStats: async () => {
      const vramFreeBytes = (freeGb[Math.min(looks++, freeGb.length - 1)] ?? 0) * GB;
      const devices = [{ type, vramTotalBytes: 8 * GB, vramFreeBytes }];
      return { kind: "ok", stats: { devices } } as never;
    },
  };
  return { clock, watch: createMemoryLooks(client, clock), looks: () => looks };
}

it("the most that is in use is seen once a second and at the end", async () => {
  const { clock, watch } = ground("cuda", 6, 1, 5);
  const run = watch();
  for (let second = 0; second < 2; second += 1) {
    await clock.advance(1_000);
    await settle();
  }
  expect(await run.end()).toBe(7 * GB);
  expect(await watch().end()).toBe(3 * GB);
});

it("a ComfyUI without a card is asked once a minute, not at the end of every run", async () => {
  const { clock, watch, looks } = ground("cpu");
  for (let run = 0; run < 5; run += 1) expect(await watch().end()).toBeUndefined();
  expect(looks()).toBe(1);
  await clock.advance(60_000);
  await watch().end();
  expect(looks()).toBe(2);
});
