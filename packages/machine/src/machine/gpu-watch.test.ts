import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { beforeEach, expect, test } from "vitest";
import { rememberingLog } from "../../testing/fake-host.ts";
import type { FoundGpu, GpuDiscovery, GpuFault, GpuReading, GpuSample } from "@holdfast/gpu";
import { createGpuWatch, type GpuWatch } from "./gpu-watch.ts";

const NOBODY = new AbortController().signal;
let clock: FakeClock;
let log: ReturnType<typeof rememberingLog>;
let discoveries: (GpuDiscovery | Error)[];
let samples: (GpuSample | Error)[];
let asked: string[];
let told: string[];
let watch: GpuWatch;

const card = (index: number, isUsable = true): FoundGpu => {
  const gpu = { index, uuid: `GPU-${index}`, name: "A card", memoryTotalBytes: 100 };
  return {
    index,
    uuid: gpu.uuid,
    name: gpu.name,
    computeCapability: "8.9",
    devices: isUsable ? [{ gpu, migIndex: null }] : [],
  };
};
const found = (gpus: readonly FoundGpu[], over: Partial<GpuDiscovery> = {}): GpuDiscovery => ({
  gpus,
  faults: [],
  failure: null,
  driverVersion: "550",
  cudaVersion: "12.4",
  ...over,
});
const failed = (isNoGpu: boolean): GpuDiscovery =>
  found([], {
    failure: { kind: "timeout", isNoGpu, reason: "nvidia-smi hangs", advice: "Look." },
  });
const reading = (index: number): GpuReading =>
  ({
    index,
    uuid: `GPU-${index}`,
    memoryTotalBytes: 128,
    memoryUsedBytes: 64,
    utilizationPercent: 50,
    temperatureC: 60,
  }) as GpuReading;
const sample = (over: Partial<GpuSample> = {}): GpuSample => ({
  readings: [reading(0)],
  faults: [],
  failure: null,
  ...over,
});
const lost = (index: number): GpuFault => ({
  index,
  uuid: `GPU-${index}`,
  kind: "lost",
  isUsable: false,
  reason: `GPU ${index} has fallen off the bus`,
  advice: "Reboot.",
});
/** The next of these, the last one for ever. */
const next = <T>(queue: (T | Error)[]): Promise<T> => {
  const one = (queue.length > 1 ? queue.shift() : queue[0]) ?? new Error("nothing planned");
  return one instanceof Error ? Promise.reject(one) : Promise.resolve(one);
};

beforeEach(() => {
  clock = createFakeClock();
  log = rememberingLog();
  discoveries = [found([card(0)])];
  samples = [sample()];
  asked = [];
  told = [];
  watch = createGpuWatch({
    query: {
      discover: (_signal, expected) => {
        asked.push(`discover ${expected?.join(",") ?? ""}`);
        return next(discoveries);
      },
      sample: (_signal, expected) => {
        asked.push(`sample ${expected?.join(",") ?? ""}`);
        return next(samples);
      },
    },
    clock,
    log,
    onChange: () => told.push("change"),
    onFound: () => told.push("found"),
  });
});
const run = () => {
  const stop = new AbortController();
  const running = watch.run(stop.signal);
  return async () => {
    stop.abort();
    await running;
    expect(clock.sleeperCount()).toBe(0);
  };
};

test("cards are found, and looked at each minute", async () => {
  const end = run();
  await clock.advance(0);
  expect(watch.facts()).toEqual([
    {
      index: 0,
      uuid: "GPU-0",
      name: "A card",
      health: "ok",
      memoryTotalBytes: 100,
      memoryUsedBytes: null,
      utilization: null,
      temperatureCelsius: null,
    },
  ]);
  await clock.advance(60_000);
  expect(watch.facts()[0]).toMatchObject({
    memoryTotalBytes: 128,
    memoryUsedBytes: 64,
    utilization: 0.5,
    temperatureCelsius: 60,
  });
  expect(watch.told()[0]).toMatchObject({ driver: "550", fault: null, memoryTotalBytes: 128 });
  await end();
  expect(asked).toEqual(["discover ", "sample 0"]);
  expect(told).toEqual(["change"]);
});

