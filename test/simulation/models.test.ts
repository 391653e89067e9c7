/** Jobs whose model is not where they could run, on the whole system. */
import { readFileSync } from "node:fs";
import type { JobView } from "@holdfast/contract";
import { afterEach, expect, it } from "vitest";
import { until } from "../support/processes.ts";
import { startSystem, type TestSystem } from "../support/system.ts";

let system: TestSystem;
afterEach(() => system.close());

const NOBODY_HAS = "realisticVision_v51.safetensors";
const with15 = { models: { checkpoints: ["dreamshaper_8.safetensors"] } };

function graph(checkpoint: string): object {
  const text = readFileSync(
    new URL("../../examples/sd15-text-to-image.json", import.meta.url),
    "utf8",
  );
  const nodes = JSON.parse(text) as Record<string, { inputs: Record<string, unknown> }>;
  Object.assign(nodes["4"]?.inputs ?? {}, { ckpt_name: checkpoint });
  return nodes;
}
const ended = (id: string): Promise<JobView> =>
  until("the job ends", async () => {
    const job = await system.client.job(id);
    return job.endedAt === null ? undefined : job;
  });

it("a model that nobody has is switched after a time, and the job says so; by hand it is the own one again", async () => {
  system = await startSystem({ simulators: [with15], env: { HOLDFAST_MODEL_WAIT_SEC: "1" } });
  const { id } = await system.client.submit(graph(NOBODY_HAS));
  const job = await ended(id);
  expect(job).toMatchObject({
    status: "completed",
    changes: {
      loss: "content",
      steps: [`Switched model: ${NOBODY_HAS} → dreamshaper_8.safetensors`],
    },
  });
  const [output] = await system.client.outputs(id);
  if (output === undefined) throw new Error("no output");
  expect((await system.client.download(output)).toString("latin1")).toContain("dreamshaper_8");
  const status = await system.client.call<{ data: { recovery_history: object[] } }>(
    "GET",
    `/api/error-recovery/jobs/${String(job.number)}/status`,
  );
  expect(status.data.recovery_history).toMatchObject([
    { attempt: 0, message: "Switched model for model_missing", success: true },
  ]);
  const counts = await until("the error is counted", async () => {
    const now = await system.client.call<{ total_errors: number }>(
      "GET",
      "/api/error-recovery/statistics",
    );
    return now.total_errors > 0 ? now : undefined;
  });
  expect(counts).toMatchObject({
    successful_recoveries: 1,
    recovery_rate: 100,
    error_distribution: { model_missing: 1 },
  });
  await system.client.call("POST", `/api/v1/jobs/${id}/retry`, { force: true });
  await until("it waits for its own model", async () => {
    const again = await system.client.job(id);
    return again.changes === null || again.endedAt === null ? true : undefined;
  });
  expect((await ended(id)).changes?.steps).toHaveLength(1);
});

it("a job whose policy forbids it waits on, and says for what", async () => {
  system = await startSystem({ simulators: [with15], env: { HOLDFAST_MODEL_WAIT_SEC: "0" } });
  const { id } = await system.client.submit(graph(NOBODY_HAS), { policy: { maxLoss: "size" } });
  const other = await system.client.submit(graph(NOBODY_HAS));
  expect((await ended(other.id)).status).toBe("completed");
  const job = await until("the reason is told", async () => {
    const now = await system.client.job(id);
    return now.waitingReason === null ? undefined : now;
  });
  expect(job).toMatchObject({ status: "queued", changes: null });
  expect(job.waitingReason).toContain(NOBODY_HAS);
});

const HASH = "d7a9105a900fd52748f20725fe52fe52b507fd36bee4fc107b1550a26e6ee1d7";

it("a model whose instance takes no work is the same file under another name elsewhere, by its hash", async () => {
  const metadata = { "modelspec.hash_sha256": `0x${HASH}` };
  const having = (files: readonly (readonly [string, number])[]) => ({
    models: { checkpoints: files.map(([name]) => name) },
    modelFiles: {
      checkpoints: Object.fromEntries(
        files.map(([name, sizeBytes]) => [name, { metadata, sizeBytes }]),
      ),
    },
  });
  system = await startSystem({
    simulators: [
      having([["ours_v1.safetensors", 7]]),
      // One of a hash that was copied along, but of another size.
      having([
        ["a_ours_fp8.safetensors", 4],
        ["backup.safetensors", 7],
      ]),
    ],
    env: { HOLDFAST_MODEL_WAIT_SEC: "0" },
  });
  const { machines } = await system.client.call<{
    machines: { instances: { id: string; url: string }[] }[];
  }>("GET", "/api/v1/machines");
  const first = machines
    .flatMap(({ instances }) => instances)
    .find(({ url }) => url === system.simulators[0]?.url);
  await system.client.call("POST", `/api/v1/instances/${first?.id}/cordon`);
  const { id } = await system.client.submit(graph("ours_v1.safetensors"), {
    policy: { maxLoss: "none" },
  });
  expect(await ended(id)).toMatchObject({
    status: "completed",
    changes: {
      loss: "none",
      steps: [
        "The same model under another name: ours_v1.safetensors → backup.safetensors (the same file by its hash)",
      ],
    },
  });
});

it("a model that nobody has is switched to one that says it is of the same family", async () => {
  const of = (architecture: string) => ({ metadata: { "modelspec.architecture": architecture } });
  const files = {
    "alpha.safetensors": of("stable-diffusion-xl-v1-base"),
    "beta.safetensors": of("stable-diffusion-v1"),
  };
  system = await startSystem({
    simulators: [
      { models: { checkpoints: Object.keys(files) }, modelFiles: { checkpoints: files } },
    ],
    env: { HOLDFAST_MODEL_WAIT_SEC: "0" },
  });
  const { id } = await system.client.submit(graph(NOBODY_HAS));
  expect(await ended(id)).toMatchObject({
    status: "completed",
    changes: { loss: "content", steps: [`Switched model: ${NOBODY_HAS} → beta.safetensors`] },
  });
});
