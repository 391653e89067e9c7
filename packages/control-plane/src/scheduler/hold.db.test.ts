/** The emergency stop against claims, reports and its own release. */
import { createIdSource } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import type { Lease } from "@holdfast/contract";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { createSchedulerKit, type SchedulerKit } from "../../testing/scheduler-kit.ts";
import { createHoldService, type HoldService } from "../jobs/hold-service.ts";
import { readEarlierEnds } from "./outcome-store.ts";

let kit: SchedulerKit;
let hold: HoldService;
const told = { queued: 0, revoked: [] as string[], held: 0 };
beforeAll(async () => {
  kit = await createSchedulerKit();
  hold = createHoldService({
    db: kit.test.db,
    ids: createIdSource(systemClock, systemRandom),
    ports: {
      onQueued: (requirements) => void (told.queued += requirements.length),
      onRevoked: (machineIds) => void told.revoked.push(...machineIds),
      onEvents: () => void (told.held += 1),
    },
  });
});
afterAll(() => kit.close());
beforeEach(async () => {
  await kit.reset();
  Object.assign(told, { queued: 0, revoked: [], held: 0 });
});

const count = async (where: string): Promise<number> =>
  (await kit.test.db.query(`select from jobs where ${where}`)).rowCount;

it("tells the agent that its attempt is held, writes nothing of its report, and costs nothing", async () => {
  const [jobId] = await kit.queueJobs(1);
  const { agent } = await kit.register();
  const lease = kit.only((await kit.poll(agent, 1)).leases);
  expect(await hold.holdAll("x")).toEqual({ interrupted: 1, held: 0 });
  expect(told.revoked).toEqual([agent.machineId]);
  expect((await kit.renew(agent, [lease])).revoked).toEqual([
    { attemptId: lease.attemptId, reason: "held" },
  ]);
  await kit.storeBlob();
  const late = await kit.send(agent, kit.succeeded(lease));
  expect(late.answers).toMatchObject([{ result: "lease_lost" }]);
  // The agent's own word of the interrupt is taken for the same end.
  const stopped = kit.failedWith(lease, { kind: "interrupted", reason: "drain" });
  expect((await kit.send(agent, stopped)).answers).toMatchObject([{ result: "recorded" }]);
  expect(await readEarlierEnds(kit.test.db, jobId ?? "", 1)).toEqual({
    failures: [],
    freeReturns: 0,
    surplusReturns: 0,
  });
  expect(await kit.jobRow(jobId ?? "")).toMatchObject({ state: "queued", lease_epoch: 2 });
});

it("grants nothing while it is on, also what was queued and not held yet", async () => {
  const { agent } = await kit.register();
  await kit.poll(agent, 0, [], 0);
  await hold.holdAll("x");
  await kit.queueJobs(3);
  expect((await kit.poll(agent, 1, [], 0)).leases).toEqual([]);
  await hold.keepHold();
  expect(await count("held")).toBe(3);
  expect(await hold.releaseAll()).toBe(3);
  expect(told.queued).toBe(1);
  expect((await kit.poll(agent, 1, [], 500)).leases).toHaveLength(1);
});

it("leaves no job running and none free, however many claims are under way", async () => {
  await kit.queueJobs(200);
  const agents = await Promise.all(
    Array.from({ length: 6 }, async () => (await kit.register()).agent),
  );
  const polls = agents.map((agent) => kit.poll(agent, 2, [], 0).catch(() => ({ leases: [] })));
  const stopping = hold.holdAll("x");
  const leases: Lease[] = (await Promise.all(polls)).flatMap((answer) => [...answer.leases]);
  const stopped = await stopping;
  await hold.keepHold();
  expect(await count("state = 'queued' and held")).toBe(200);
  expect(stopped.interrupted).toBeLessThanOrEqual(leases.length);
  const { rows } = await kit.test.db.query("select count(distinct id)::int as n from jobs");
  expect(rows).toEqual([{ n: 200 }]);
});

it("and a release at the same time come to one end or the other, never to half of each", async () => {
  await kit.queueJobs(1_200);
  for (let round = 0; round < 5; round += 1) {
    await Promise.all([hold.holdAll("x"), hold.releaseAll(), hold.keepHold()]);
    await hold.keepHold();
    const isOn = await hold.isHeld();
    expect(await count("held")).toBe(isOn ? 1_200 : 0);
    await hold.releaseAll();
  }
  expect(await count("held")).toBe(0);
});
