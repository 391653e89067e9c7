/** What other job servers for ComfyUI get wrong, each as a test on a whole system. */
import { createServer, type Server } from "node:http";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import type { JobView } from "@holdfast/contract";
import { afterEach, describe, expect, it } from "vitest";
import { quickGraph, sleepingGraph } from "../support/api.ts";
import { until } from "../support/processes.ts";
import { startSystem, type SystemOptions, type TestSystem } from "../support/system.ts";

let system: TestSystem;
afterEach(() => system.close());
const start = async (options: SystemOptions = {}): Promise<TestSystem> => {
  system = await startSystem(options);
  return system;
};
const ended = (job: JobView, limitMs = 30_000): Promise<JobView> =>
  until(
    `job ${job.number} ends`,
    async () => {
      const now = await system.client.job(job.id);
      return now.endedAt === null ? undefined : now;
    },
    limitMs,
  );
const status = async (job: JobView): Promise<string> => (await system.client.job(job.id)).status;
const simulator = () => {
  const [first] = system.simulators;
  if (first === undefined) throw new Error("no simulator");
  return first;
};

describe("trouble with ComfyUI", () => {
  it("a socket cut once keeps nobody waiting", async () => {
    await start();
    simulator().faults.add({ kind: "drop_socket", afterEvents: 2, match: { nthPrompt: 1 } });
    const job = await system.client.submit(sleepingGraph(1, 0.3));
    expect(await ended(job)).toMatchObject({ status: "completed", attemptCount: 1 });
  });

  it("a socket that stays open and silent keeps nobody waiting (F8)", async () => {
    await start();
    simulator().faults.add({ kind: "lose_registration", match: { nthPrompt: 1 }, afterEvents: 1 });
    const job = await system.client.submit(sleepingGraph(2, 0.3));
    expect(await ended(job)).toMatchObject({ status: "completed", attemptCount: 1 });
  });

  it("a POST that was reset after it was queued runs once", async () => {
    await start();
    const before = simulator().stats().promptsRun;
    simulator().faults.add({
      kind: "reset",
      when: "after",
      match: { path: "/prompt", method: "POST" },
    });
    const job = await system.client.submit(quickGraph(3));
    expect(await ended(job)).toMatchObject({ status: "completed", attemptCount: 1 });
    expect(simulator().stats().promptsRun - before).toBe(1);
  });

  it("ComfyUI killed with one job finished and six queued: all seven complete", async () => {
    await start();
    const first = await system.client.submit(quickGraph(10));
    await ended(first);
    const six = await Promise.all(
      Array.from({ length: 6 }, (_, index) => system.client.submit(sleepingGraph(11 + index, 0.2))),
    );
    await until("one runs", async () => (await status(six[0] as JobView)) === "processing");
    simulator().crash();
    for (const job of six) expect(await ended(job)).toMatchObject({ status: "completed" });
    const outputs = await Promise.all([first, ...six].map((job) => system.client.outputs(job.id)));
    for (const [output] of outputs) {
      expect(output).toBeDefined();
      if (output !== undefined) await system.client.download(output);
    }
  });

  it("a ComfyUI that dies and never comes back is not called ready", async () => {
    await start();
    simulator().faults.add({ kind: "crash", isForEver: true });
    await until("it is no longer ready", async () => !(await system.client.isReady()), 20_000);
    const job = await system.client.submit(quickGraph(20));
    const reason = await until("the job says why it waits", async () => {
      return (await system.client.job(job.id)).waitingReason ?? undefined;
    });
    expect(reason).toMatch(/unhealthy/);
  });

  it("a ComfyUI that answers 200 and renders nothing (F26) loses the job to another one", async () => {
    await start({ simulators: [{}, {}] });
    const job = await system.client.submit(sleepingGraph(30, 0.2));
    await ended(job);
    for (const one of system.simulators)
      one.faults.add({ kind: "zombie", match: { nthPrompt: 1, count: 1 } });
    // Only the first zombie matters: the other instance stays as it is.
    system.simulators[1]?.faults.clear();
    const jobs = await Promise.all(
      Array.from({ length: 4 }, (_, index) => system.client.submit(sleepingGraph(31 + index, 0.1))),
    );
    for (const one of jobs) expect(await ended(one, 60_000)).toMatchObject({ status: "completed" });
  });
});

