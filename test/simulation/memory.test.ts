/**
 * Jobs that are too large for the card, on the whole system: simulated cards that run out of memory
 * where a real one would, and stay out of it until the graph changes.
 */
import { readFileSync } from "node:fs";
import type { AttemptView, JobView } from "@holdfast/contract";
import { afterEach, expect, it } from "vitest";
import { pixelsOf } from "../support/png-pixels.ts";
import { until } from "../support/processes.ts";
import { startSystem, type TestSystem } from "../support/system.ts";

let system: TestSystem;
afterEach(() => system.close());

function graph(size: { batch_size: number; width: number; height: number }, steps = 4): object {
  const text = readFileSync(
    new URL("../../examples/sd15-text-to-image.json", import.meta.url),
    "utf8",
  );
  const nodes = JSON.parse(text) as Record<string, { inputs: Record<string, unknown> }>;
  Object.assign(nodes["5"]?.inputs ?? {}, size);
  Object.assign(nodes["3"]?.inputs ?? {}, { steps });
  return nodes;
}
async function run(
  body: object,
  more: object = {},
): Promise<{ job: JobView; attempts: readonly AttemptView[]; pictures: readonly Buffer[] }> {
  const submitted = await system.client.submit(body, more);
  const job = await until("the job ends", async () => {
    const now = await system.client.job(submitted.id);
    return now.endedAt === null ? undefined : now;
  });
  const outputs = await system.client.outputs(job.id);
  return {
    job,
    attempts: await system.client.attempts(job.id),
    pictures: await Promise.all(outputs.map((output) => system.client.download(output))),
  };
}
const card = (gib: number) => ({
  vram: { totalBytes: Math.round(gib * 1024 ** 3), deviceName: "simulated" },
});

/** What was decided after each attempt that failed, in words. */
const reasonsOf = (attempts: readonly AttemptView[]): readonly string[] =>
  attempts.flatMap(({ decision }) => (decision === null ? [] : [decision.reason]));

it("a batch that does not fit is rendered one by one: the same pictures, in order", async () => {
  // Small enough that its VAE never works in tiles: those would be other pixels (F22).
  const batch = graph({ batch_size: 16, width: 512, height: 512 });
  system = await startSystem({ simulators: [card(24)] });
  const whole = await run(batch);
  await system.close();
  system = await startSystem({ simulators: [card(1.8)] });
  const parts = await run(batch);
  expect(parts.job).toMatchObject({ status: "completed", error: null });
  expect(reasonsOf(parts.attempts)).toEqual([
    expect.stringContaining("memory is freed first"),
    "The batch is rendered one picture at a time and put back together.",
  ]);
  expect(parts.job.changes).toEqual({
    loss: "none",
    steps: ["The batch is rendered one picture at a time and put back together."],
  });
  expect(whole.job.changes).toBeNull();
  expect(whole.attempts).toHaveLength(1);
  expect(parts.pictures).toHaveLength(16);
  expect(parts.pictures.map(pixelsOf)).toEqual(whole.pictures.map(pixelsOf));
});

it("a picture that does not fit is made smaller until it does, and the job says what was done", async () => {
  system = await startSystem({ simulators: [card(2.3)] });
  const { job, attempts, pictures } = await run(
    graph({ batch_size: 1, width: 3072, height: 3072 }),
  );
  expect(job.status).toBe("completed");
  expect(reasonsOf(attempts)).toEqual([
    // No freeing: one request alone was larger than the card.
    "Reduced parameters for cuda_out_of_memory: 5.width 3072 → 2456, 5.height 3072 → 2456",
    "Reduced parameters for cuda_out_of_memory: 5.width 2456 → 1960, 5.height 2456 → 1960",
  ]);
  expect(job.changes).toMatchObject({
    loss: "size",
    steps: [expect.any(String), expect.any(String)],
  });
  // Tried again by hand it is the caller's own graph again.
  await system.client.call("POST", `/api/v1/jobs/${job.id}/retry`, { force: true });
  expect((await system.client.job(job.id)).changes).toBeNull();
  expect(pictures.map((png) => [png.readUInt32BE(16), png.readUInt32BE(20)])).toEqual([
    [1960, 1960],
  ]);
});

it("a job whose policy forbids any loss ends with the reason, and renders nothing smaller", async () => {
  system = await startSystem({ simulators: [card(2.3)] });
  const { job, attempts, pictures } = await run(
    graph({ batch_size: 1, width: 3072, height: 3072 }),
    { policy: { maxLoss: "pixels" } },
  );
  expect(job).toMatchObject({ status: "failed", error: { class: "cuda_out_of_memory" } });
  expect(attempts.at(-1)?.decision?.reason).toContain("the job's policy allows pixels at most");
  expect(pictures).toEqual([]);
});

it("without recovery a job fails at its first lack of memory", async () => {
  system = await startSystem({
    simulators: [card(2.3)],
    env: { ERROR_RECOVERY_ENABLED: "false" },
  });
  const { job, attempts } = await run(graph({ batch_size: 6, width: 1024, height: 1024 }));
  expect(job.status).toBe("failed");
  expect(attempts).toHaveLength(1);
});
