/** The client against a stand-in of MLflow, over real HTTP. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fastClock } from "../../testing/fast-clock.ts";
import { startFakeMlflow, type FakeMlflow } from "../../testing/fake-mlflow.ts";
import { probeMlflow } from "../probe.ts";
import { createMlflowClient, type MlflowClient } from "./client.ts";
import { tellTrouble, type MlflowTrouble } from "./trouble.ts";

let fake: FakeMlflow;
let client: MlflowClient;
const { signal } = new AbortController();
const clock = fastClock(1);
const clientOf = (baseUrl: string, authorization: string | null = null): MlflowClient =>
  createMlflowClient({ target: { baseUrl, authorization }, clock, connections: 2 });
const newRun = (experimentId: string) => ({ experimentId, name: "r", startedAt: 1, tags: [] });

beforeEach(async () => {
  fake = await startFakeMlflow();
  client = clientOf(fake.url);
});
afterEach(async () => {
  await client.close();
  await fake.close();
});

describe("an experiment", () => {
  it("is made once, and found after that", async () => {
    const [a, b] = await Promise.all([
      client.ensureExperiment("castle a/b", signal),
      client.ensureExperiment("castle a/b", signal),
    ]);
    expect(a).toEqual({ kind: "ok", value: "1" });
    expect(b).toEqual(a);
    expect(fake.state.experiments.size).toBe(1);
  });

  it("that somebody deleted is said, with what to do", async () => {
    await client.ensureExperiment("castle", signal);
    for (const experiment of fake.state.experiments.values()) experiment.isDeleted = true;
    const found = await client.ensureExperiment("castle", signal);
    expect(found).toEqual({ kind: "experiment_deleted", name: "castle", experimentId: "1" });
    expect(tellTrouble(found as MlflowTrouble)).toContain("mlflow experiments restore -x 1");
  });
});

describe("what goes wrong", () => {
  it("is a refusal in MLflow's words for a run that it does not know", async () => {
    const batch = { params: [], tags: [], metrics: [] };
    expect(await client.logBatch("nope", batch, signal)).toEqual({
      kind: "refused",
      status: 404,
      code: "RESOURCE_DOES_NOT_EXIST",
      message: "Run with id=nope not found",
    });
  });

  it("is told apart: refused connection, lost answer, time-out, 5xx, a page of somebody else", async () => {
    fake.fault = () => "lose_answer";
    expect(await client.createRun(newRun("1"), signal)).toMatchObject({
      kind: "unreachable",
      isSent: true,
    });
    fake.fault = () => 503;
    expect(await client.ask(signal)).toMatchObject({ kind: "failed", status: 503 });
    fake.fault = () => "page";
    expect(await client.ask(signal)).toMatchObject({ kind: "not_mlflow", status: 200 });
    fake.fault = () => "hang";
    const late = createMlflowClient({
      target: { baseUrl: fake.url, authorization: null },
      clock,
      connections: 1,
      callTimeoutMs: 30,
    });
    expect(await late.ask(signal)).toEqual({ kind: "timeout", afterMs: 30 });
    await late.close();
    await fake.stop();
    expect(await client.ask(signal)).toMatchObject({
      kind: "unreachable",
      code: "ECONNREFUSED",
      isSent: false,
    });
    await fake.restart();
  });

  it("is thrown only for an aborted signal", async () => {
    fake.fault = () => "hang";
    const abort = new AbortController();
    const asked = client.ask(abort.signal);
    abort.abort(new Error("enough"));
    await expect(asked).rejects.toThrow("enough");
    await expect(client.ask(abort.signal)).rejects.toThrow("enough");
  });

  it("is waited for by the injected clock", async () => {
    fake.fault = () => "hang";
    const fakeClock = createFakeClock();
    const target = { baseUrl: fake.url, authorization: null };
    const other = createMlflowClient({ target, clock: fakeClock, connections: 1 });
    const asked = other.ask(signal);
    await fakeClock.advance(30_000);
    expect(await asked).toEqual({ kind: "timeout", afterMs: 30_000 });
    await other.close();
  });
});

describe("an answer of a stranger", () => {
  let server: Server;
  let reply: { status: number; body: string; headers?: Record<string, string> };
  let stranger: MlflowClient;
  beforeEach(async () => {
    server = createServer((request, response) => {
      request.resume();
      response.writeHead(reply.status, reply.headers);
      response.end(reply.body);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    stranger = clientOf(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  });
  afterEach(async () => {
    await stranger.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const batch = { params: [], tags: [], metrics: [] };

  it.each([
    [
      "a redirect",
      { status: 302, body: "", headers: { location: "http://127.0.0.1:1/" } },
      "not_mlflow",
    ],
    ["half a JSON", { status: 200, body: "{" }, "not_mlflow"],
    ["a list", { status: 200, body: "[]" }, "not_mlflow"],
    ["17 MiB", { status: 200, body: "x".repeat(17 * 1024 * 1024) }, "not_mlflow"],
    ["a proxy's 404", { status: 404, body: "<h1>nginx</h1>" }, "not_mlflow"],
    ["a proxy's 413", { status: 413, body: "<h1>nginx</h1>" }, "refused"],
    ["an empty 401", { status: 401, body: "" }, "unauthorized"],
    [
      "a database's trouble",
      { status: 400, body: '{"error_code": "BAD_REQUEST", "message": "QueuePool limit"}' },
      "failed",
    ],
    ["no endpoint", { status: 404, body: '{"error_code": "ENDPOINT_NOT_FOUND"}' }, "not_mlflow"],
  ])("%s is never a yes", async (_, given, kind) => {
    reply = given;
    expect(await stranger.logBatch("r", batch, signal)).toMatchObject({ kind });
  });

  it("does not get its ids into a path", async () => {
    const run = { info: { run_id: "../../evil" }, data: {} };
    reply = { status: 200, body: JSON.stringify({ run }) };
    expect(await stranger.createRun(newRun("1"), signal)).toMatchObject({ kind: "not_mlflow" });
    const info = { run_id: "a", artifact_uri: "mlflow-artifacts:/1/../../x/artifacts" };
    reply = { status: 200, body: JSON.stringify({ run: { info } }) };
    expect(await stranger.createRun(newRun("1"), signal)).toMatchObject({
      value: { artifactRoot: { kind: "elsewhere" } },
    });
  });

  it("may ask for patience, within a limit", async () => {
    reply = { status: 429, body: "", headers: { "retry-after": "7" } };
    expect(await stranger.ask(signal)).toMatchObject({ kind: "failed", retryAfterMs: 7_000 });
    reply = { status: 429, body: "", headers: { "retry-after": "999999" } };
    expect(await stranger.ask(signal)).toMatchObject({ retryAfterMs: 600_000 });
  });
});

describe("the probe", () => {
  const probe = (baseUrl = fake.url, authorization: string | null = null) =>
    probeMlflow({ target: { baseUrl, authorization }, clock, timeoutMs: 5_000, signal });

  it("finds a server that is well, also below a path and behind a password", async () => {
    expect(await probe()).toEqual({ kind: "healthy" });
    const other = await startFakeMlflow("/team/mlflow");
    other.authorization = "Bearer t";
    expect(await probe(other.url, "Bearer t")).toEqual({ kind: "healthy" });
    expect(await probe(other.url)).toMatchObject({ kind: "unauthorized", status: 401 });
    await other.close();
  });

  it("sees that every call is refused by host although /health is green", async () => {
    fake.allowedHosts = ["mlflow.example:5000"];
    const { host } = new URL(fake.url);
    expect((await fetch(`${fake.url}/health`)).status).toBe(200);
    expect(await probe()).toEqual({ kind: "forbidden_host", host });
  });

  it("tells time-outs and closed ports", async () => {
    fake.fault = () => "hang";
    const target = { baseUrl: fake.url, authorization: null };
    expect(await probeMlflow({ target, clock, timeoutMs: 50, signal })).toEqual({
      kind: "timeout",
      afterMs: 50,
    });
    await fake.stop();
    expect(await probe()).toMatchObject({ kind: "unreachable", code: "ECONNREFUSED" });
    await fake.restart();
  });
});
