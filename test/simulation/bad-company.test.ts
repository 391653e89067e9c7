/** One bad job among good ones, and one bad instance among good ones, on the fake clock. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, it } from "vitest";
import type { Graph } from "@holdfast/comfyui/protocol";
import type { Caller } from "../../packages/control-plane/src/access/model.ts";
import { createGround, type Fleet, type Ground } from "../drill/ground.ts";
import type { DrillFleet } from "../drill/fault-kind.ts";
import { createSimTemplate, type SimTemplate } from "./world/database.ts";

const WHO: Caller = { id: "local", role: "admin", allowedClasses: null };
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
/** Of a running prompt that has shown no progress yet: a model may be loading (docs/configuration.md). */
const STALL_MS = 300 * SECOND;

let template: SimTemplate;
let ground: Ground;
let fleet: Fleet;
beforeAll(async () => {
  template = await createSimTemplate(inject("holdfastPostgresUrl"));
});
afterAll(() => template.drop());
beforeEach(async () => {
  ground = await createGround({ seed: 5, serverUrl: inject("holdfastPostgresUrl"), template });
});
afterEach(async () => {
  await ground.raze(fleet);
  await ground.close();
});

/** Two machines with one instance each. */
const TWO: DrillFleet = {
  instances: [0, 1].map((machine) => ({ gib: 24, machine, checkpoints: ["tiny.safetensors"] })),
};

function graphOf(color: number, through: string, inputs: object = {}): Graph {
  return {
    "1": { class_type: "EmptyImage", inputs: { width: 16, height: 16, batch_size: 1, color } },
    "2": { class_type: through, inputs: { image: ["1", 0], ...inputs } },
    "3": { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "company" } },
  };
}
const innocent = (color: number): Graph =>
  graphOf(color, "HoldfastSleep", { seconds: 2, poll: true });

async function submit(graphs: readonly Graph[]): Promise<readonly string[]> {
  const requests = graphs.map((graph) => ({ graph }));
  const submitted = await ground.settle(ground.api().jobs.submit(WHO, requests, {}));
  return submitted.jobs.map(({ job }) => job.id);
}

interface JobRow {
  readonly id: string;
  readonly state: string;
  readonly poison: boolean;
  readonly failures: number;
  readonly outputs: number;
}

async function jobs(): Promise<readonly JobRow[]> {
  const rows = await ground.database.read(
    `select id, state, poison, failure_count as failures, output_count as outputs from jobs`,
  );
  return rows as unknown as JobRow[];
}

const areOver = async (): Promise<boolean> =>
  (await jobs()).every(({ state }) => ["completed", "failed", "timeout"].includes(state));

it("a job that kills its instance twice is set aside, and 50 others on the same two all complete", async () => {
  fleet = await ground.raise(TWO, "company", 1, () => undefined);
  const graphs = Array.from({ length: 50 }, (_, index) => innocent(index + 1));
  // In the middle of them, so that others are staged behind it when it kills.
  const killer = graphOf(77, "HoldfastCrash");
  const ids = await submit([...graphs.slice(0, 25), killer, ...graphs.slice(25)]);
  expect(await ground.until(areOver, 30 * MINUTE)).toBe(true);
  const rows = await jobs();
  expect(rows.filter(({ poison }) => poison)).toEqual([
    expect.objectContaining({ id: ids[25], state: "failed" }),
  ]);
  const innocents = rows.filter(({ id }) => id !== ids[25]);
  expect(innocents).toHaveLength(50);
  for (const one of innocents) {
    expect(one).toMatchObject({ state: "completed", poison: false, failures: 0, outputs: 1 });
  }
  const deaths = await ground.database.read(
    `select instance_id from attempts where job_id = $1 and outcome = 'instance_died'`,
    [ids[25]],
  );
  expect(new Set(deaths.map((row) => row["instance_id"])).size).toBe(2);
});

it("a zombie (F26) is found within a minute of its stall limit and avoided, its jobs complete elsewhere", async () => {
  fleet = await ground.raise(TWO, "company", 2, () => undefined);
  const [bad, good] = fleet.instances;
  if (bad === undefined || good === undefined) throw new Error("an instance is missing");
  bad.comfy.simulator.faults.add({ kind: "zombie", match: { nodeClass: "HoldfastSleep" } });
  await submit(Array.from({ length: 12 }, (_, index) => innocent(index + 1)));
  expect(await ground.until(() => bad.comfy.simulator.stats().isZombie, MINUTE)).toBe(true);
  const diedAt = ground.timeline.now();
  const reasonOfBad = async (): Promise<string | undefined> => {
    const [row] = await ground.database.read(`select state, reason from instances where key = $1`, [
      bad.comfy.url,
    ]);
    return row?.["state"] === "unhealthy" ? String(row["reason"]) : undefined;
  };
  const isFound = async (): Promise<boolean> => (await reasonOfBad()) !== undefined;
  expect(await ground.until(isFound, 10 * MINUTE)).toBe(true);
  expect(ground.timeline.now() - diedAt).toBeLessThanOrEqual(STALL_MS + 60 * SECOND);
  expect(await reasonOfBad()).toMatch(/prompt|check/);
  // A health check alone would call it well.
  const asked = { method: "GET", url: "/system_stats", headers: {} };
  const answer = await bad.comfy.simulator.request({
    ...asked,
    readBody: () => Promise.resolve(Buffer.alloc(0)),
  });
  expect(answer).toMatchObject({ status: 200 });
  await submit(Array.from({ length: 5 }, (_, index) => innocent(index + 100)));
  expect(await ground.until(areOver, 10 * MINUTE)).toBe(true);
  expect((await jobs()).map(({ state }) => state)).toEqual(Array(17).fill("completed"));
  const where = await ground.database.read(
    `select i.key, a.outcome, a.started, count(*)::int as attempts from attempts a
     join instances i on i.id = a.instance_id
     where i.key = $1 group by i.key, a.outcome, a.started`,
    [bad.comfy.url],
  );
  // One ran there and stalled; what was staged behind it came back without having begun.
  const begun = where.filter((row) => row["started"] === true);
  expect(begun).toEqual([expect.objectContaining({ outcome: "stalled", attempts: 1 })]);
});
