import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { rememberingLog } from "../../testing/fake-host.ts";
import type { GpuDiscovery } from "@holdfast/gpu";
import { createGpuWatch, type GpuWatch } from "./gpu-watch.ts";

const NOBODY = new AbortController().signal;
const HUNG: GpuDiscovery = {
  gpus: [],
  faults: [],
  failure: { kind: "timeout", isNoGpu: false, reason: "no answer", advice: "Reboot." },
  driverVersion: null,
  cudaVersion: null,
};
const NONE: GpuDiscovery = { ...HUNG, failure: null };
const gpu = { index: 0, uuid: "GPU-0", name: "A card", memoryTotalBytes: null };
const ONE: GpuDiscovery = {
  ...NONE,
  gpus: [{ ...gpu, computeCapability: null, devices: [{ gpu, migIndex: null }] }],
};

let clock: FakeClock;
let told: GpuDiscovery;
let asked: number;
let found: number;
let watch: GpuWatch;
let stopping: AbortController;
let running: Promise<void>;

beforeEach(() => {
  clock = createFakeClock();
  told = HUNG;
  asked = 0;
  found = 0;
  stopping = new AbortController();
  watch = createGpuWatch({
    query: {
      discover: () => {
        asked += 1;
        return Promise.resolve(told);
      },
      sample: () => Promise.resolve({ readings: [], faults: [], failure: null }),
    },
    clock,
    log: rememberingLog(),
    onChange: () => undefined,
    onFound: () => (found += 1),
  });
});
afterEach(async () => {
  stopping.abort();
  await running;
});

describe("cards that could not be asked for", () => {
  test.each([
    ["a card", ONE],
    ["that there is none", NONE],
  ])("are asked for soon, then less often, until %s is told", async (_what, answer) => {
    await watch.discover(NOBODY);
    running = watch.run(stopping.signal);
    await clock.advance(36_000);
    expect(asked).toBe(1 + 4); // At once, then after 5, 15 and 35 s.
    expect(found).toBe(0);
    told = answer;
    await clock.advance(60_000);
    expect(found).toBeGreaterThan(0);
    await watch.discover(NOBODY);
    const before = asked;
    await clock.advance(600_000);
    expect(asked).toBe(before);
  });

  test("after they were found: those of before are told on", async () => {
    running = Promise.resolve();
    told = ONE;
    await watch.discover(NOBODY);
    told = HUNG;
    expect(await watch.discover(NOBODY)).toEqual(ONE);
  });
});
