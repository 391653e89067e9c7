/** The log as its callers see it, over real HTTP and real files. */
import { chmod, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sha256Of } from "../testing/fake-mlflow.ts";
import { logKit, SOON, type LogKit } from "../testing/log-kit.ts";
import { openRunLog, type RunLog } from "./run-log.ts";

let kit: LogKit;
beforeEach(async () => {
  kit = await logKit();
});
afterEach(() => kit.close());

async function image(name: string, bytes = name): Promise<string> {
  const file = join(kit.home, name);
  await writeFile(file, bytes);
  return file;
}
/** One whole run, with every kind of record. */
async function logRun(log: RunLog, n: number, file: string): Promise<void> {
  const key = `exp_${n}`;
  const kept = [
    await log.startRun({
      key,
      name: key,
      params: { "6.text": "a knight" },
      tags: { index: `${n}` },
    }),
    await log.metrics(key, { duration_seconds: n, loss: Number.NaN }),
    await log.artifact(key, `images/${key}.png`, file),
    await log.endRun(key, "FINISHED"),
  ];
  expect(kept).toEqual(kept.map(() => ({ kind: "kept" })));
}

describe("a log", () => {
  it("brings runs with all that is logged to MLflow, in order, and leaves nothing behind", async () => {
    const log = await kit.open();
    const file = await image("a.png");
    await log.startRun({ key: "all", name: "castle" });
    for (const n of [0, 1, 2]) await logRun(log, n, file);
    await log.metrics("all", { "health.ComfyUI": 1 }, { step: 10, at: 5 });
    await log.tags("all", { "odd%key": "x" });
    await log.endRun("all", "FAILED");
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", pending: 0, setAside: 0 });
    const run = kit.run("exp_1");
    expect(run.status).toBe("FINISHED");
    expect(run.endedAt).toBeGreaterThan(0);
    expect(Object.fromEntries(run.params)).toEqual({ "6.text": "a knight" });
    expect(run.tags.get("index")).toBe("1");
    const metrics = [...run.metrics].map((one) => (JSON.parse(one) as unknown[]).slice(0, 2));
    expect(metrics).toEqual([
      ["duration_seconds", 1],
      ["loss", "NaN"],
    ]);
    expect(Object.fromEntries(run.artifacts)).toEqual({ "images/exp_1.png": sha256Of("a.png") });
    expect(run.history.at(-1)).toBe("FINISHED");
    const all = kit.run("castle");
    expect([...all.metrics]).toEqual(['["health.ComfyUI",1,5,10]']);
    expect(all.tags.get("odd_x25_key")).toBe("x");
    await log.close();
    expect((await readdir(kit.folder)).toSorted()).toEqual(["journal.json", "progress.ndjson"]);
  });

  it("shows runs under their parent", async () => {
    const log = await kit.open();
    await log.startRun({ key: "all", name: "castle" });
    await log.startRun({ key: "one", name: "one", parent: "all" });
    await log.startRun({ key: "orphan", name: "orphan", parent: "nobody" });
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered" });
    expect(kit.run("one").tags.get("mlflow.parentRunId")).toBe(kit.run("castle").id);
    expect(kit.run("orphan").tags.has("mlflow.parentRunId")).toBe(false);
  });

  it("logs 250 runs with a server that hangs, and waits for it not once", async () => {
    kit.fake.fault = () => "hang";
    const log = await kit.open({ callTimeoutMs: 10_000_000 });
    const file = await image("a.png");
    await logRun(log, 0, file);
    while (kit.fake.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await Promise.all(Array.from({ length: 249 }, (_, n) => logRun(log, n + 1, file)));
    // One question is under way ever since: which experiment it is.
    expect(new Set(kit.fake.requests.map(({ call }) => call))).toEqual(
      new Set(["experiments/get-by-name"]),
    );
    expect(log.status().pending).toBe(250 * 5);
    await log.close();
    kit.fake.fault = () => "none";
    const next = await kit.open();
    expect(next.status().pending).toBe(250 * 5);
    expect(await next.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 0 });
    expect(kit.fake.runsByName().size).toBe(250);
    for (let n = 0; n < 250; n += 1) expect(kit.run(`exp_${n}`).status).toBe("FINISHED");
  });

  it("gives up waiting at the time limit, says why, and delivers when MLflow is back", async () => {
    await kit.fake.stop();
    const log = await kit.open();
    await logRun(log, 0, await image("a.png"));
    const flushed = await log.flush({ timeoutMs: 20_000 });
    expect(flushed).toMatchObject({
      kind: "pending",
      pending: 5,
      trouble: { kind: "unreachable", code: "ECONNREFUSED" },
    });
    await kit.fake.restart();
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", trouble: undefined });
    expect(kit.events.map(({ kind }) => kind)).toEqual(["away", "back"]);
  });

  it("keeps all while it is refused by host or for its credentials, and says so", async () => {
    const { host } = new URL(kit.fake.url);
    kit.fake.allowedHosts = ["elsewhere"];
    const log = await kit.open();
    await logRun(log, 0, await image("a.png"));
    expect(await log.flush({ timeoutMs: 5_000 })).toMatchObject({
      kind: "pending",
      trouble: { kind: "forbidden_host", host },
    });
    kit.fake.allowedHosts = undefined;
    kit.fake.authorization = "Basic x";
    expect(await log.flush({ timeoutMs: 5_000 })).toMatchObject({
      kind: "pending",
      trouble: { kind: "unauthorized" },
    });
    kit.fake.authorization = undefined;
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 0 });
  });

  it("takes no page of somebody else for a yes", async () => {
    kit.fake.fault = ({ call }) => (call === "runs/log-batch" ? "page" : "none");
    const log = await kit.open();
    await logRun(log, 0, await image("a.png"));
    expect(await log.flush({ timeoutMs: 5_000 })).toMatchObject({
      kind: "pending",
      trouble: { kind: "not_mlflow" },
    });
    kit.fake.fault = () => "none";
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 0 });
    expect(kit.run("exp_0").params.size).toBe(1);
  });

  it("keeps all while the experiment is deleted, also that of its runs, until it is restored", async () => {
    const log = await kit.open();
    await log.startRun({ key: "a", name: "a" });
    await log.flush(SOON);
    for (const experiment of kit.fake.state.experiments.values()) experiment.isDeleted = true;
    await log.metrics("a", { m: 1 });
    await log.startRun({ key: "b", name: "b" });
    expect(await log.flush({ timeoutMs: 10_000 })).toMatchObject({
      kind: "pending",
      pending: 2,
      setAside: 0,
      trouble: { kind: "experiment_deleted", name: "castle" },
    });
    for (const experiment of kit.fake.state.experiments.values()) experiment.isDeleted = false;
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 0 });
    expect(kit.run("a").metrics.size).toBe(1);
    expect(kit.run("b").status).toBe("RUNNING");
  });

  it("loses nothing when the experiment is restored right after something was refused", async () => {
    const log = await kit.open();
    await log.startRun({ key: "a", name: "a" });
    await log.startRun({ key: "b", name: "b" });
    await log.flush(SOON);
    const [experiment] = kit.fake.state.experiments.values();
    if (experiment === undefined) throw new Error("there is none");
    experiment.isDeleted = true;
    // The look for the experiment comes after the refusal: by then it is there again.
    kit.fake.fault = ({ call }) => {
      if (call === "experiments/get-by-name") experiment.isDeleted = false;
      return "none";
    };
    await log.metrics("a", { m: 1 });
    await log.endRun("b", "FINISHED");
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 0 });
    expect(kit.run("a").metrics.size).toBe(1);
    expect(kit.run("b").status).toBe("FINISHED");
  });
});