describe("outputs", () => {
  it("collects folders in prefixes, previews, and the same graph twice", async () => {
    await start();
    const graph = {
      "1": { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 2, color: 7 } },
      "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "a/b/c" } },
      "3": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
    };
    for (let round = 0; round < 2; round += 1) {
      const job = await system.client.submit(graph);
      expect(await ended(job)).toMatchObject({ status: "completed", outputCount: 4 });
      const outputs = await system.client.outputs(job.id);
      expect(outputs.filter((output) => output.temporary)).toHaveLength(2);
      expect(new Set(outputs.map((output) => output.id)).size).toBe(4);
      for (const output of outputs) await system.client.download(output);
    }
  });

  it("a file deleted behind our back is rendered again or fails, and is never an empty success", async () => {
    await start();
    simulator().faults.add({ kind: "delete_file", match: { nodeClass: "SaveImage" } });
    const job = await system.client.submit(quickGraph(40));
    const end = await ended(job);
    const outputs = await system.client.outputs(job.id);
    if (end.status === "completed") {
      expect(end.attemptCount).toBeGreaterThan(1);
      expect(outputs).toHaveLength(1);
    } else {
      expect(end.status).toBe("failed");
    }
  });

  it("an output dropped at validation (F2) is a failure that names it", async () => {
    await start();
    const job = await system.client.submit({
      ...quickGraph(41),
      "3": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "tiny.safetensors" } },
      "4": {
        class_type: "EmptyLatentImage",
        inputs: { width: 64, height: 64, batch_size: 1_000_000 },
      },
      "5": { class_type: "VAEDecode", inputs: { samples: ["4", 0], vae: ["3", 2] } },
      "6": { class_type: "SaveImage", inputs: { images: ["5", 0], filename_prefix: "x" } },
    });
    const end = await ended(job);
    expect(end).toMatchObject({ status: "failed", error: { class: "workflow_error" } });
    expect(end.error?.message).toMatch(/batch_size/);
  });
});

describe("trouble of ours", () => {
  it("an agent that starts again collects what ComfyUI finished, without rendering it twice", async () => {
    await start();
    const before = simulator().stats().promptsRun;
    const jobs = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        system.client.submit(sleepingGraph(50 + index, 0.15)),
      ),
    );
    await until("one runs", async () => (await status(jobs[0] as JobView)) === "processing");
    await system.restartAgent();
    for (const job of jobs) expect(await ended(job)).toMatchObject({ status: "completed" });
    expect(simulator().stats().promptsRun - before).toBeLessThanOrEqual(11);
  });

  it("a store that is down makes the job wait, and never fail", async () => {
    await start();
    const home = join(system.folder, "home");
    await rename(join(home, "store"), join(home, "store-away"));
    const job = await system.client.submit(quickGraph(60));
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect((await system.client.job(job.id)).endedAt).toBeNull();
    await rename(join(home, "store-away"), join(home, "store")).catch(() => undefined);
    expect(await ended(job, 60_000)).toMatchObject({ status: "completed", attemptCount: 1 });
  });

  it("a caller who goes away loses nothing", async () => {
    await start();
    const gone = new AbortController();
    const submitted = fetch(`${system.url}/api/v1/jobs`, {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": "once" },
      body: JSON.stringify({ graph: sleepingGraph(61, 0.2) }),
      signal: gone.signal,
    }).catch(() => undefined);
    await until("the job is there", async () => {
      const page = await system.client.call<{ items: JobView[] }>("GET", "/api/v1/jobs");
      return page.items.length === 1;
    });
    gone.abort();
    await submitted;
    const page = await system.client.call<{ items: JobView[] }>("GET", "/api/v1/jobs");
    expect(await ended(page.items[0] as JobView)).toMatchObject({ status: "completed" });
  });

  it("a full queue is answered 429 with Retry-After before anything is accepted", async () => {
    await start({ agent: false, env: { HOLDFAST_MAX_QUEUED_JOBS: "3" } });
    for (let index = 0; index < 3; index += 1) await system.client.submit(quickGraph(index));
    const answer = await fetch(`${system.url}/api/v1/jobs`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ graph: quickGraph(9) }),
    });
    expect(answer.status).toBe(429);
    expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
    const stats = await system.client.call<{ jobs: Record<string, number> }>(
      "GET",
      "/api/v1/stats",
    );
    expect(stats.jobs["queued"]).toBe(3);
  });

  it("a 90 MB body is refused, and /healthz stays quick meanwhile", async () => {
    await start({ agent: false });
    const body = Buffer.alloc(90 * 1024 * 1024, 0x20);
    const sending = fetch(`${system.url}/api/v1/jobs`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    }).then(
      (answer) => answer.status,
      () => 413,
    );
    let slowestMs = 0;
    for (let index = 0; index < 20; index += 1) {
      const startedAt = performance.now();
      expect((await fetch(`${system.url}/healthz`)).status).toBe(200);
      slowestMs = Math.max(slowestMs, performance.now() - startedAt);
    }
    expect(await sending).toBe(413);
    expect(slowestMs).toBeLessThan(1_000);
  });
});