test("a fault is told once, with what to do, and when it is over", async () => {
  await watch.discover(NOBODY);
  samples = [sample({ faults: [lost(0)] }), sample({ faults: [lost(0)] }), sample()];
  const end = run();
  await clock.advance(60_000);
  expect(watch.facts()[0]?.health).toBe("GPU 0 has fallen off the bus");
  expect(watch.told()[0]?.fault).toBe("GPU 0 has fallen off the bus");
  expect(log.lines.filter((line) => line.includes("card has a fault"))).toHaveLength(1);
  await clock.advance(60_000);
  expect(watch.facts()[0]?.health).toBe("ok");
  expect(told).toEqual(["change", "change", "change"]);
  await end();
});

test("a program that hangs forgets no fault and takes no card away", async () => {
  await watch.discover(NOBODY);
  const hangs = sample({ readings: [], failure: { kind: "timeout", reason: "it hangs" } });
  samples = [sample({ faults: [lost(0)] }), hangs, hangs, new Error("spawn failed")];
  const end = run();
  await clock.advance(120_000);
  expect(watch.facts()[0]).toMatchObject({ health: "GPU 0 has fallen off the bus" });
  expect(watch.facts()[0]?.memoryUsedBytes).toBeNull();
  expect(log.lines.filter((line) => line.includes("it hangs"))).toHaveLength(1);
  await clock.advance(60_000);
  expect(log.lines.join()).toContain("cards could not be looked at");
  discoveries = [failed(false)];
  expect((await watch.discover(NOBODY)).gpus).toHaveLength(1);
  await end();
});

test("a card that is lost is told of on, though discovery finds it no more", async () => {
  discoveries = [found([card(0), card(1)]), found([card(0)], { faults: [lost(1)] })];
  await watch.discover(NOBODY);
  await watch.discover(NOBODY);
  expect(asked).toEqual(["discover ", "discover 0,1"]);
  expect(watch.told().map(({ index, fault }) => [index, fault])).toEqual([
    [0, null],
    [1, "GPU 1 has fallen off the bus"],
  ]);
});

test("a card on which nothing can be done is told as such by two looks, until it is well again", async () => {
  discoveries = [found([card(0), card(1)])];
  const ill = sample({ faults: [lost(1), { ...lost(0), kind: "missing" }] });
  samples = [ill, ill, sample()];
  const told = (index: number): string | null => watch.cardFault({ index, uuid: `none ${index}` });
  await watch.discover(NOBODY);
  expect([told(0), told(1)]).toEqual([null, null]);
  const end = run();
  await clock.advance(0);
  expect([told(0), told(1)]).toEqual([null, null]);
  await clock.advance(5_000);
  expect(told(0)).toBeNull();
  expect(told(1)).toContain("GPU 1 has fallen off the bus. ");
  await clock.advance(60_000);
  expect(told(1)).toBeNull();
  await end();
});

test("a single look that tells of a fault ends nothing, and is followed by another soon", async () => {
  await watch.discover(NOBODY);
  const told = (): string | null => watch.cardFault({ index: 0, uuid: "GPU-0" });
  const ill = sample({ faults: [lost(0)] });
  samples = [ill, sample(), ill, sample()];
  const end = run();
  await clock.advance(0);
  // A look of whoever plans in the same moment is no second one.
  discoveries = [found([card(0, false)], { faults: [lost(0)] })];
  await watch.discover(NOBODY);
  expect([told(), watch.facts()[0]?.health]).toEqual([null, "GPU 0 has fallen off the bus"]);
  discoveries = [found([card(0)])];
  await clock.advance(5_000);
  expect([told(), watch.facts()[0]?.health]).toEqual([null, "ok"]);
  await clock.advance(60_000);
  expect([told(), watch.facts()[0]?.health]).toEqual([null, "GPU 0 has fallen off the bus"]);
  await clock.advance(5_000);
  expect([told(), watch.facts()[0]?.health]).toEqual([null, "ok"]);
  await end();
});

