/** `@holdfast/client` against a served control plane, with what happens to connections between them. */
import { createServer, request as httpRequest, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  ErrorRecoveryManager,
  IntelligentJobProcessor,
  isHoldfastError,
  ServerUnreachableError,
} from "@holdfast/client";
import { quickGraph, sleepingGraph } from "../support/api.ts";
import { until } from "../support/processes.ts";
import { startSystem, type TestSystem } from "../support/system.ts";

let system: TestSystem;
beforeAll(async () => {
  system = await startSystem({ simulators: [{ timeScale: 1 }] });
});
afterAll(() => system.close());
beforeEach(async () => {
  await until("nothing runs", async () => {
    const { rows } = await system.controlPlane.db().query("select from leases");
    return rows.length === 0;
  });
  await system.controlPlane.db().query("truncate jobs cascade");
});

const failing = () => ({
  workflow_data: {
    "1": { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color: 1 } },
    "2": {
      class_type: "HoldfastRaise",
      inputs: { image: ["1", 0], kind: "value", message: "no such thing" },
    },
    "3": { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "a" } },
  },
});
/** Jobs that have failed, written as the scheduler leaves them. */
async function failedJobs(count: number, round = 1): Promise<number[]> {
  const numbers: number[] = [];
  for (let n = 0; n < count; n += 1) {
    const job = await system.client.submit(quickGraph(n));
    await until("it ends", async () => (await system.client.job(job.id)).endedAt !== null);
    await system.controlPlane
      .db()
      .query("update jobs set state = 'failed', round = $2 where id = $1", [job.id, round]);
    numbers.push(job.number);
  }
  return numbers;
}

describe("the processor", () => {
  it("follows a job to its end, tells its progress, and gives addresses that can be fetched", async () => {
    await using processor = new IntelligentJobProcessor({ url: system.url });
    const told: [number, number, number][] = [];
    const result = await processor.submitAndMonitorJob(
      { workflow_data: sleepingGraph(1, 1), parameters: { nonsense: 1 } },
      { onProgress: (...one) => void told.push(one) },
    );
    expect(result).toMatchObject({
      success: true,
      status: "completed",
      recovery_used: false,
      error_message: null,
      warnings: [expect.stringContaining("nonsense")],
    });
    expect(result.output_files).toHaveLength(1);
    expect((await fetch(result.output_files[0] ?? "")).status).toBe(200);
    expect(told.every(([jobId]) => jobId === result.job_id)).toBe(true);
    expect(told.at(-1)?.[1]).toBe(100);
    expect(told.at(-1)?.[2]).toBeGreaterThan(0.5);
    const seconds = told.map(([, , elapsed]) => elapsed);
    expect([...seconds].sort((a, b) => a - b)).toEqual(seconds);
  });

  it("says that a recovery was used", async () => {
    system.simulators[0]?.faults.add({ kind: "oom", match: { nodeClass: "KSampler" } });
    await using processor = new IntelligentJobProcessor({ url: system.url });
    const result = await processor.submitAndMonitorJob({
      prompt: "dunes",
      parameters: { num_inference_steps: 1, width: 64, height: 64 },
    });
    expect(result).toMatchObject({ success: true, recovery_used: true });
    const { data } = await processor.getJobStatus(result.job_id);
    expect(data.recovery_history[0]?.message).toContain("cuda_out_of_memory");
  });

  it("a job that fails is a result; a job that is refused is thrown", async () => {
    await using processor = new IntelligentJobProcessor({ url: system.url });
    const result = await processor.submitAndMonitorJob(failing());
    expect(result).toMatchObject({ success: false, status: "failed", output_files: [] });
    expect(result.error_message).toContain("no such thing");
    const refused = processor.submitAndMonitorJob({ workflow_data: {} });
    await expect(refused).rejects.toSatisfy((error) => isHoldfastError(error, "graph_empty"));
    const unknown = processor.getJobStatus(999_999);
    await expect(unknown).rejects.toSatisfy((error) => isHoldfastError(error, "not_found"));
  });

  it("a signal ends the following and not the job; a cancel ends the job", async () => {
    await using processor = new IntelligentJobProcessor({ url: system.url });
    const over = new AbortController();
    let number = 0;
    const following = processor.submitAndMonitorJob(
      { workflow_data: sleepingGraph(2, 30) },
      {
        signal: over.signal,
        onProgress: (jobId) => {
          number = jobId;
          over.abort(new Error("enough seen"));
        },
      },
    );
    await expect(following).rejects.toThrow("enough seen");
    expect((await processor.getJobStatus(number)).data.ended_at).toBeNull();
    const watching = system.client.job(String(number));
    expect((await watching).endedAt).toBeNull();
    expect((await processor.cancelJob(number)).data.status).toBe("cancelled");
  });

  it("a cancel from elsewhere is told as such", async () => {
    await using processor = new IntelligentJobProcessor({ url: system.url });
    const result = await processor.submitAndMonitorJob(
      { workflow_data: sleepingGraph(3, 30) },
      {
        onProgress: (jobId) =>
          void system.client.call("POST", `/api/v1/jobs/${jobId}/cancel`).catch(() => undefined),
      },
    );
    expect(result).toMatchObject({ success: false, status: "cancelled" });
    expect(result.error_message).toContain("cancelled");
  });

  it("that is disposed of follows nothing any more, and takes no more", async () => {
    const processor = new IntelligentJobProcessor({ url: system.url });
    let hasBegun = (): void => undefined;
    const begun = new Promise<void>((resolve) => (hasBegun = resolve));
    const following = processor.submitAndMonitorJob(
      { workflow_data: sleepingGraph(4, 30) },
      { onProgress: () => hasBegun() },
    );
    const caught = following.catch((error: unknown) => error);
    await begun;
    await processor[Symbol.asyncDispose]();
    expect(String(await caught)).toContain("disposed");
    await expect(processor.retryFailedJobs()).rejects.toThrow("disposed");
    await system.client.call("POST", "/api/v1/jobs/cancel", { tag: "none" });
    const { rows } = await system.controlPlane
      .db()
      .query<{ id: string }>("select id from jobs where ended_at is null");
    expect(rows).toHaveLength(1);
    await system.client.call("POST", `/api/v1/jobs/${rows[0]?.id}/cancel`);
  });

  it("queues at most so many failed jobs again, and passes over those past the limit", async () => {
    await using processor = new IntelligentJobProcessor({ url: system.url });
    expect(await processor.retryFailedJobs()).toEqual({ count: 0, retried_job_ids: [] });
    const good = await failedJobs(3);
    const spent = await failedJobs(1, 9);
    const first = await processor.retryFailedJobs({ maxJobs: 2 });
    expect(first).toEqual({ count: 2, retried_job_ids: [good[2], good[1]] });
    const rest = await processor.retryFailedJobs();
    expect(rest).toEqual({ count: 1, retried_job_ids: [good[0]] });
    expect((await processor.getJobStatus(spent[0] ?? 0)).data.status).toBe("failed");
  });

  it.each([0, -1, 1.5, 1_001, Number.NaN])(
    "maxJobs %d is refused, and nothing is retried",
    async (maxJobs) => {
      const [number] = await failedJobs(1);
      await using processor = new IntelligentJobProcessor({ url: system.url });
      await expect(processor.retryFailedJobs({ maxJobs })).rejects.toThrow(RangeError);
      expect((await processor.getJobStatus(number ?? 0)).data.status).toBe("failed");
    },
  );
});

