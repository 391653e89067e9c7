import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExperimentRun, ExperimentSequence, ResultRecord } from "@holdfast/experiments";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openResultsFolder, type ResultsFolder } from "./folder/results-folder.ts";
import { doRun } from "./one-run.ts";
import type { Rendered, Renderer } from "./renderer.ts";

let place: string;
let clock: FakeClock;
let folder: ResultsFolder;
const open = async (): Promise<void> => {
  const opened = await openResultsFolder(place, clock);
  if (opened.kind !== "open") throw new Error("it is locked");
  folder = opened.folder;
};
beforeEach(async () => {
  place = await mkdtemp(join(tmpdir(), "holdfast-one-run-"));
  clock = createFakeClock();
  await open();
});
afterEach(async () => {
  await folder.close();
  await rm(place, { recursive: true, force: true });
});

const run = {
  index: 0,
  name: "exp_0000",
  title: "t",
  seed: 1,
  values: {},
  variables: {},
  set: [],
  loras: [],
  lines: [],
} as unknown as ExperimentRun;
const sequence = { count: 1, runAt: () => run } as unknown as ExperimentSequence;
const graph = { "5": { class_type: "MaskToImage", inputs: {} } };
const facts = { attempts: 1, loss: 0, recovery: [] } as const;

/** A renderer that takes so long. */
function renderer(ms: number, over: Partial<Rendered> = {}, isThere = false): Renderer {
  return {
    description: "fake",
    nextPromptId: (earlier) => (earlier?.hasEnded === false ? earlier.promptId : `p${clock.now()}`),
    isThere: async () => isThere,
    async render() {
      await clock.advance(ms);
      return { failure: undefined, files: [], facts, ...over };
    },
    settled: () => undefined,
    close: async () => undefined,
  };
}
async function record(how: Renderer): Promise<ResultRecord> {
  let ended: ResultRecord | undefined;
  await doRun(0, {
    sequence,
    graph,
    folder,
    renderer: async () => how,
    store: undefined,
    clock,
    onStart: () => undefined,
    onBegun: async () => undefined,
    onEnd: async (one) => {
      ended = one;
    },
  });
  if (ended === undefined) throw new Error("it has no end");
  return ended;
}
/** Begun by a process that is killed in the middle of it. */
async function killedAfter(ms: number, how: Renderer = renderer(0)): Promise<void> {
  const dying: Renderer = { ...how, render: () => Promise.reject(new Error("killed")) };
  await expect(record(dying)).rejects.toThrow("killed");
  await clock.advance(ms);
  await folder.close();
  await open();
}
const isoAt = (ms: number): string => new Date(ms).toISOString();

it("that is found again has begun when it was posted, by any number of processes", async () => {
  const begun = clock.now();
  await killedAfter(2_000);
  await killedAfter(1_000, renderer(0, {}, true));
  const found = await record(renderer(225, {}, true));
  expect(found).toMatchObject({
    attempt: 1,
    startedAt: isoAt(begun),
    endedAt: isoAt(begun + 3_225),
    durationMs: 3_225,
  });
});

it("that never arrived begins with the process that posts it, and is no repeat", async () => {
  await killedAfter(3_600_000);
  const begun = clock.now();
  await killedAfter(1_000);
  const found = await record(renderer(200, {}, true));
  expect(found).toMatchObject({ attempt: 1, startedAt: isoAt(begun), durationMs: 1_200 });
});

it("that ended while no process was there took no longer than the service says", async () => {
  const begun = clock.now();
  await killedAfter(8 * 3_600_000);
  const span = { endedAt: begun + 4_000 };
  const found = await record(renderer(50, { facts: { ...facts, span } }, true));
  expect(found).toMatchObject({ startedAt: isoAt(begun), durationMs: 4_000 });
  expect(found.endedAt).toBe(isoAt(begun + 4_000));
});

it("is never shorter than it executed where the service's clock is another one", async () => {
  const begun = clock.now();
  await killedAfter(5_000);
  const span = { startedAt: begun - 60_000, endedAt: begun - 50_000 };
  const found = await record(renderer(50, { facts: { ...facts, span, executeMs: 1_200 } }, true));
  expect(found).toMatchObject({ startedAt: isoAt(begun), durationMs: 1_200 });
});

it("that failed with a service and is done again is a second start", async () => {
  const failure = { class: "network_error", message: "gone", isInfrastructure: true };
  expect((await record(renderer(10, { failure }))).attempt).toBe(1);
  const begun = clock.now();
  expect(await record(renderer(20))).toMatchObject({
    attempt: 2,
    startedAt: isoAt(begun),
    durationMs: 20,
  });
});

it("says the class of the node that failed, and times in whole milliseconds", async () => {
  const failure = { class: "timeout", message: "m", isInfrastructure: false, nodeId: "5" };
  const queueMs = 7.70289200000002;
  const ended = await record(renderer(10, { failure, facts: { ...facts, queueMs } }));
  expect(ended.error).toMatchObject({ nodeId: "5", nodeType: "MaskToImage" });
  expect(ended.metrics).toMatchObject({ queue_seconds: 0.008 });
});
