import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { JobView } from "@holdfast/contract";
import { seededRandom, type Clock } from "@holdfast/runtime";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { answered, fakeApi, GONE, refused, type ApiCall } from "../../testing/fake-api.ts";
import type { ApiAnswer } from "../api/api-client.ts";
import { createHoldfastRenderer } from "./holdfast-renderer.ts";
import type { EarlierStart } from "./renderer.ts";

let workFolder: string;
beforeEach(async () => {
  workFolder = await mkdtemp(join(tmpdir(), "holdfast-jobs-"));
});
afterEach(async () => {
  await rm(workFolder, { recursive: true, force: true });
});

const AT = "2026-01-02T03:04:05.678Z";
const job = (over: Partial<JobView> = {}): Partial<JobView> => ({
  id: "job_1",
  status: "completed",
  attemptCount: 2,
  executionMs: 1_500,
  outputCount: 1,
  error: null,
  changes: { loss: "pixels", steps: ["tiled VAE"] },
  createdAt: AT,
  startedAt: AT,
  endedAt: AT,
  ...over,
});
const running = job({ status: "processing" as JobView["status"], endedAt: null });
const failedJob = job({
  status: "failed",
  changes: null,
  error: { class: "instance_crash", message: "it died" } as JobView["error"],
});
const evidence = {
  channel: "execution",
  message: "cannot reshape tensor",
  exceptionType: "RuntimeError",
  traceback: ['  File "nodes_mask.py", line 110, in mask_to_image\n'],
};
const BYTES = "a picture";
const output = {
  id: "out_1",
  nodeId: "9",
  name: "x.png",
  mediaType: "image/png",
  url: "/x",
  sizeBytes: BYTES.length,
  sha256: createHash("sha256").update(BYTES).digest("hex"),
  temporary: false,
};

const answeredWith = (text: string): ApiAnswer => ({
  kind: "answered",
  response: new Response(text),
});

/** A server whose job is so, look after look; the last for ever. */
function server(
  looks: readonly (Partial<JobView> | ApiAnswer)[],
  submitted: ApiAnswer[] = [],
  content?: ApiAnswer,
) {
  let look = 0;
  return fakeApi(({ method, path }: ApiCall): ApiAnswer => {
    if (method === "POST" && path.endsWith("/retry")) return answered({ job: running });
    if (method === "POST") {
      return submitted.shift() ?? answered({ job: running, created: true, warnings: [] });
    }
    if (path.endsWith("/attempts"))
      return answered({ attempts: [{ evidence }, { evidence: null }] });
    if (path.endsWith("/outputs")) return answered({ outputs: [output] });
    if (path.endsWith("/content")) return content ?? answeredWith(BYTES);
    const found = looks[Math.min(look++, looks.length - 1)] ?? running;
    return "kind" in found ? (found as ApiAnswer) : answered(found);
  });
}
const ground = (api: ReturnType<typeof server>, clock: Clock = createFakeClock()) =>
  createHoldfastRenderer({
    api,
    experiment: "castle",
    workFolder,
    executionLimitMs: 60_000,
    clock,
    random: seededRandom(1),
  });
