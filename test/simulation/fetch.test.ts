/** Models that nobody has and a machine offers to fetch, on the whole system. */
import { readFileSync } from "node:fs";
import type { AgentOptions, FetchModels, OwnReport } from "@holdfast/agent";
import type { JobView, OfferedModel } from "@holdfast/contract";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, expect, it } from "vitest";
import { until } from "../support/processes.ts";
import { startSystem, type TestSystem } from "../support/system.ts";

let system: TestSystem;
afterEach(() => system.close());

const THERE = "dreamshaper_8.safetensors";
const WANTED = "realisticVision_v51.safetensors";

function graph(checkpoint: string): object {
  const text = readFileSync(
    new URL("../../examples/sd15-text-to-image.json", import.meta.url),
    "utf8",
  );
  const nodes = JSON.parse(text) as Record<string, { inputs: Record<string, unknown> }>;
  Object.assign(nodes["4"]?.inputs ?? {}, { ckpt_name: checkpoint });
  return nodes;
}

function reporting(models: readonly OfferedModel[]): () => OwnReport {
  return () => ({
    services: [],
    gpus: [],
    release: null,
    manifestDigest: null,
    host: {
      cpuCount: 2,
      memoryTotalBytes: 1,
      memoryFreeBytes: 1,
      diskTotalBytes: 2_000_000,
      diskFreeBytes: 1_000_000,
    },
    offers: { models: [...models], packs: [] },
    healthPort: null,
  });
}

/** A system whose machine can fetch {@link WANTED}; what the fetcher is asked for is in `asked`. */
async function start(
  fetch: (checkpoints: string[]) => FetchModels,
  options: Pick<AgentOptions, "limits"> = {},
): Promise<{ readonly asked: unknown[] }> {
  const checkpoints = [THERE];
  const asked: unknown[] = [];
  const offer = { folder: "checkpoints", name: WANTED, sha256: null, sizeBytes: 1_000 };
  const run = fetch(checkpoints);
  system = await startSystem({
    simulators: [{ models: { checkpoints } }],
    env: { HOLDFAST_MODEL_WAIT_SEC: "1" },
    ...options,
    agentOptions: () => ({
      report: reporting([offer]),
      onModelsWanted: (models, signal) => {
        asked.push(models);
        return run(models, signal);
      },
    }),
  });
  const { machines } = await system.client.call<{ machines: { id: string }[] }>(
    "GET",
    "/api/v1/machines",
  );
  await until("the machine has told what it offers", async () => {
    const { offers } = await system.client.call<{ offers: { models: unknown[] } }>(
      "GET",
      `/api/v1/machines/${machines[0]?.id ?? ""}`,
    );
    return offers.models.length > 0 ? true : undefined;
  });
  return { asked };
}

const ended = (id: string): Promise<JobView> =>
  until("the job ends", async () => {
    const job = await system.client.job(id);
    return job.endedAt === null ? undefined : job;
  });

it("a job waits for its own model while that is fetched, and gets no other", async () => {
  let open: (() => void) | undefined;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const { asked } = await start((checkpoints) => async () => {
    await gate;
    checkpoints.push(WANTED);
  });
  const { id } = await system.client.submit(graph(WANTED));
  const waiting = await until("the page tells of the fetch", async () => {
    const now = await system.client.job(id);
    return now.waitingReason?.includes("being fetched") === true ? now : undefined;
  });
  expect(waiting.waitingReason).toBe(
    `model checkpoints/${WANTED} is being fetched on machine test-machine`,
  );
  // Longer than a job waits for a model that nobody fetches.
  await systemClock.sleep(3_000);
  expect((await system.client.job(id)).status).toBe("queued");
  open?.();
  const job = await ended(id);
  expect(job).toMatchObject({ status: "completed", changes: null });
  const [output] = await system.client.outputs(id);
  if (output === undefined) throw new Error("no output");
  expect((await system.client.download(output)).toString("latin1")).toContain("realisticVision");
  expect(asked).toEqual([[{ folder: "checkpoints", name: WANTED }]]);
  const status = await system.client.call<{ data: { recovery_history: object[] } }>(
    "GET",
    `/api/error-recovery/jobs/${String(job.number)}/status`,
  );
  expect(status.data.recovery_history).toMatchObject([
    { attempt: 0, message: "Fetched the model for model_missing", success: true },
  ]);
  const counts = await until("the fetch is counted", async () => {
    const now = await system.client.call<{ successful_recoveries: number }>(
      "GET",
      "/api/error-recovery/statistics",
    );
    return now.successful_recoveries > 0 ? now : undefined;
  });
  expect(counts).toMatchObject({ total_errors: 1, error_distribution: { model_missing: 1 } });
}, 120_000);

it("where the fetch fails the job is not kept waiting: it gets another model", async () => {
  const { asked } = await start(
    () => () => Promise.reject(new Error("HTTP 403: a token is needed")),
  );
  const { id } = await system.client.submit(graph(WANTED));
  const job = await ended(id);
  expect(asked).toHaveLength(1);
  expect(job).toMatchObject({ status: "completed", changes: { loss: "content" } });
  expect(job.changes?.steps).toEqual([`Switched model: ${WANTED} → ${THERE}`]);
}, 120_000);

it("a model that vanished from its instance is fetched again, and the job that failed goes on", async () => {
  const checkpoints = [THERE, WANTED];
  const offer = { folder: "checkpoints", name: WANTED, sha256: null, sizeBytes: 1_000 };
  system = await startSystem({
    simulators: [{ models: { checkpoints } }],
    env: { HOLDFAST_MODEL_WAIT_SEC: "1" },
    limits: { inventoryDoubtMs: 0 },
    agentOptions: () => ({
      report: reporting([offer]),
      onModelsWanted: () => {
        checkpoints.push(WANTED);
        return Promise.resolve();
      },
    }),
  });
  checkpoints.pop();
  const { id } = await system.client.submit(graph(WANTED));
  const job = await ended(id);
  expect(job).toMatchObject({ status: "completed", changes: null });
  const attempts = await system.client.attempts(id);
  expect(attempts.map(({ outcome }) => outcome)).toEqual(["failed", "succeeded"]);
  expect(attempts[0]?.decision).toMatchObject({
    reason: expect.stringContaining("offers to fetch"),
  });
}, 120_000);
