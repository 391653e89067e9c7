/** The error recovery API on the whole system: agents, simulated ComfyUIs, keys. */
import type { RecoveryStatus, RecoverySubmitted } from "@holdfast/contract";
import { afterEach, describe, expect, it } from "vitest";
import { api, sleepingGraph } from "../support/api.ts";
import { until } from "../support/processes.ts";
import { startSystem, type TestSystem } from "../support/system.ts";

const API = "/api/error-recovery";
let system: TestSystem;
afterEach(() => system.close());

const submit = (body: object): Promise<RecoverySubmitted> =>
  system.client.call<RecoverySubmitted>("POST", `${API}/jobs/submit`, body);
const statusOf = async (number: number): Promise<RecoveryStatus["data"]> =>
  (await system.client.call<RecoveryStatus>("GET", `${API}/jobs/${number}/status`)).data;
const ended = (number: number): Promise<RecoveryStatus["data"]> =>
  until(`job ${number} ends`, async () => {
    const data = await statusOf(number);
    return data.ended_at === null ? undefined : data;
  });
const statistics = (): Promise<Record<string, unknown>> =>
  system.client.call("GET", `${API}/statistics`);

it("a prompt alone is rendered, recovered after a lack of memory, and counted", async () => {
  system = await startSystem();
  system.simulators[0]?.faults.add({ kind: "oom", match: { nodeClass: "KSampler" } });
  const job = await submit({ prompt: "a lighthouse", parameters: { batch_size: 2 } });
  const data = await ended(job.job_id);
  expect(data).toMatchObject({
    status: "completed",
    retry_count: 1,
    recovery_history: [
      { attempt: 1, message: "Freed memory for cuda_out_of_memory", success: true },
    ],
    recovery_status: { total_attempts: 1, successful_attempts: 1, available_checkpoints: 2 },
    original_parameters: { batch_size: 2, model: "v1-5-pruned-emaonly.safetensors" },
    progress: 100,
  });
  expect(data.output_files).toHaveLength(2);
  for (const file of data.output_files) {
    expect((await fetch(`${system.url}${file}`)).status).toBe(200);
  }
  expect(await statistics()).toEqual({
    total_errors: 1,
    successful_recoveries: 1,
    failed_recoveries: 0,
    recovery_rate: 100,
    error_distribution: { cuda_out_of_memory: 1 },
  });
});

it("a job that is too large shows what it was submitted with, and what it ran with", async () => {
  system = await startSystem({
    simulators: [{ vram: { totalBytes: Math.round(2.2 * 1024 ** 3), deviceName: "simulated" } }],
  });
  const job = await submit({
    prompt: "a wide sea",
    parameters: { width: 3_072, height: 3_072, num_inference_steps: 40 },
  });
  const data = await ended(job.job_id);
  expect(data.status).toBe("completed");
  expect(data.original_parameters).toMatchObject({ width: 3_072, height: 3_072 });
  expect(data.parameters["width"]).toBeLessThan(3_072);
  expect(data.recovery_history.map((step) => step.message)).toContain(
    "Reduced parameters for cuda_out_of_memory",
  );
  expect(data.recovery_history.every((step) => step.success)).toBe(true);
});

it("without recovery the first failure ends a job, and is counted as one that was not recovered", async () => {
  system = await startSystem({ env: { ERROR_RECOVERY_ENABLED: "false" } });
  system.simulators[0]?.faults.add({ kind: "oom", match: { nodeClass: "KSampler", count: 0 } });
  const job = await submit({ prompt: "x" });
  const data = await ended(job.job_id);
  expect(data).toMatchObject({ status: "failed", retry_count: 0, recovery_history: [] });
  expect(data.error_message).toContain("out of memory");
  expect(await statistics()).toMatchObject({ failed_recoveries: 1, recovery_rate: 0 });
});

