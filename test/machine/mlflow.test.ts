/** The log for MLflow on a real server: what it takes, refuses, and has after it or an answer was lost. */
import { createHash, randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { createServer, request, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { openRunLog, type RunLog } from "../../packages/mlflow/src/run-log.ts";
import { fromMlflowName } from "../../packages/mlflow/src/names.ts";
import { probeMlflow } from "../../packages/mlflow/src/probe.ts";
import { temporaryFolder } from "../support/processes.ts";
import { mlflowReader, type MlflowRun } from "./ground/mlflow-reader.ts";
import { findMlflow, startMlflow, type MlflowServer } from "./ground/mlflow.ts";

const python = await findMlflow();
const SOON = { timeoutMs: 120_000 };
const { signal } = new AbortController();

/** A reverse proxy: with another `Host`, or one that drops the answers of some calls. */
async function startProxy(
  target: string,
  rules: { readonly host?: string; dropsAnswer?: (request: IncomingMessage) => boolean },
): Promise<{ readonly url: string; readonly server: Server }> {
  const server = createServer((incoming, outgoing) => {
    const host = rules.host === undefined ? {} : { host: rules.host };
    const headers = { ...incoming.headers, ...host };
    const { url = "/", method = "GET" } = incoming;
    const onward = request(new URL(url, target), { method, headers }, (answer) => {
      if (rules.dropsAnswer?.(incoming) === true) {
        answer.resume().once("end", () => outgoing.destroy());
        return;
      }
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    onward.once("error", () => outgoing.destroy());
    incoming.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

describe.skipIf(python === undefined)("the log for MLflow, on MLflow", () => {
  let mlflow: MlflowServer;
  const read = () => mlflowReader(mlflow.url);
  beforeAll(async () => {
    mlflow = await startMlflow(python ?? "");
  });
  afterAll(() => mlflow.close());

  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let experiment: string;
  const logs: RunLog[] = [];
  const proxies: Server[] = [];
  let count = 0;
  beforeEach(async () => {
    folder = await temporaryFolder();
    experiment = `castle / ${(count += 1)} "ä"`;
  });
  afterEach(async () => {
    for (const log of logs.splice(0)) await log.close();
    for (const proxy of proxies.splice(0)) {
      proxy.closeAllConnections();
      proxy.close();
    }
    await folder.remove();
  });
  async function open(baseUrl = mlflow.url): Promise<RunLog> {
    const opened = await openRunLog({
      folder: join(folder.path, "mlflow"),
      experiment,
      target: { baseUrl, authorization: null },
      clock: systemClock,
      random: seededRandom(count),
    });
    if (opened.kind !== "open") throw new Error(JSON.stringify(opened));
    logs.push(opened.log);
    return opened.log;
  }
  async function proxied(rules: Parameters<typeof startProxy>[1]): Promise<string> {
    const { url, server } = await startProxy(mlflow.url, rules);
    proxies.push(server);
    return url;
  }
  const runs = () => read().runs(experiment);
  async function run(name: string): Promise<MlflowRun> {
    const found = (await runs()).get(name);
    if (found === undefined) throw new Error(`no run ${name}`);
    return found;
  }

  it("is found healthy, but not where every call is refused by host behind a green /health", async () => {
    const probe = (baseUrl: string) =>
      probeMlflow({
        target: { baseUrl, authorization: null },
        clock: systemClock,
        timeoutMs: 20_000,
        signal,
      });
    expect(await probe(mlflow.url)).toEqual({ kind: "healthy" });
    const url = await proxied({ host: "mlflow.example" });
    expect((await fetch(`${url}/health`)).status).toBe(200);
    expect(await probe(url)).toEqual({ kind: "forbidden_host", host: new URL(url).host });
  });

  it("has every name, value and byte as it was logged", async () => {
    const log = await open();
    const odd = ["6.text", "57:8.cfg", "a%b", "a//b", "..", "[x]", "Größe 日本", "e\nf", "_x25_"];
    const bytes = randomBytes(20 * 1024 * 1024);
    const image = join(folder.path, "image.png");
    await writeFile(image, bytes);
    await log.startRun({ key: "all", name: "all" });
    await log.startRun({
      key: "one",
      name: "exp_0000",
      parent: "all",
      params: Object.fromEntries([...odd.map((name) => [name, name]), ["long", "ä".repeat(7_000)]]),
      tags: Object.fromEntries(odd.map((name) => [name, `tag ${name}`])),
    });
    const values = { nan: Number.NaN, inf: Number.POSITIVE_INFINITY, tiny: 5e-324, "b%": -1.5 };
    await log.metrics("one", values, { step: 7, at: 1_700_000_000_000 });
    const many = Object.fromEntries(Array.from({ length: 2_500 }, (_, n) => [`m${n}`, n]));
    await log.metrics("one", many);
    const paths = ["images/a.png", "100%41 #1?.png", "ä/日.png", "a:b.png", "../up.png"];
    for (const path of paths) await log.artifact("one", path, image);
    await log.endRun("one", "FINISHED");
    await log.endRun("all", "FINISHED");
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 0 });

    const { info, data } = await run("exp_0000");
    expect(info.status).toBe("FINISHED");
    const pairsOf = (pairs: MlflowRun["data"]["params"] = []) =>
      Object.fromEntries(pairs.map(({ key, value }) => [fromMlflowName(key), value]));
    const params = pairsOf(data.params);
    expect(params["long"]).toMatch(/^ä+ … \(7000 characters, sha256 [0-9a-f]{12}\)$/);
    expect(params).toMatchObject(Object.fromEntries(odd.map((name) => [name, name])));
    const tags = pairsOf(data.tags);
    expect(tags).toMatchObject(Object.fromEntries(odd.map((name) => [name, `tag ${name}`])));
    expect(tags["mlflow.parentRunId"]).toBe((await run("all")).info.run_id);
    const metrics = Object.fromEntries((data.metrics ?? []).map(({ key, value }) => [key, value]));
    // MLflow keeps an infinity as the largest double.
    expect(metrics).toMatchObject({
      nan: "NaN",
      inf: Number.MAX_VALUE,
      tiny: 5e-324,
      b_x25_: -1.5,
    });
    for (let n = 0; n < 2_500; n += 1) expect(metrics[`m${n}`]).toBe(n);

    const files = await read().artifacts(info.run_id);
    expect(files.map(fromMlflowName).toSorted()).toEqual(paths.toSorted());
    const digest = createHash("sha256").update(bytes).digest("hex");
    for (const path of files) {
      const got = createHash("sha256").update(await read().artifact(info.run_id, path));
      expect(got.digest("hex")).toBe(digest);
    }
  });

  it("has each run once although answers were lost on the way", async () => {
    let seen = 0;
    const url = await proxied({
      dropsAnswer: ({ url: path = "" }) =>
        /create|log-batch|update|artifacts/.test(path) && (seen += 1) % 3 === 1,
    });
    const log = await open(url);
    const image = join(folder.path, "image.png");
    await writeFile(image, "image");
    for (let n = 0; n < 6; n += 1) {
      await log.startRun({ key: `${n}`, name: `exp_${n}`, params: { n: `${n}` } });
      await log.metrics(`${n}`, { n }, { at: 5 });
      await log.artifact(`${n}`, "image.png", image);
      await log.endRun(`${n}`, "FINISHED");
    }
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 0 });
    const found = await runs();
    expect(found.size).toBe(6);
    for (const { info, data } of found.values()) {
      expect(info.status).toBe("FINISHED");
      expect([data.params?.length, data.metrics?.length]).toEqual([1, 1]);
      expect(await read().history(info.run_id, "n")).toHaveLength(1);
    }
    expect(seen).toBeGreaterThan(20);
  });

  it("keeps what is logged while MLflow is killed, and brings it when that is there again", async () => {
    const log = await open();
    const image = join(folder.path, "image.png");
    await writeFile(image, "image");
    const logOne = async (n: number): Promise<void> => {
      await log.startRun({ key: `${n}`, name: `exp_${n}`, params: { n: `${n}` } });
      await log.metrics(`${n}`, { n });
      await log.artifact(`${n}`, "image.png", image);
      await log.endRun(`${n}`, "FINISHED");
    };
    for (let n = 0; n < 20; n += 1) await logOne(n);
    // In the middle of it.
    while (log.status().pending > 60) await systemClock.sleep(1);
    await mlflow.kill();
    for (let n = 20; n < 30; n += 1) await logOne(n);
    expect(await log.flush({ timeoutMs: 500 })).toMatchObject({
      kind: "pending",
      trouble: { kind: "unreachable" },
    });
    await mlflow.start();
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 0 });
    const found = await runs();
    expect([...found.keys()].toSorted()).toEqual(
      Array.from({ length: 30 }, (_, n) => `exp_${n}`).toSorted(),
    );
    for (const { info, data } of found.values()) {
      expect([info.status, data.params?.length, data.metrics?.length]).toEqual(["FINISHED", 1, 1]);
    }
  });

  it("sets aside what is refused, and keeps all while the experiment is deleted", async () => {
    const log = await open();
    await log.startRun({ key: "a", name: "a", params: { p: "1" } });
    await log.params("a", { p: "2", q: "1" });
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 1 });
    await log.startRun({ key: "gone", name: "gone" });
    await log.flush(SOON);
    await read().call("runs/delete", { run_id: (await run("gone")).info.run_id });
    await log.metrics("gone", { m: 1 });
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 2 });

    const id = await read().experimentId(experiment);
    await read().call("experiments/delete", { experiment_id: id });
    await log.metrics("a", { m: 1 });
    await log.startRun({ key: "b", name: "b" });
    expect(await log.flush({ timeoutMs: 3_000 })).toMatchObject({
      kind: "pending",
      pending: 2,
      setAside: 2,
      trouble: { kind: "experiment_deleted", experimentId: id },
    });
    await read().call("experiments/restore", { experiment_id: id });
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 2 });
    expect((await run("a")).data.metrics).toHaveLength(1);
    expect((await run("b")).info.status).toBe("RUNNING");
  });
});
