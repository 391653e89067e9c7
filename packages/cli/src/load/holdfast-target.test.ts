/** Against a server in memory: what passes is waited out, what ends a job is told. */
import { seededRandom } from "@holdfast/runtime";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, expect, it } from "vitest";
import { answered, fakeApi, GONE, refused, type ApiCall } from "../../testing/fake-api.ts";
import { fieldOf, type ApiAnswer } from "../api/api-client.ts";
import { openHoldfastTarget } from "./holdfast-target.ts";
import type { LoadTarget, Rendered } from "./load-target.ts";

const JOB = { index: 0, workflow: "w", graph: {}, timeoutMs: 60_000 };
const never = new AbortController().signal;
/** The server's clock is an hour ahead. */
const AHEAD_MS = 3_600_000;

let clock: FakeClock;
let target: LoadTarget;
let api: ReturnType<typeof fakeApi>;
let stream: ReadableStreamDefaultController<Uint8Array>;
let answers: Record<string, (call: ApiCall) => ApiAnswer>;

const at = (elapsed: number): string => new Date(elapsed + AHEAD_MS).toISOString();
const tell = (type: string, data: object): void => {
  const text = `event: ${type}\ndata: ${JSON.stringify({ type, data })}\n\n`;
  stream.enqueue(new TextEncoder().encode(text));
};
const count = (path: string): number => api.calls.filter((call) => call.path === path).length;
/** Lets answers be read, which takes turns of the platform's own. */
const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

beforeEach(async () => {
  clock = createFakeClock();
  answers = {
    "/api/v1/jobs": () =>
      answered({ job: { id: "job_1", status: "queued", createdAt: at(clock.elapsed()) } }),
    "/api/v1/jobs/job_1/attempts": () =>
      answered({
        attempts: [
          { startedAt: at(100), endedAt: at(200), timings: {} },
          { startedAt: at(300), endedAt: at(900), timings: { executeMs: 500 } },
        ],
      }),
    "/api/v1/jobs/job_1/outputs": () =>
      answered({
        outputs: [
          { id: "out_1", kind: "image", temporary: false },
          { id: "out_2", kind: "image", temporary: true },
          { id: "out_3", kind: "text", temporary: false },
        ],
      }),
    "/api/v1/outputs/out_1/content": () => ({
      kind: "answered",
      response: new Response("12345"),
    }),
  };
  api = fakeApi((call) => {
    if (call.path.startsWith("/api/v1/events")) {
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => {
          stream = controller;
          endStream = () => {
            endStream = () => undefined;
            controller.close();
          };
        },
      });
      return { kind: "answered", response: new Response(body) };
    }
    return answers[call.path]?.(call) ?? answered({});
  });
  target = await openHoldfastTarget({ api, version: "1", clock, random: seededRandom(1) });
});
/** The fake reads no signal: its stream ends by hand. */
let endStream: () => void;
afterEach(async () => {
  endStream();
  const closed = target.close();
  await settle();
  await clock.advance(60_000);
  await closed;
});

const begin = async (signal = never): Promise<Promise<Rendered>[]> => {
  const rendered = target.render(JOB, signal);
  await settle();
  return [rendered];
};

it("is told of the end, fetches the outputs, and shifts the server's times", async () => {
  const [rendered] = await begin();
  await clock.advance(1_000);
  tell("job.changed", { jobId: "job_1" });
  tell("job.completed", { jobId: "job_1" });
  expect(await rendered).toEqual({
    seen: {
      begunAt: 0,
      acceptedAt: 0,
      startedAt: 300,
      loadedAt: null,
      executedAt: 800,
      endedAt: 1_000,
      outcome: "completed",
      errorClass: null,
      retries: 1,
      changed: true,
      outputs: 1,
      bytes: 5,
    },
    message: "",
  });
});

it("tells whether models had to be loaded, where an attempt says so", async () => {
  answers["/api/v1/jobs/job_1/attempts"] = () =>
    answered({ attempts: [{ timings: { cold: 0 } }, { timings: { cold: 1 } }] });
  const [rendered] = await begin();
  tell("job.completed", { jobId: "job_1" });
  expect((await rendered)?.isCold).toBe(true);
});

