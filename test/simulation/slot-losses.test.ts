/** Slots that are lost and come back, as an SLA's recovery time has them: on the whole system. */
import type { SlaStatus } from "@holdfast/contract";
import type { Simulator } from "@holdfast/simulator";
import { afterEach, beforeEach, expect, it } from "vitest";
import { until } from "../support/processes.ts";
import { startSystem, type TestSystem } from "../support/system.ts";

const QUICK = { goneEveryMs: 50, healthEveryMs: 100, restartMs: 6_000 };

let system: TestSystem;
let simulator: Simulator;
beforeEach(async () => {
  system = await startSystem({ limits: QUICK });
  const [only] = system.simulators;
  if (only === undefined) throw new Error("no simulator");
  simulator = only;
});
afterEach(() => system.close());

async function losses(): Promise<SlaStatus["losses"]> {
  return (await system.client.call<SlaStatus>("GET", "/api/v1/sla")).losses;
}

/** As the control plane has it. */
async function state(): Promise<string | undefined> {
  const { machines } = await system.client.call<{
    machines: { instances: { state: string }[] }[];
  }>("GET", "/api/v1/machines");
  return machines[0]?.instances[0]?.state;
}
const becomes = (...wanted: readonly string[]) =>
  until(`the instance is ${wanted.join(" or ")}`, async () =>
    wanted.includes((await state()) ?? "") ? true : undefined,
  );

it("an instance whose process is killed is a loss until it is healthy again", async () => {
  await becomes("healthy");
  simulator.crash(1_500);
  await becomes("stopped");
  expect(await losses()).toMatchObject([{ kind: "instance", refilledAt: null, leftAt: null }]);
  await becomes("healthy");
  const [loss, ...none] = await losses();
  expect(none).toEqual([]);
  const missing = Date.parse(loss?.refilledAt ?? "") - Date.parse(loss?.lostAt ?? "");
  expect(missing).toBeGreaterThan(500);
  expect(missing).toBeLessThan(20_000);
}, 60_000);

it("one whose process is another before anybody looked was lost all the same", async () => {
  await becomes("healthy");
  simulator.crash(0);
  const [loss] = await until("the loss is over", async () => {
    const all = await losses();
    return typeof all[0]?.refilledAt === "string" ? all : undefined;
  });
  expect(loss?.reason).not.toBeNull();
}, 60_000);

it("what its supervisor ends and starts anew is no loss", async () => {
  await becomes("healthy");
  const { agent } = system;
  expect(await agent?.pauseInstance(simulator.url, 10_000, new AbortController().signal)).toBe(
    true,
  );
  simulator.crash(1_500);
  await becomes("stopped");
  agent?.resumeInstance(simulator.url);
  await becomes("healthy");
  expect(await losses()).toEqual([]);
  // What it loses afterwards is one again.
  simulator.crash(1_500);
  await becomes("stopped");
  expect(await losses()).toHaveLength(1);
}, 60_000);

it("what its supervisor ends and does not get started in time is lost after all", async () => {
  await becomes("healthy");
  const { agent } = system;
  await agent?.pauseInstance(simulator.url, 10_000, new AbortController().signal);
  simulator.crash(null);
  await becomes("stopped");
  agent?.resumeInstance(simulator.url);
  const resumedAt = Date.now();
  const [loss] = await until("it is lost", async () => {
    const all = await losses();
    return all.length > 0 ? all : undefined;
  });
  expect(loss).toMatchObject({ kind: "instance", refilledAt: null, leftAt: null });
  expect(Date.parse(loss?.lostAt ?? "") - resumedAt).toBeGreaterThan(QUICK.restartMs - 100);
}, 60_000);

it("an agent that stops in good order, drained or not, loses nothing", async () => {
  await becomes("healthy");
  await system.restartAgent();
  await becomes("healthy");
  await system.agent?.drain(10_000);
  simulator.crash(null);
  await becomes("stopped");
  await system.agent?.stop();
  expect(await losses()).toEqual([]);
}, 60_000);

it("a lost one that its agent then leaves is waited for no longer", async () => {
  await becomes("healthy");
  simulator.crash(null);
  await becomes("stopped");
  await system.agent?.stop();
  const [loss] = await losses();
  expect(loss?.refilledAt).toBeNull();
  expect(Date.parse(loss?.leftAt ?? "")).toBeGreaterThanOrEqual(Date.parse(loss?.lostAt ?? ""));
}, 60_000);