test("a card that answered and gives nothing but errors twice counts as lost", async () => {
  const silent: GpuFault = {
    ...lost(0),
    kind: "unreadable",
    isUsable: true,
    reason: "GPU 0 answers with errors alone",
  };
  const told = (index: number): string | null => watch.cardFault({ index, uuid: `none ${index}` });
  // The second one has never answered: nothing is known of it.
  const never = { ...silent, index: 1 };
  discoveries = [found([card(0), card(1)], { faults: [never] })];
  const ill = sample({ faults: [silent, never] });
  samples = [ill, ill, sample({ readings: [reading(0), reading(1)] })];
  await watch.discover(NOBODY);
  const end = run();
  await clock.advance(0);
  expect([told(0), told(1)]).toEqual([null, null]);
  await clock.advance(5_000);
  expect([told(0), told(1)]).toEqual(["GPU 0 answers with errors alone. Reboot.", null]);
  await clock.advance(60_000);
  expect(told(0)).toBeNull();
  await end();
});

test("what runs on a card that wants a reset goes on, on one that is lost it does not", async () => {
  discoveries = [found([card(0), card(1), card(2)])];
  samples = [sample({ faults: [lost(0), { ...lost(1), kind: "needs_reset" }] })];
  await watch.discover(NOBODY);
  const end = run();
  await clock.advance(0);
  const runsOn = (index: number): boolean => watch.runsOn({ index, uuid: null });
  expect([runsOn(0), runsOn(1), runsOn(2)]).toEqual([false, true, true]);
  await end();
});

test("cards that are found only later are planned for, once", async () => {
  discoveries = [failed(false), failed(false), found([card(0)])];
  await watch.discover(NOBODY);
  const end = run();
  await clock.advance(0);
  expect(told).not.toContain("found");
  await clock.advance(60_000);
  expect(told.filter((one) => one === "found")).toHaveLength(1);
  // Whoever plans anew asks anew.
  await watch.discover(NOBODY);
  await clock.advance(180_000);
  expect(told.filter((one) => one === "found")).toHaveLength(1);
  expect(log.lines.filter((line) => line.includes("cards could not be found"))).toHaveLength(1);
  await end();
});

test("a card that was ill when it was planned for is planned for once it is mended", async () => {
  const ill = { ...lost(0), kind: "needs_reset" } as const;
  discoveries = [found([card(0, false)], { faults: [ill] }), found([card(0)])];
  samples = [sample({ faults: [ill] }), sample()];
  await watch.discover(NOBODY);
  const end = run();
  await clock.advance(0);
  expect([told.includes("found"), asked.length]).toEqual([false, 2]);
  await clock.advance(60_000);
  expect(told).toContain("found");
  await end();
});

test.each<[string, GpuFault]>([
  ["by its index alone", { ...lost(1), uuid: null }],
  ["by nothing but its bus", { ...lost(1), index: null, uuid: null }],
])(
  "a card that was told to be lost %s is planned for once nothing says so any more",
  async (_how, ill) => {
    discoveries = [found([card(0)], { faults: [ill] })];
    samples = [sample({ faults: [ill] }), sample({ faults: [ill] }), sample()];
    await watch.discover(NOBODY);
    const end = run();
    await clock.advance(60_000);
    expect([told.includes("found"), asked.length]).toEqual([false, 3]);
    discoveries = [found([card(0), card(1)])];
    await clock.advance(60_000);
    expect(told.filter((one) => one === "found")).toHaveLength(1);
    await watch.discover(NOBODY);
    await clock.advance(60_000);
    expect(told.filter((one) => one === "found")).toHaveLength(1);
    await end();
  },
);

test("a machine without cards is asked about them seldom, and quietly", async () => {
  discoveries = [failed(true)];
  const end = run();
  await clock.advance(180_000);
  expect(watch.facts()).toEqual([]);
  expect(asked).toEqual(Array.from({ length: 4 }, () => "discover "));
  expect([told, log.lines]).toEqual([[], []]);
  await end();
});