it("an end that is told before the submit is answered is not lost", async () => {
  const submit = answers["/api/v1/jobs"];
  answers["/api/v1/jobs"] = (call) => {
    tell("job.completed", { jobId: "job_1" });
    return submit?.(call) ?? GONE;
  };
  const [rendered] = await begin();
  expect((await rendered)?.seen.outcome).toBe("completed");
});

it("a server that is away, and a full queue, are waited out under one idempotency key", async () => {
  const submit = answers["/api/v1/jobs"];
  const before: ApiAnswer[] = [GONE, refused(429, "overloaded", "full")];
  answers["/api/v1/jobs"] = (call) => before.shift() ?? submit?.(call) ?? GONE;
  const [rendered] = await begin();
  await clock.advance(5_000);
  await settle();
  tell("job.completed", { jobId: "job_1" });
  expect((await rendered)?.seen).toMatchObject({ outcome: "completed" });
  expect(count("/api/v1/jobs")).toBe(3);
  const keys = api.headers.map((headers) => headers["idempotency-key"]).filter((key) => key);
  expect(keys).toHaveLength(3);
  expect(new Set(keys).size).toBe(1);
});

it("times of a job that was let in late are shifted by the request that let it in", async () => {
  const submit = answers["/api/v1/jobs"];
  const before: ApiAnswer[] = [GONE, refused(429, "overloaded", "full"), GONE];
  answers["/api/v1/jobs"] = (call) => before.shift() ?? submit?.(call) ?? GONE;
  answers["/api/v1/jobs/job_1/attempts"] = () =>
    answered({ attempts: [{ startedAt: at(9_000), endedAt: at(9_500), timings: {} }] });
  const [rendered] = await begin();
  for (let n = 0; n < 10; n += 1) {
    await clock.advance(1_000);
    await settle();
  }
  tell("job.completed", { jobId: "job_1" });
  expect((await rendered)?.seen).toMatchObject({ startedAt: 9_000, executedAt: 9_500 });
});

it("a submit that got no answer in time is taken back in the end, should it have come through", async () => {
  answers["/api/v1/jobs"] = () => GONE;
  const [rendered] = await begin();
  for (let n = 0; n < 61; n += 1) {
    await clock.advance(1_000);
    await settle();
  }
  expect((await rendered)?.seen.outcome).toBe("timed_out");
  const closed = target.close();
  await settle();
  await clock.advance(1_000);
  endStream();
  await settle();
  await clock.advance(10_000);
  await closed;
  expect(count("/api/v1/jobs/cancel")).toBe(2);
});

it("a refusal is one, with its code", async () => {
  answers["/api/v1/jobs"] = () => refused(422, "invalid_graph" as never, "no such node");
  const [rendered] = await begin();
  expect(await rendered).toMatchObject({
    seen: { outcome: "refused", errorClass: "invalid_graph", acceptedAt: null },
    message: "invalid_graph: no such node",
  });
});

it("a job whose end was never told is looked at", async () => {
  answers["/api/v1/jobs/job_1"] = () =>
    answered({ status: "failed", changes: null, error: { class: "timeout", message: "stalled" } });
  const [rendered] = await begin();
  await clock.advance(8_000);
  await settle();
  expect(await rendered).toMatchObject({
    seen: { outcome: "failed", errorClass: "timeout", changed: false, retries: 1 },
    message: "stalled",
  });
});

it("a job out of its time is cancelled at the server", async () => {
  const [rendered] = await begin();
  await clock.advance(60_000);
  expect((await rendered)?.seen).toMatchObject({ outcome: "timed_out", endedAt: 60_000 });
  expect(count("/api/v1/jobs/job_1/cancel")).toBe(1);
});

it("a run that is cancelled cancels all its jobs, also one whose submit was on its way", async () => {
  const cancel = new AbortController();
  const [rendered] = await begin(cancel.signal);
  cancel.abort();
  expect((await rendered)?.seen.outcome).toBe("cancelled");
  const closed = target.close();
  await settle();
  await clock.advance(1_000);
  endStream();
  await settle();
  await clock.advance(10_000);
  await closed;
  const cancels = api.calls.filter(({ path }) => path === "/api/v1/jobs/cancel");
  expect(cancels).toHaveLength(2);
  const submit = api.calls.find(({ path }) => path === "/api/v1/jobs");
  expect(submit?.json).toMatchObject({ tags: ["load", fieldOf(cancels[0]?.json, "tag")] });
});
