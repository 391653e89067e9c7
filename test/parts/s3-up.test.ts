/** `holdfast up` with its files on a real S3 server that dies, stands still and refuses. */
import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { JobView, OutputView } from "@holdfast/contract";
import { afterEach, beforeEach, expect, it } from "vitest";
import { keysIn, makeBucket } from "../../packages/control-plane/testing/s3-store-contract.ts";
import { api, quickGraph } from "../support/api.ts";
import {
  freePort,
  startHoldfast,
  temporaryFolder,
  until,
  type HoldfastProcess,
} from "../support/processes.ts";
import { startByteProxy, type ByteProxy } from "./byte-proxy.ts";
import { startS3Server, type S3Server } from "./s3-server.ts";
import { describeOnEachServer } from "./s3-servers.ts";

const MIB = 1024 * 1024;
/** Jobs end in this time once the store is back: the breaker's longest pause, and the renders. */
const END_LIMIT_MS = 90_000;
/** A question that needs the store has its answer in this time, whatever the store does. */
const ANSWER_LIMIT_MS = 15_000;

describeOnEachServer("holdfast up", (name, program) => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let server: S3Server;
  let proxy: ByteProxy;
  let bucket: string;
  let url: string;
  const started: HoldfastProcess[] = [];
  beforeEach(async () => {
    folder = await temporaryFolder();
    server = await startS3Server(name, program);
    proxy = await startByteProxy(server.endpoint);
    bucket = await makeBucket(server);
    url = `http://127.0.0.1:${await freePort()}`;
  });
  afterEach(async () => {
    server.resume();
    for (const one of started.splice(0)) await one.stop("SIGINT", 20_000);
    await proxy.close();
    await server.close();
    await folder.remove();
  });

  const up = async (secret = server.secretAccessKey): Promise<HoldfastProcess> => {
    const one = startHoldfast("up", ["up", "--simulator"], {
      HOLDFAST_HOME: join(folder.path, "home"),
      HOLDFAST_PORT: new URL(url).port,
      HOLDFAST_STORE: `s3://${bucket}/renders`,
      HOLDFAST_S3_ENDPOINT: proxy.url,
      HOLDFAST_S3_ACCESS_KEY_ID: server.accessKeyId,
      HOLDFAST_S3_SECRET_ACCESS_KEY: secret,
    });
    started.push(one);
    await one.saw("is up", 60_000);
    return one;
  };
  const client = () => api(url);
  const ready = () => until("it is ready", () => client().isReady(), 60_000);
  /** Why nothing can start now, as far as the store is the reason. */
  const storeTrouble = async (): Promise<string | undefined> => {
    const answer = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) });
    const { checks } = (await answer.json()) as {
      checks: { name: string; ok: boolean; reason: string | null }[];
    };
    return checks.find((check) => check.name === "store" && !check.ok)?.reason ?? undefined;
  };
  const ended = (job: JobView): Promise<JobView> =>
    until(
      `job ${job.number} ends`,
      async () => {
        const now = await client().job(job.id);
        return now.endedAt === null ? undefined : now;
      },
      END_LIMIT_MS,
    );
  /** Resolves when an output is on the agent's own disk, where it waits for the store. */
  const isKept = (): Promise<boolean> =>
    until("the agent keeps the output on disk", async () => {
      const files = await readdir(join(folder.path, "home", "agent", "spool"));
      return files.length > 0;
    });
  const promptsRun = async (): Promise<number> => {
    const output = started.at(-1)?.output() ?? "";
    const simulator = /simulated ComfyUI (http:\/\/127\.0\.0\.1:\d+)/.exec(output)?.[1];
    const answer = await fetch(`${simulator}/simulator/stats`);
    return ((await answer.json()) as { promptsRun: number }).promptsRun;
  };
  /** The job waits, and nothing of that counts as a failure. */
  const expectWaiting = async (job: JobView): Promise<void> => {
    expect(await client().job(job.id)).toMatchObject({
      status: "processing",
      failureCount: 0,
      outputCount: 0,
      endedAt: null,
    });
  };
  /** The job completed, with its outputs whole, here and in the bucket. */
  const expectWhole = async (job: JobView, attemptCount = 1): Promise<readonly OutputView[]> => {
    expect(await ended(job)).toMatchObject({
      status: "completed",
      attemptCount,
      failureCount: 0,
      outputCount: 1,
    });
    const outputs = await client().outputs(job.id);
    expect(outputs).toHaveLength(1);
    for (const output of outputs) {
      // Checks size and SHA-256 of what comes.
      const bytes = await client().download(output);
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      const key = `renders/${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256}`;
      expect(await keysIn(server, bucket)).toContain(key);
    }
    return outputs;
  };

  it("killed in the middle of an upload, its server comes back, and every job completes with whole outputs, rendered once", async () => {
    await up();
    await ready();
    const before = await promptsRun();
    const small = await Promise.all([1, 2, 3].map((seed) => client().submit(quickGraph(seed))));
    for (const job of small) await expectWhole(job);
    let killing: Promise<void> | undefined;
    // Of 24 MiB that are on their way, in parts of 8.
    proxy.afterSending(12 * MIB, () => {
      killing = server.kill();
    });
    const large = await Promise.all([6, 7].map((count) => client().submit(latentGraph(count))));
    await until("the server was killed", () => killing !== undefined);
    await killing;
    const late = await client().submit(quickGraph(4));
    await until("it says that the store is down", storeTrouble);
    await isKept();
    for (const job of [...large, late]) {
      const { status, failureCount } = await client().job(job.id);
      expect(["queued", "processing"]).toContain(status);
      expect(failureCount).toBe(0);
    }
    await server.start();
    for (const job of [...large, late]) await expectWhole(job);
    for (const job of large) {
      const [output] = await client().outputs(job.id);
      expect(output?.sizeBytes).toBeGreaterThan(24 * MIB);
    }
    expect((await promptsRun()) - before).toBe(6);
  });

  it("down when an output is ready: the job waits, its output on the agent's disk, and completes when the server is back", async () => {
    await up();
    await ready();
    await server.kill();
    const job = await client().submit(quickGraph(5));
    await isKept();
    expect(await until("it says why", storeTrouble)).toContain(`s3://${bucket}/renders`);
    // Longer than the breaker's first pauses: waiting is no failure.
    await new Promise((resolve) => setTimeout(resolve, 10_000));
    await expectWaiting(job);
    await server.start();
    await expectWhole(job);
  });

  it("standing still: nobody waits for it for ever, and the job completes when it goes on", async () => {
    await up();
    await ready();
    const [output] = await expectWhole(await client().submit(quickGraph(6)));
    server.pause();
    const job = await client().submit(quickGraph(7));
    const download = await fetch(new URL(output?.url ?? "", url), {
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
    });
    expect(download.status).toBe(503);
    expect(await download.json()).toMatchObject({ error: { code: "store_unavailable" } });
    expect(await storeTrouble()).toBeDefined();
    const asked = performance.now();
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    expect(performance.now() - asked).toBeLessThan(1_000);
    await expectWaiting(job);
    server.resume();
    await expectWhole(job);
  });

  it("an output whose answer is lost is not counted before the server has answered", async () => {
    await up();
    await ready();
    const lost = proxy.loseAnswers(/^PUT /, Infinity);
    const job = await client().submit(quickGraph(8));
    await lost;
    await isKept();
    // The bytes are there; nobody knows, and so the job has not ended.
    expect(await keysIn(server, bucket)).toHaveLength(1);
    await expectWaiting(job);
    proxy.passAnswers();
    await expectWhole(job);
  });

  it("refusing the credentials: it says so, the job waits, and a start with the right ones completes it", async () => {
    const refused = await up("not-the-secret");
    expect(await until("it says so", storeTrouble)).toContain("credentials");
    const job = await client().submit(quickGraph(9));
    await isKept();
    await expectWaiting(job);
    expect(refused.output()).not.toContain("not-the-secret");
    expect(await refused.stop("SIGINT")).toBe(0);
    await up();
    // Its ComfyUI ended with the process, and so the output is rendered again, free.
    await expectWhole(job, 2);
  });
});

/** An output of `count` × 4 MiB: a tensor is written as it is. */
function latentGraph(count: number) {
  return {
    "1": {
      class_type: "EmptyLatentImage",
      inputs: { width: 4096, height: 4096, batch_size: count },
    },
    "2": { class_type: "SaveLatent", inputs: { samples: ["1", 0], filename_prefix: "large" } },
  };
}