const PROMPT = "6b83fb8e-4136-4991-bd4c-8ca9b704810c";
const request = (earlier?: EarlierStart) => ({
  name: "exp_0042",
  graph: { "1": { class_type: "A", inputs: {} } },
  promptId: PROMPT,
  earlier,
});
/** Time goes on while something waits for it. */
async function inTime<T>(clock: FakeClock, work: Promise<T>): Promise<T> {
  let isOver = false;
  const over = work.finally(() => {
    isOver = true;
  });
  over.catch(() => undefined);
  while (!isOver) {
    await clock.advanceToNext();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return await over;
}

describe("a run on a Holdfast", () => {
  it("is a job under a key of its own, and tells what recovery did", async () => {
    const api = server([running, running, job()]);
    const clock = createFakeClock();
    const rendered = await inTime(clock, ground(api, clock).render(request()));
    expect(rendered.failure).toBeUndefined();
    expect(rendered.files).toMatchObject([{ name: "x.png", sha256: output.sha256 }]);
    expect(rendered.facts).toMatchObject({ attempts: 2, loss: 1, recovery: ["tiled VAE"] });
    expect(api.calls[0]?.json).toMatchObject({
      name: "castle exp_0042",
      metadata: { experiment: "castle", run: "exp_0042" },
    });
    expect(api.headers[0]).toMatchObject({ "idempotency-key": `experiment-${PROMPT}` });
  });

  it("is waited for through a restart of the server", async () => {
    const api = server([GONE, GONE, refused(503, "shutting_down", "later"), running, job()]);
    const clock = createFakeClock();
    expect((await inTime(clock, ground(api, clock).render(request()))).failure).toBeUndefined();
  });

  it("fails as a service's trouble when the server stays away, and not before its time", async () => {
    const api = server([GONE]);
    const clock = createFakeClock();
    const begun = clock.elapsed();
    const { failure } = await inTime(clock, ground(api, clock).render(request()));
    expect(failure).toMatchObject({ class: "network_error", isInfrastructure: true });
    expect(clock.elapsed() - begun).toBeGreaterThan(30_000);
    expect(clock.elapsed() - begun).toBeLessThan(40_000);
  });

  it("that is refused fails for its own reason; a wrong key is none of its", async () => {
    const bad = server([], [refused(400, "graph_invalid" as never, "no node 9")]);
    expect((await ground(bad).render(request())).failure).toMatchObject({
      class: "workflow_error",
      isInfrastructure: false,
    });
    const key = server([], [refused(401, "unauthorized", "no key")]);
    expect((await ground(key).render(request())).failure).toMatchObject({
      class: "auth_error",
      isInfrastructure: true,
      isRefusal: true,
    });
  });

  it("whose pictures are refused for its key fails for that, not for a service that is down", async () => {
    const api = server([job()], [], refused(401, "unauthorized", "this API key was revoked"));
    const clock = createFakeClock();
    expect((await inTime(clock, ground(api, clock).render(request()))).failure).toEqual({
      class: "auth_error",
      message:
        "output x.png could not be fetched: this API key was revoked\nSet HOLDFAST_API_KEY, or use --api-key.",
      isInfrastructure: true,
      isRefusal: true,
    });
  });

  it("that fails says where, with the traceback that its attempt has", async () => {
    const error = {
      class: "workflow_error",
      message: "cannot reshape tensor",
      nodeId: "5",
      nodeType: "MaskToImage",
    } as JobView["error"];
    const api = server([job({ status: "failed", changes: null, error })]);
    const clock = createFakeClock();
    expect((await inTime(clock, ground(api, clock).render(request()))).failure).toEqual({
      class: "workflow_error",
      message: "cannot reshape tensor",
      isInfrastructure: false,
      nodeId: "5",
      nodeType: "MaskToImage",
      exceptionType: "RuntimeError",
      traceback: '  File "nodes_mask.py", line 110, in mask_to_image',
    });
  });

  it("waits where the queue is full", async () => {
    const api = server([job()], [refused(429, "queue_full", "full")]);
    const clock = createFakeClock();
    expect((await inTime(clock, ground(api, clock).render(request()))).failure).toBeUndefined();
  });
});

describe("a run that is done again on a Holdfast", () => {
  it("is the same job: one that failed with a service is retried", async () => {
    const submitted = answered({ job: failedJob, created: false, warnings: [] });
    const api = server([job()], [submitted]);
    const one = ground(api, createFakeClock());
    const earlier = { promptId: PROMPT, hasEnded: true };
    expect(one.nextPromptId(earlier)).toBe(PROMPT);
    const clock = createFakeClock();
    const rendered = await inTime(clock, ground(api, clock).render(request(earlier)));
    expect(rendered.failure).toBeUndefined();
    expect(api.calls.some(({ path }) => path.endsWith("/job_1/retry"))).toBe(true);
  });

  it("takes what its job came to while no process was there", async () => {
    const ended = answered({ job: failedJob, created: false, warnings: [] });
    const api = server([], [ended]);
    const earlier = { promptId: PROMPT, hasEnded: false };
    const { failure, facts } = await ground(api).render(request(earlier));
    expect(failure).toMatchObject({ class: "instance_crash", isInfrastructure: true });
    expect(facts.span).toEqual({ startedAt: Date.parse(AT), endedAt: Date.parse(AT) });
    expect(api.calls.some(({ path }) => path.endsWith("/retry"))).toBe(false);
  });
});