describe("what MLflow refuses for good", () => {
  const setAside = async () =>
    (await readFile(join(kit.folder, "set-aside.ndjson"), "utf8"))
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as { reason: string; entry?: string; record: unknown });

  it("is set aside alone, with the reason, and counted; the rest of its batch arrives", async () => {
    const log = await kit.open();
    await log.startRun({ key: "a", name: "a", params: { p: "1", q: "1" } });
    await log.params("a", { p: "2", r: "1", s: "1" });
    await log.artifact("a", "gone.png", join(kit.home, "gone.png"));
    await log.metrics("a", { m: 1 });
    await log.metrics("never begun", { m: 1 });
    expect(await log.flush(SOON)).toMatchObject({
      kind: "delivered",
      setAside: 3,
      setAsideFile: join(kit.folder, "set-aside.ndjson"),
    });
    expect(Object.fromEntries(kit.run("a").params)).toEqual({ p: "1", q: "1", r: "1", s: "1" });
    expect(kit.run("a").metrics.size).toBe(1);
    const told = (await setAside()).map(({ reason }) => reason);
    expect(told).toHaveLength(3);
    expect(told).toContainEqual(expect.stringMatching(/HTTP 400 INVALID.*Changing param values/));
    expect(told).toContainEqual(expect.stringMatching(/gone.png cannot be read: ENOENT/));
    expect(told).toContainEqual("no run was begun in MLflow for this key");
    await log.close();
    expect((await kit.open()).status().setAside).toBe(3);
  });

  // Who may read everything has no such file.
  it.skipIf(process.getuid?.() === 0 || process.platform === "win32")(
    "is a file that may not be read, and holds nothing else up",
    async () => {
      const log = await kit.open();
      const file = await image("a.png");
      await chmod(file, 0);
      await logRun(log, 0, file);
      expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 1 });
      expect((await setAside())[0]?.reason).toMatch(/a.png cannot be read: EACCES/);
      expect(kit.run("exp_0").status).toBe("FINISHED");
    },
  );

  it("is all of a run that somebody deleted, and nothing of others", async () => {
    const log = await kit.open();
    await log.startRun({ key: "a", name: "a" });
    await log.startRun({ key: "b", name: "b" });
    await log.flush(SOON);
    kit.run("a").isDeleted = true;
    await log.metrics("a", { x: 1, y: 2 });
    await log.metrics("b", { x: 1 });
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 2 });
    expect(kit.run("b").metrics.size).toBe(1);
  });

  it("is what it fails at again and again while others go through, and not what all fail at", async () => {
    const log = await kit.open();
    const file = await image("a.png");
    let isStoreDown = true;
    kit.fake.fault = ({ call }) => (isStoreDown && call === "artifacts" ? 500 : "none");
    for (const n of [0, 1]) await logRun(log, n, file);
    const uploads = () => kit.fake.requests.filter(({ call }) => call === "artifacts").length;
    // However often: the store is down, and nothing says that it is the fault of these.
    while (uploads() < 40) {
      expect(await log.flush({ timeoutMs: 5_000 })).toMatchObject({ kind: "pending", setAside: 0 });
    }
    isStoreDown = false;
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 0 });

    // One value is never taken, whatever goes through beside it.
    kit.fake.fault = ({ body }) => (body.includes("poison") ? 500 : "none");
    await log.startRun({ key: "a", name: "a", tags: { good: "1", bad: "poison", fine: "2" } });
    for (let n = 10; log.status().setAside === 0; n += 1) {
      await logRun(log, n, file);
      await log.flush({ timeoutMs: 2_000 });
    }
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 1 });
    expect((await setAside())[0]).toMatchObject({
      entry: "tag bad",
      reason: expect.stringContaining("HTTP 500"),
    });
    expect(kit.run("a").tags).toEqual(
      new Map([...kit.run("a").tags, ["good", "1"], ["fine", "2"]]),
    );
  });
});

