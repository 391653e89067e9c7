/** An error that an operator described, from the API that takes it to the job that it saves. */
import { readFileSync } from "node:fs";
import type { JobView } from "@holdfast/contract";
import { afterEach, expect, it } from "vitest";
import { until } from "../support/processes.ts";
import { startSystem, type TestSystem } from "../support/system.ts";

let system: TestSystem;
afterEach(() => system.close());

const GRAPH = JSON.parse(
  readFileSync(new URL("../../examples/sd15-text-to-image.json", import.meta.url), "utf8"),
) as Record<string, { inputs: Record<string, unknown> }>;
const PATTERNS = "/api/error-recovery/patterns";
const MESSAGE = "GridSampler: tile budget of 12 exceeded";
const pattern = (more: object = {}) => ({
  name: "vendor_tiles",
  error_type: "tile_budget",
  patterns: ["tile budget of \\d+ exceeded"],
  strategy: "REDUCE_PARAMS",
  parameter_adjustments: { cfg: { operation: "reduce", factor: 0.5 } },
  max_retries: 2,
  ...more,
});
/** The sampler raises, as often as said. */
const raises = (count: number) => ({
  kind: "raise" as const,
  exceptionType: "RuntimeError",
  message: MESSAGE,
  match: { nodeClass: "KSampler", count },
});

async function run(): Promise<JobView> {
  const { id } = await system.client.submit(GRAPH);
  return await until("the job ends", async () => {
    const job = await system.client.job(id);
    return job.endedAt === null ? undefined : job;
  });
}

it("is known by its pattern, adjusted, and counted under its own name", async () => {
  system = await startSystem({ simulators: [{ faults: [raises(1)] }] });
  await system.client.call("POST", PATTERNS, pattern());
  const job = await run();
  expect(job).toMatchObject({
    status: "completed",
    changes: { loss: "content", steps: ["Adjusted parameters for tile_budget: 3.cfg 8 → 4"] },
  });
  const attempts = await system.client.attempts(job.id);
  expect(attempts[0]?.error).toMatchObject({ customType: "tile_budget" });
  const counts = await until("the error is counted", async () => {
    const now = await system.client.call<{ total_errors: number }>(
      "GET",
      "/api/error-recovery/statistics",
    );
    return now.total_errors > 0 ? now : undefined;
  });
  expect(counts).toMatchObject({ error_distribution: { tile_budget: 1 }, recovery_rate: 100 });
});

it("ends the job after as many tries as its pattern allows, and at once when it says so", async () => {
  system = await startSystem({ simulators: [{ faults: [raises(0)] }] });
  await system.client.call("POST", PATTERNS, pattern());
  const tried = await run();
  expect(tried).toMatchObject({ status: "failed", error: { customType: "tile_budget" } });
  expect(tried.attemptCount).toBe(3);
  await system.client.call("PUT", `${PATTERNS}/vendor_tiles`, pattern({ strategy: "ABORT" }));
  const aborted = await run();
  expect([aborted.status, aborted.attemptCount]).toEqual(["failed", 1]);
});