describe("cancel", () => {
  it("of a queued job: it never runs", async () => {
    await start();
    const blocker = await system.client.submit(sleepingGraph(70, 0.5));
    const others = await Promise.all(
      [71, 72, 73].map((seed) => system.client.submit(quickGraph(seed))),
    );
    const last = others.at(-1) as JobView;
    const before = simulator().stats().promptsRun;
    await system.client.call("POST", `/api/v1/jobs/${last.id}/cancel`);
    expect((await ended(last)).status).toBe("cancelled");
    await ended(blocker);
    for (const job of others.slice(0, -1)) await ended(job);
    expect(simulator().stats().promptsRun - before).toBeLessThanOrEqual(3);
  });

  it("of a running job: ComfyUI is interrupted, and the next one runs", async () => {
    await start();
    const running = await system.client.submit(sleepingGraph(80, 30));
    await until("it runs", async () => (await status(running)) === "processing");
    await system.client.call("POST", `/api/v1/jobs/${running.id}/cancel`);
    expect((await ended(running)).status).toBe("cancelled");
    expect(await ended(await system.client.submit(quickGraph(81)))).toMatchObject({
      status: "completed",
    });
  });

  it("of one that cannot be interrupted: it is cancelled at once, its result is dropped", async () => {
    await start();
    const graph = sleepingGraph(90, 1.5);
    const stubborn = {
      ...graph,
      "2": { ...graph["2"], inputs: { ...graph["2"].inputs, poll: false } },
    };
    const running = await system.client.submit(stubborn);
    await until("it runs", async () => (await status(running)) === "processing");
    await system.client.call("POST", `/api/v1/jobs/${running.id}/cancel`);
    expect((await ended(running, 2_000)).status).toBe("cancelled");
    const next = await system.client.submit(quickGraph(91));
    expect(await ended(next)).toMatchObject({ status: "completed" });
    expect(await system.client.outputs(running.id)).toEqual([]);
  });
});

describe("webhooks", () => {
  it("reach a target that drops the first call after reading it, with the same id", async () => {
    const seen: string[] = [];
    const target: Server = createServer((request, response) => {
      seen.push(String(request.headers["webhook-id"]));
      request.resume();
      request.on("end", () => {
        if (seen.length === 1) request.socket.destroy();
        else response.writeHead(204).end();
      });
    });
    await new Promise<void>((resolve) => target.listen(0, "127.0.0.1", resolve));
    const address = target.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    try {
      await start({ env: { HOLDFAST_ALLOW_PRIVATE_URLS: "127.0.0.1" } });
      const job = await system.client.submit(quickGraph(100), {
        webhook: { url: `http://127.0.0.1:${port}/hook`, events: ["job.completed"] },
      });
      await ended(job);
      await until("the second call", () => seen.length >= 2, 30_000);
      expect(new Set(seen).size).toBe(1);
    } finally {
      target.closeAllConnections();
      target.close();
    }
  });
});