describe("an emergency stop", () => {
  it("interrupts what renders, starts nothing, and loses nothing when it is released", async () => {
    system = await startSystem({ simulators: [{ timeScale: 1 }, { timeScale: 1 }] });
    const jobs = [];
    for (let n = 0; n < 12; n += 1) jobs.push(await system.client.submit(sleepingGraph(n, 1)));
    const queues = async () =>
      await Promise.all(
        system.simulators.map(async ({ url }) => {
          const queue = (await (await fetch(`${url}/queue`)).json()) as {
            queue_running: unknown[];
            queue_pending: unknown[];
          };
          return { running: queue.queue_running.length, waiting: queue.queue_pending.length };
        }),
      );
    await until("two of them run", async () =>
      (await queues()).every(({ running }) => running > 0),
    );
    const stopped = await system.client.call<{ interrupted: number; held: number }>(
      "POST",
      `${API}/emergency-stop`,
    );
    expect(stopped.interrupted).toBeGreaterThanOrEqual(2);
    expect(stopped).not.toMatchObject({ held: 0 });
    const late = await system.client.submit(sleepingGraph(99, 0));
    expect(late.held).toBe(true);
    // Nothing is rendered any more: ComfyUI's queues run empty, and stay so for longer than a job takes.
    const busy = async (): Promise<number> =>
      (await queues()).reduce((sum, { running, waiting }) => sum + running + waiting, 0);
    await until("the instances are idle", async () => (await busy()) === 0, 5_000);
    const counts = async () =>
      (await system.client.call<{ jobs: Record<string, number> }>("GET", "/api/v1/stats")).jobs;
    const before = await counts();
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    expect(await counts()).toEqual(before);
    expect(before["processing"]).toBe(0);
    expect(await busy()).toBe(0);
    await system.client.call("POST", `${API}/emergency-stop/release`);
    for (const job of [...jobs, late]) {
      await until("all complete", async () => {
        const { status } = await system.client.job(job.id);
        return status === "completed";
      });
    }
    const { rows } = await system.controlPlane
      .db()
      .query("select distinct failure_count, recovery_count, held from jobs");
    expect(rows).toEqual([{ failure_count: 0, recovery_count: 0, held: false }]);
    expect(await statistics()).toMatchObject({ total_errors: 0 });
  }, 60_000);

  it("that was cut short is brought to its end by the next look", async () => {
    system = await startSystem({ agent: false, simulators: [] });
    const job = await system.client.submit(sleepingGraph(1, 0));
    const db = system.controlPlane.db();
    await db.query(`insert into settings (key, value) values ('hold', '{"by": "local"}')`);
    await until("it is held", async () => (await system.client.job(job.id)).held, 10_000);
    await db.query(
      `with off as (update settings set value = 'false' where key = 'hold')
       insert into settings (key, value) values ('hold.releasing', 'true')`,
    );
    await until("it is released", async () => !(await system.client.job(job.id)).held, 10_000);
  });
});

it("a user sees its own jobs and numbers, and stops and cleans up nothing", async () => {
  system = await startSystem({ agent: false, simulators: [] });
  const key = async (role: string, as = system.client): Promise<string> =>
    (await as.call<{ text: string }>("POST", "/api/v1/keys", { name: role, role })).text;
  const bearer = (text: string) => ({ authorization: `Bearer ${text}` });
  const admin = api(system.url, bearer(await key("admin")));
  const [ann, bob] = [await key("user", admin), await key("user", admin)];
  const call = async (text: string, method: string, path: string, body?: object) =>
    await fetch(`${system.url}${API}${path}`, {
      method,
      headers: { ...bearer(text), ...(body && { "content-type": "application/json" }) },
      ...(body && { body: JSON.stringify(body) }),
    });
  const made = await call(ann, "POST", "/jobs/submit", {
    prompt: "x",
    parameters: { model: "m.safetensors" },
  });
  const { job_id: number } = (await made.json()) as RecoverySubmitted;
  expect((await call(ann, "GET", `/jobs/${number}/status`)).status).toBe(200);
  expect((await call(bob, "GET", `/jobs/${number}/status`)).status).toBe(404);
  expect((await call(bob, "POST", `/jobs/${number}/retry`)).status).toBe(404);
  expect((await call(ann, "GET", "/statistics")).status).toBe(200);
  for (const [method, path] of [
    ["POST", "/emergency-stop"],
    ["POST", "/emergency-stop/release"],
    ["DELETE", "/cleanup"],
  ] as const) {
    expect((await call(ann, method, path)).status).toBe(403);
    expect((await call("hf_none", method, path)).status).toBe(401);
  }
  expect((await fetch(`${system.url}${API}/health`)).status).toBe(200);
});
