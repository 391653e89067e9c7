/** `@holdfast/client` follows a job while the server it talks to is killed and started again. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { IntelligentJobProcessor } from "@holdfast/client";
import { sleepingGraph } from "../support/api.ts";
import { prepareServed, type Served } from "../support/served.ts";

let served: Served;
beforeAll(async () => {
  served = await prepareServed();
  await served.start();
});
afterAll(() => served.close());

it("follows a job over a kill of the server to its end", async () => {
  await using processor = new IntelligentJobProcessor({ url: served.url });
  let restarted: Promise<void> | undefined;
  const numbers = new Set<number>();
  const result = await processor.submitAndMonitorJob(
    { workflow_data: sleepingGraph(1, 6) },
    {
      onProgress: (jobId) => {
        numbers.add(jobId);
        restarted ??= (async () => {
          await served.process().stop("SIGKILL", 10_000);
          await served.start();
        })();
      },
    },
  );
  await restarted;
  expect(result).toMatchObject({ success: true, status: "completed", error_message: null });
  expect([...numbers]).toEqual([result.job_id]);
  expect((await fetch(result.output_files[0] ?? "")).status).toBe(200);
});
