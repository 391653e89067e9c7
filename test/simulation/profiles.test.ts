/** What is learned of graphs' costs, and what it is good for, on the fake clock. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, it } from "vitest";
import type { JobView } from "@holdfast/contract";
import type { Caller } from "../../packages/control-plane/src/access/model.ts";
import { createGround, type Fleet, type Ground } from "../drill/ground.ts";
import { graphOf, PLAIN } from "../drill/graphs.ts";
import { createSimTemplate, type SimTemplate } from "./world/database.ts";

const WHO: Caller = { id: "local", role: "admin", allowedClasses: null };
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
/** Without a profile: what runs has shown no progress yet, a model may be loading. */
const FIRST_LOAD_MS = 300 * SECOND;
/** The least that a profile may bring it to. */
const FLOOR_MS = 30 * SECOND;
/** From the stall to the verdict: the interrupt has 20 s, the report comes after it. */
const VERDICT_MS = 30 * SECOND;
/** What was learned is written, and read, within so long. */
const LEARNED_MS = 15 * SECOND;

let template: SimTemplate;
let ground: Ground;
let fleet: Fleet;
beforeAll(async () => {
  template = await createSimTemplate(inject("holdfastPostgresUrl"));
});
afterAll(() => template.drop());
beforeEach(async () => {
  ground = await createGround({ seed: 7, serverUrl: inject("holdfastPostgresUrl"), template });
  const instance = { gib: 24, machine: 0, checkpoints: [PLAIN.checkpoint] };
  fleet = await ground.raise({ instances: [instance] }, "profiles", 3, () => undefined);
});
afterEach(async () => {
  await ground.raze(fleet);
  await ground.close();
});

const SHAPE = { ...PLAIN, isTwoStage: false };
let seed = 1;
async function submit(count: number): Promise<readonly string[]> {
  const requests = Array.from({ length: count }, () => {
    return { graph: graphOf({ ...SHAPE, seed: (seed += 1) }) };
  });
  const { jobs } = await ground.settle(ground.api().jobs.submit(WHO, requests, {}));
  return jobs.map(({ job }) => job.id);
}
const viewsOf = (ids: readonly string[]): Promise<JobView[]> =>
  ground.settle(Promise.all(ids.map((id) => ground.api().jobs.get(WHO, id))));
async function view(id: string): Promise<JobView> {
  const [shown] = await viewsOf([id]);
  if (shown === undefined) throw new Error("no view");
  return shown;
}
const states = async (): Promise<readonly unknown[]> =>
  (await ground.database.read("select state from jobs")).map((row) => row["state"]);
const areOver = async (): Promise<boolean> =>
  (await states()).every((state) => state === "completed");
const passes = (ms: number): Promise<boolean> => ground.until(() => false, ms);

/** Renders so many, and lets what they taught be read. */
async function learn(count: number): Promise<void> {
  await submit(count);
  expect(await ground.until(areOver, 30 * MINUTE)).toBe(true);
  await passes(LEARNED_MS);
}
const only = () => {
  const [instance] = fleet.instances;
  if (instance === undefined) throw new Error("no instance");
  return instance.comfy;
};

/** How long the prompt thread is dead (F26) until an attempt is called stalled. */
async function msToFindZombie(): Promise<number> {
  only().simulator.faults.add({ kind: "zombie", match: { nodeClass: "KSampler" } });
  await submit(1);
  expect(await ground.until(() => only().simulator.stats().isZombie, MINUTE, 100)).toBe(true);
  const diedAt = ground.timeline.now();
  const isStalled = async (): Promise<boolean> => {
    const rows = await ground.database.read("select id from attempts where outcome = 'stalled'");
    return rows.length > 0;
  };
  expect(await ground.until(isStalled, 15 * MINUTE)).toBe(true);
  return ground.timeline.now() - diedAt;
}

it("a zombie is found within a minute once its shape has a profile", async () => {
  await learn(15);
  const ms = await msToFindZombie();
  expect(ms).toBeGreaterThanOrEqual(FLOOR_MS);
  expect(ms).toBeLessThanOrEqual(FLOOR_MS + VERDICT_MS);
});

it("a zombie is found after the time that is set as long as little is known of its shape", async () => {
  await learn(5);
  const ms = await msToFindZombie();
  expect(ms).toBeGreaterThanOrEqual(FIRST_LOAD_MS);
  expect(ms).toBeLessThanOrEqual(FIRST_LOAD_MS + VERDICT_MS);
});

/** Attempts beside those that succeeded. */
const strays = () =>
  ground.database.read("select outcome from attempts where outcome is distinct from 'succeeded'");

it("a healthy job is not ended though it is far slower than its profile", async () => {
  await learn(15);
  const { faults } = only().simulator;
  // A process that starts anew, and a disk that takes four minutes to read the model for the first time.
  only().simulator.faults.add({ kind: "crash", downMs: 2_000 });
  faults.add({ kind: "slow_load", ms: 240 * SECOND });
  await passes(30 * SECOND);
  await submit(1);
  expect(await ground.until(areOver, 30 * MINUTE)).toBe(true);
  // A machine that stands still for nearly as long as the floor, in the middle of a warm run.
  await learn(2);
  faults.add({
    kind: "gc_pause",
    ms: FLOOR_MS - 5 * SECOND,
    match: { nodeClass: "VAEDecode" },
  });
  await submit(1);
  expect(await ground.until(areOver, 30 * MINUTE)).toBe(true);
  expect(await strays()).toEqual([]);
  const silences = await ground.database.read(
    `select max((timings ->> 'loadSilenceMs')::float8) as cold,
       max(greatest((timings ->> 'stepSilenceMs')::float8, (timings ->> 'loadSilenceMs')::float8))
         filter (where timings ->> 'cold' = '0') as warm from attempts`,
  );
  expect(silences[0]?.["cold"]).toBeGreaterThan(240 * SECOND);
  expect(silences[0]?.["warm"]).toBeGreaterThan(FLOOR_MS - 6 * SECOND);
});

it("a job says what it takes and when it will be completed", async () => {
  const [first = ""] = await submit(1);
  expect(await view(first)).toMatchObject({ expectedMs: null, etaSeconds: null });
  await learn(11);
  const ids = await submit(60);
  await passes(5 * SECOND);
  const last = await view(ids.at(-1) ?? "");
  const lookedAt = ground.timeline.now();
  const views = await viewsOf(ids);
  // Nobody's is sooner than that of the one before it. One that ended while the queue was read has none.
  const after = await viewsOf(ids);
  const etas = views.flatMap(({ etaSeconds }, at) =>
    after[at]?.endedAt === null ? [etaSeconds ?? -1] : [],
  );
  expect(etas.length).toBeGreaterThan(10);
  expect(etas).toEqual([...etas].sort((a, b) => a - b));
  expect(etas[0]).toBeGreaterThanOrEqual(0);
  expect(await ground.until(areOver, 30 * MINUTE, 200)).toBe(true);
  const tookMs = ground.timeline.now() - lookedAt;
  const eta = (last.etaSeconds ?? 0) * SECOND;
  expect(last.expectedMs).toBeGreaterThan(0);
  expect(eta).toBeGreaterThan(tookMs * 0.5);
  expect(eta).toBeLessThan(tookMs * 1.5);
  expect(await view(ids[0] ?? "")).toMatchObject({ expectedMs: null, etaSeconds: null });
});