describe("between client and server", () => {
  /** Passes requests on; `onAnswer` may cut the connection instead of answering. */
  async function startProxy(onAnswer: (path: string) => "pass" | "cut" | "busy"): Promise<{
    readonly url: string;
    readonly server: Server;
  }> {
    const target = new URL(system.url);
    const server = createServer((incoming, outgoing) => {
      const passed = httpRequest(
        {
          host: target.hostname,
          port: target.port,
          method: incoming.method,
          path: incoming.url,
          headers: incoming.headers,
        },
        (answer) => {
          const fate = onAnswer(`${incoming.method} ${incoming.url}`);
          if (fate === "pass") {
            outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
            answer.pipe(outgoing);
            return;
          }
          answer.resume();
          if (fate === "cut") incoming.socket.destroy();
          else outgoing.writeHead(503, { "retry-after": "0" }).end("<html>busy</html>");
        },
      );
      passed.on("error", () => incoming.socket.destroy());
      incoming.pipe(passed);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
  }

  it("a submit whose answer is lost makes one job, and looks that fail are made again", async () => {
    const seen: string[] = [];
    const { url, server } = await startProxy((path) => {
      seen.push(path);
      if (seen.length <= 2) return "cut";
      return seen.length % 3 === 0 ? "pass" : seen.length % 2 === 0 ? "cut" : "busy";
    });
    await using processor = new IntelligentJobProcessor({ url });
    const result = await processor.submitAndMonitorJob({ workflow_data: sleepingGraph(5, 1) });
    server.close();
    expect(result).toMatchObject({ success: true, status: "completed" });
    expect(seen.filter((path) => path.startsWith("POST")).length).toBeGreaterThan(1);
    expect((await system.controlPlane.db().query("select from jobs")).rowCount).toBe(1);
  });

  it("a server that stays away is given up after the time allowed", async () => {
    const { url, server } = await startProxy(() => "cut");
    await using processor = new IntelligentJobProcessor({ url, unreachableLimitMs: 600 });
    const following = processor.submitAndMonitorJob({ workflow_data: quickGraph(6) });
    await expect(following).rejects.toBeInstanceOf(ServerUnreachableError);
    server.close();
  });

  it("what is no address is refused at once", () => {
    expect(() => new IntelligentJobProcessor({ url: "not a url" })).toThrow(TypeError);
  });
});

describe("the manager", () => {
  it("says what an error is, and what would be done about it", async () => {
    const manager = new ErrorRecoveryManager({ url: system.url });
    expect(
      await manager.classifyError("CUDA out of memory. Tried to allocate 2 GiB"),
    ).toMatchObject({
      class: "cuda_out_of_memory",
      strategy: "REDUCE_PARAMS",
    });
    const evidence = { channel: "execution", exceptionType: "torch.OutOfMemoryError", message: "" };
    const plan = await manager.attemptRecovery(evidence, { policy: { maxLoss: "pixels" } });
    expect(plan.class).toBe("cuda_out_of_memory");
    const rungs = plan.steps.map(({ rung }) => rung);
    expect(rungs).toContain("split_batch");
    expect(rungs).not.toContain("reduce_params");
    expect((await system.controlPlane.db().query("select from jobs")).rowCount).toBe(0);
  });

  it("refuses a policy that is none", async () => {
    const manager = new ErrorRecoveryManager({ url: system.url });
    const asked = manager.attemptRecovery("x", { policy: { maxRetryAttempts: -1 } });
    await expect(asked).rejects.toSatisfy((error) => isHoldfastError(error, "invalid_request"));
  });
});
