/** What Holdfast promises, kept with a real ComfyUI. */
import { readFile } from "node:fs/promises";
import type { JobView } from "@holdfast/contract";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { quickGraph, sleepingGraph } from "../support/api.ts";
import { until } from "../support/processes.ts";
import { startRealSystem, type RealSystem } from "./real-system.ts";
import {
  COMFYUI_URL,
  firstKnownClass,
  rendersWithin,
  RESTART_COMMAND,
  restartComfyUi,
  tellWhatIsSkipped,
} from "./target.ts";
import { startTcpProxy, type TcpProxy } from "./tcp-proxy.ts";

tellWhatIsSkipped("real/agent", true);

const JOBS = 10;

describe.skipIf(COMFYUI_URL === "")("Holdfast and a real ComfyUI", () => {
  let hasSleeper = false;
  let system: RealSystem;
  let proxy: TcpProxy;

  beforeAll(async () => {
    hasSleeper = (await firstKnownClass(["HoldfastSleep"])) !== undefined;
    if (!hasSleeper) {
      console.warn("real/agent: SKIPPED where a node must sleep, ComfyUI has no HoldfastSleep");
    }
  });
  beforeEach(async () => {
    proxy = await startTcpProxy(COMFYUI_URL);
    system = await startRealSystem(proxy.url);
  });
  afterEach(async () => {
    await system.close();
    await proxy.close();
  });

  let seed = Math.floor(Math.random() * 1_000_000);
  const nextSeed = (): number => {
    seed += 1;
    return seed;
  };
  const submitMany = (count: number, graph: () => object): Promise<JobView[]> =>
    Promise.all(Array.from({ length: count }, () => system.client.submit(graph())));
  const runs = (job: JobView | undefined) => async (): Promise<boolean> =>
    job !== undefined && (await system.client.job(job.id)).status === "processing";
  const downloadAll = async (job: JobView): Promise<readonly Buffer[]> => {
    const outputs = await system.client.outputs(job.id);
    return await Promise.all(outputs.map((output) => system.client.download(output)));
  };
  /** How often each job's prompts were posted, at most. */
  const postsOf = async (jobs: readonly JobView[]): Promise<number[]> => {
    const perJob = [];
    for (const job of jobs) {
      const attempts = await system.client.attempts(job.id);
      const ids = new Set(attempts.map((attempt) => attempt.promptId));
      perJob.push(proxy.postedPromptIds().filter((id) => ids.has(id)).length);
    }
    return perJob;
  };

  it("the model-free example completes, and its picture is whole", async () => {
    const file = new URL("../../examples/model-free.json", import.meta.url);
    const job = await system.client.submit(JSON.parse(await readFile(file, "utf8")));
    expect(await system.ended(job)).toMatchObject({ status: "completed", outputCount: 1 });
    const [picture] = await downloadAll(job);
    expect(picture?.subarray(1, 4).toString()).toBe("PNG");
    expect([picture?.readUInt32BE(16), picture?.readUInt32BE(20)]).toEqual([768, 512]);
  });

  it("an agent that starts again with jobs in flight renders none of them twice", async (context) => {
    if (!hasSleeper) context.skip();
    const jobs = await submitMany(JOBS, () => sleepingGraph(nextSeed(), 0.5));
    await until("one runs", runs(jobs[0]));
    await system.restartAgent();
    await until("one has ended", async () => {
      const all = await Promise.all(jobs.map((job) => system.client.job(job.id)));
      return all.some((job) => job.endedAt !== null);
    });
    await system.restartAgent();
    for (const job of jobs) {
      expect(await system.ended(job)).toMatchObject({ status: "completed", attemptCount: 1 });
      expect(await downloadAll(job)).toHaveLength(1);
    }
    expect(await postsOf(jobs)).toEqual(jobs.map(() => 1));
  });

  it("a socket cut mid-run costs no attempt", async (context) => {
    if (!hasSleeper) context.skip();
    const job = await system.client.submit(sleepingGraph(nextSeed(), 3));
    await until("it runs", runs(job));
    expect(proxy.cutAll()).toBeGreaterThan(0);
    expect(await system.ended(job)).toMatchObject({ status: "completed", attemptCount: 1 });
    expect(await postsOf([job])).toEqual([1]);
  });

  it("a POST that is cut after it was sent is rendered once", async () => {
    const cut = proxy.cutAtNextPrompt("after_request");
    const job = await system.client.submit(quickGraph(nextSeed()));
    await cut;
    expect(await system.ended(job)).toMatchObject({ status: "completed", attemptCount: 1 });
    expect(await downloadAll(job)).toHaveLength(1);
  });

  it("a running job is cancelled, and the next one runs", async (context) => {
    if (!hasSleeper) context.skip();
    const job = await system.client.submit(sleepingGraph(nextSeed(), 60));
    await until("it runs", runs(job));
    await system.client.call("POST", `/api/v1/jobs/${job.id}/cancel`);
    expect((await system.ended(job)).status).toBe("cancelled");
    const next = await system.client.submit(quickGraph(nextSeed()));
    expect((await system.ended(next, 20_000)).status).toBe("completed");
  });

  it.skipIf(RESTART_COMMAND === "")(
    "ComfyUI killed with jobs queued: all complete, what had ended stays",
    async (context) => {
      if (!hasSleeper) context.skip();
      const first = await system.client.submit(quickGraph(nextSeed()));
      await system.ended(first);
      const jobs = await submitMany(6, () => sleepingGraph(nextSeed(), 0.5));
      await until("one runs", runs(jobs[0]));
      await restartComfyUi();
      for (const job of jobs) {
        expect(await system.ended(job, 180_000)).toMatchObject({ status: "completed" });
        expect(await downloadAll(job)).toHaveLength(1);
      }
      expect(await downloadAll(first)).toHaveLength(1);
      expect((await system.client.job(first.id)).attemptCount).toBe(1);
    },
  );

  it.skipIf(RESTART_COMMAND === "")(
    "a node that calls sys.exit leaves a ComfyUI that looks well: it is found out, and others wait (F26)",
    async (context) => {
      if ((await firstKnownClass(["HoldfastExit"])) === undefined) context.skip();
      await system.close();
      // Nothing but a stall tells such a node from one that works: minutes, unless told otherwise.
      system = await startRealSystem(proxy.url, {
        HOLDFAST_STALL_MS: "5000",
        HOLDFAST_FIRST_LOAD_STALL_MS: "5000",
      });
      const { "1": source, "2": save } = quickGraph(nextSeed());
      const poison = await system.client.submit(
        {
          "1": source,
          "2": { ...save, inputs: { ...save.inputs, images: ["3", 0] } },
          "3": { class_type: "HoldfastExit", inputs: { image: ["1", 0] } },
        },
        { policy: { maxRetryAttempts: 0 } },
      );
      try {
        await until("it is no longer ready", async () => !(await system.client.isReady()), 90_000);
        const waiting = await system.client.submit(quickGraph(nextSeed()));
        await restartComfyUi();
        expect((await system.ended(waiting)).status).toBe("completed");
        await system.client.call("POST", `/api/v1/jobs/${poison.id}/cancel`).catch(() => undefined);
      } finally {
        if (!(await rendersWithin(5_000))) await restartComfyUi();
      }
    },
  );
});
