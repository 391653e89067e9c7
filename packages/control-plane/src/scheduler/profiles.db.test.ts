/** What the scheduler learns of runs, and what it makes of it, on a real Postgres. */
import type { AttemptReport, Lease } from "@holdfast/contract";
import { readQueue } from "./forecast-store.ts";
import { readQueueHeads } from "./lease-store.ts";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { createSchedulerKit, type Agent, type SchedulerKit } from "../../testing/scheduler-kit.ts";
import { emptyTables } from "../../../../test/support/test-database.ts";

const KEY = "c".repeat(32);
let kit: SchedulerKit;
beforeAll(async () => {
  kit = await createSchedulerKit();
});
afterAll(() => kit.close());
beforeEach(async () => {
  await kit.reset();
  await emptyTables(kit.test.db, ["profiles"]);
  await kit.profiles.refresh();
  await kit.storeBlob();
});

async function queue(count: number): Promise<readonly string[]> {
  const ids = await kit.queueJobs(count);
  await kit.test.db.query("update jobs set cost_key = $1 where state = 'queued'", [KEY]);
  return ids;
}

/** Takes one job and completes it with these times. */
async function complete(agent: Agent, timings: AttemptReport["timings"]): Promise<Lease> {
  const lease = kit.only((await kit.poll(agent, 1)).leases);
  const answer = await kit.send(agent, { ...kit.succeeded(lease), timings });
  expect(answer.answers).toMatchObject([{ result: "recorded" }]);
  return lease;
}
const learn = async (): Promise<void> => {
  await kit.profiles.flush();
  await kit.profiles.refresh();
};
const WARM = { executeMs: 4_000, cold: 0, loadSilenceMs: 300, stepSilenceMs: 900 };

it("a run teaches its profile, and enough of them shorten the stall of a warm process alone", async () => {
  await queue(13);
  const { agent } = await kit.register();
  const first = await complete(agent, { ...WARM, executeMs: 9_000, cold: 1, loadSilenceMs: 5_000 });
  expect(first.stall).toEqual({ progressMs: 120_000, firstLoadMs: 300_000 });
  for (let run = 0; run < 10; run += 1) await complete(agent, WARM);
  await learn();
  expect(kit.profiles.find(KEY, "")?.statistics).toMatchObject({
    warmMs: { count: 10, mean: 4_000, variance: 0 },
    coldMs: { count: 1, mean: 9_000 },
    stepSilenceMs: { count: 11, largest: 900 },
    warmLoadSilenceMs: { count: 10, largest: 300 },
    coldLoadSilenceMs: { count: 1, largest: 5_000 },
  });
  const after = await complete(agent, WARM);
  expect(after.stall).toEqual({
    progressMs: 120_000,
    firstLoadMs: 300_000,
    warm: { progressMs: 30_000, firstLoadMs: 30_000 },
  });
  // Recovery changed the graph of the last one: it is another cost.
  await kit.test.db.query(
    `update jobs set plan = '{"version":1,"before":"nothing","patch":{"set":[]}}' where state = 'queued'`,
  );
  expect((await complete(agent, WARM)).stall.warm).toBeUndefined();
  await learn();
  expect(kit.profiles.find(KEY, "")?.statistics.warmMs?.count).toBe(11);
});

it("says when what runs and what waits will be completed", async () => {
  await queue(6);
  const { agent } = await kit.register();
  await complete(agent, WARM);
  // One of its own, for a forecast is shared for a moment.
  expect([...(await kit.makeScheduler().etas())]).toEqual([]);
  await learn();
  const { leases } = await kit.poll(agent, 1);
  const running = kit.only(leases);
  // At its last renewal, a lease's time ago, it had run for one second.
  await kit.test.db.query(
    `update leases set phase = 'running', progress = '{"runMs": 1000}',
       lease_until = now() + interval '0 seconds'`,
  );
  const etas = await kit.scheduler().etas();
  const rows = await kit.test.db.query<{ id: string }>(
    "select id from jobs where state = 'queued' order by rank",
  );
  const waiting = rows.rows.map(({ id }) => etas.get(id) ?? -1);
  const left = etas.get(running.jobId) ?? -1;
  expect(left).toBeGreaterThan(0);
  expect(left).toBeLessThanOrEqual(1_000);
  expect(waiting.map((eta) => Math.round(eta - left))).toEqual([4_000, 8_000, 12_000, 16_000]);
  expect(await kit.scheduler().jobMs()).toBe(4_000);
});

it("reads the heads of the queue by indexes, as it is asked", async () => {
  await queue(3_000);
  const { db } = kit.test;
  await db.query("vacuum analyze jobs");
  const requirement = await db.query<{ id: number }>("select id from requirements");
  const id = requirement.rows[0]?.id ?? 0;
  await db.transaction(async (tx) => {
    const planOf = async (execute: string): Promise<string> => {
      const { rows } = await tx.query<Record<string, string>>(
        `explain (costs off) execute ${execute}`,
      );
      return rows.map((row) => Object.values(row).join()).join("\n");
    };
    const heads = await readQueueHeads(tx, [id], 10, ["ins_1"]);
    expect(heads.map((head) => head.costKey)).toEqual(Array(10).fill(KEY));
    const claims = await planOf(`"scheduler.queue_heads.16" (${id}, '{ins_1}')`);
    expect(claims).toContain("Index Scan using jobs_claim");
    expect(claims).not.toContain("Sort");
    const seen = await readQueue(tx, { waiting: 2_000, live: 100 }, 30_000);
    expect(seen).toMatchObject({ live: [], waiting: { length: 2_000 } });
    const plan = await planOf('"scheduler.forecast_queue" (2000, 100, 30000)');
    const [waiting, live] = plan.split("leases");
    expect(waiting).toContain("Index Scan using jobs_queue_head");
    expect(waiting?.split("Limit")[1]).not.toContain("Sort");
    expect(live).toBeDefined();
  });
});