describe("a folder", () => {
  it("belongs to one process at a time, and to one experiment", async () => {
    const log = await kit.open();
    expect(await openRunLog(kit.options())).toEqual({ kind: "locked", pid: process.pid });
    await log.close();
    expect(await openRunLog({ ...kit.options(), experiment: "other" })).toEqual({
      kind: "other_experiment",
      expected: "other",
      found: "castle",
    });
    const { experiment: _, ...unnamed } = kit.options();
    const again = await openRunLog(unnamed);
    expect(again).toMatchObject({ kind: "open", experiment: "castle" });
    if (again.kind === "open") await again.log.close();
    expect(await openRunLog({ ...unnamed, folder: join(kit.home, "none") })).toEqual({
      kind: "no_log",
    });
    expect(await readdir(kit.home)).toEqual(["mlflow"]);
  });

  it("that cannot be one is said in words", async () => {
    await writeFile(join(kit.home, "file"), "");
    expect(await openRunLog({ ...kit.options(), folder: join(kit.home, "file") })).toMatchObject({
      kind: "unusable",
      message: expect.stringMatching(/file: (?:EEXIST|ENOTDIR)/),
    });
    const log = await kit.open();
    await log.close();
    await writeFile(join(kit.folder, "journal.json"), '{"version":2}');
    expect(await openRunLog(kit.options())).toMatchObject({
      kind: "unusable",
      message: expect.stringContaining("expected the journal of this version"),
    });
  });

  it("may be moved together with its images before they are delivered", async () => {
    await kit.fake.stop();
    const log = await kit.open();
    await logRun(log, 0, await image("a.png"));
    await log.close();
    const moved = `${kit.home}-moved`;
    await rename(kit.home, moved);
    await kit.fake.restart();
    try {
      const next = await openRunLog({ ...kit.options(), folder: join(moved, "mlflow") });
      if (next.kind !== "open") throw new Error(next.kind);
      expect(await next.log.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 0 });
      await next.log.close();
      expect(kit.run("exp_0").artifacts.size).toBe(1);
    } finally {
      await rm(moved, { recursive: true });
    }
  });

  it("is made small again while it is delivered, with little of it in memory", async () => {
    await kit.fake.stop();
    const limits = { segmentBytes: 4_096, bufferBytes: 2_048 };
    const log = await kit.open(limits);
    const file = await image("a.png");
    for (let n = 0; n < 60; n += 5) {
      await Promise.all([0, 1, 2, 3, 4].map((more) => logRun(log, n + more, file)));
    }
    expect(
      (await readdir(kit.folder)).filter((name) => name.startsWith("journal-")).length,
    ).toBeGreaterThan(5);
    await kit.fake.restart();
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered" });
    for (let n = 0; n < 60; n += 1) expect(kit.run(`exp_${n}`).status).toBe("FINISHED");
    await log.close();
    expect((await readdir(kit.folder)).toSorted()).toEqual(["journal.json", "progress.ndjson"]);
  });
});
