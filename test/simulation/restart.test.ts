/** Instances whose processes are ours: a broken CUDA context is healed by a restart, on the whole system. */
import { readFileSync } from "node:fs";
import type { InstanceControl } from "@holdfast/agent";
import type { JobView } from "@holdfast/contract";
import type { Simulator } from "@holdfast/simulator";
import { afterEach, expect, it } from "vitest";
import { until } from "../support/processes.ts";
import { startSystem, type TestSystem } from "../support/system.ts";

let system: TestSystem;
afterEach(() => system.close());

const GRAPH = JSON.parse(
  readFileSync(new URL("../../examples/sd15-text-to-image.json", import.meta.url), "utf8"),
) as object;

const ended = (id: string): Promise<JobView> =>
  until("the job ends", async () => {
    const job = await system.client.job(id);
    return job.endedAt === null ? undefined : job;
  });

/** Every sampler raises, until the process is another one. */
function breakCard(simulator: Simulator): void {
  simulator.faults.add({
    kind: "raise",
    exceptionType: "torch.AcceleratorError",
    message: "CUDA error: an illegal memory access was encountered",
    match: { nodeClass: "KSampler", count: 0 },
  });
}

/** A supervisor of these simulators; `restarted` has what it was asked for. */
function supervisor(simulators: readonly Simulator[], restarted: string[]): InstanceControl {
  return {
    canRestart: (url) => simulators.some((one) => one.url === url),
    restart: (url) => {
      restarted.push(url);
      const simulator = simulators.find((one) => one.url === url);
      simulator?.faults.clear();
      simulator?.crash(300);
      return Promise.resolve();
    },
  };
}

it("a job on a card with a fault is completed there, after one restart", async () => {
  const restarted: string[] = [];
  system = await startSystem({
    agentOptions: ({ simulators }) => ({ control: supervisor(simulators, restarted) }),
  });
  const [simulator] = system.simulators;
  if (simulator === undefined) throw new Error("no simulator");
  breakCard(simulator);
  const { id } = await system.client.submit(GRAPH);
  const job = await ended(id);
  expect(job.status).toBe("completed");
  expect(restarted).toEqual([simulator.url]);
  const attempts = await system.client.attempts(id);
  expect(attempts.map(({ outcome }) => outcome)).toEqual(["failed", "succeeded"]);
  expect(attempts[0]?.error?.class).toBe("gpu_fault");
  expect(new Set(attempts.map(({ instanceName }) => instanceName)).size).toBe(1);
  const { machines } = await system.client.call<{
    machines: { instances: { canRestart: boolean; quarantine: unknown }[] }[];
  }>("GET", "/api/v1/machines");
  expect(machines[0]?.instances).toMatchObject([{ canRestart: true, quarantine: null }]);
  const status = await system.client.call<{ data: { recovery_history: object[] } }>(
    "GET",
    `/api/error-recovery/jobs/${String(job.number)}/status`,
  );
  expect(status.data.recovery_history).toMatchObject([
    { message: "Restarted the instance for gpu_fault", success: true },
  ]);
}, 60_000);

it("without a supervisor nothing is restarted, and the fault ends the job", async () => {
  system = await startSystem();
  const [simulator] = system.simulators;
  if (simulator === undefined) throw new Error("no simulator");
  breakCard(simulator);
  const { id } = await system.client.submit(GRAPH);
  const job = await ended(id);
  expect(job.status).toBe("failed");
  expect(job.error?.class).toBe("gpu_fault");
}, 60_000);

it("a restart that fails is told as such, and the job goes elsewhere", async () => {
  let asked = 0;
  system = await startSystem({
    simulators: [{}, {}],
    agentOptions: ({ simulators }) => ({
      control: {
        canRestart: (url) => url === simulators[0]?.url,
        restart: () => {
          asked += 1;
          return Promise.reject(new Error("PM2 does not answer"));
        },
      },
    }),
  });
  const [sick, well] = system.simulators;
  if (sick === undefined || well === undefined) throw new Error("no simulators");
  breakCard(sick);
  const ids = [];
  for (let n = 0; n < 2; n += 1) ids.push((await system.client.submit(GRAPH)).id);
  const jobs = await Promise.all(ids.map(ended));
  expect(jobs.map(({ status }) => status)).toEqual(["completed", "completed"]);
  expect(asked).toBeGreaterThan(0);
  const attempts = (await Promise.all(ids.map((id) => system.client.attempts(id)))).flat();
  const refused = attempts.find(({ error }) => error?.subclass === "restart_failed");
  expect(refused?.error).toMatchObject({ class: "instance_crash" });
  expect(refused?.error?.message).toContain("PM2 does not answer");
}, 60_000);
