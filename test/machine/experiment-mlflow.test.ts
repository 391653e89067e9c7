/** The story of massive experiments as a real MLflow tells it: 250 finished runs, and every check. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { HealthRecord } from "@holdfast/experiments";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { experimentGround, type ExperimentGround } from "../support/experiment-ground.ts";
import { mlflowReader, type MlflowRun } from "./ground/mlflow-reader.ts";
import { findMlflow, startMlflow, type MlflowServer } from "./ground/mlflow.ts";

const python = await findMlflow();
const COUNT = 250;
const EXPERIMENT = "castle";
/** Before the outage, in it, on both sides of where it went on, and the last. */
const SAMPLE = [0, 116, 117, 118, 119, 120, 249];

describe.skipIf(python === undefined)("an experiment of 250 runs, in MLflow", () => {
  let mlflow: MlflowServer;
  beforeAll(async () => {
    mlflow = await startMlflow(python ?? "");
  });
  afterAll(() => mlflow.close());

  let ground: ExperimentGround;
  beforeEach(async () => {
    ground = await experimentGround();
  });
  afterEach(() => ground.close());

  const inResults = (path: string): Buffer => readFileSync(join(ground.results(), path));
  const checks = (): readonly HealthRecord[] =>
    inResults("health_checks.ndjson")
      .toString("utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as HealthRecord);
  const named = (pairs: MlflowRun["data"]["params"] = []) =>
    Object.fromEntries(pairs.map(({ key, value }) => [key, value]));
  /** The run that keeps the checks, and those of the experiment in the order of their names. */
  const told = async () => {
    const all = [...(await mlflowReader(mlflow.url).runs(EXPERIMENT)).values()];
    const isRun = ({ info }: MlflowRun): boolean => info.run_name.startsWith("exp_");
    const [parent, ...others] = all.filter((run) => !isRun(run));
    expect(others).toEqual([]);
    if (parent === undefined) throw new Error("MLflow has no run that keeps the checks");
    const byName = (a: MlflowRun, b: MlflowRun) => (a.info.run_name < b.info.run_name ? -1 : 1);
    return { parent, runs: all.filter(isRun).toSorted(byName) };
  };
  /** What a person does when MLflow was slower than the experiment; nothing where it was not. */
  const deliverAll = async (): Promise<void> => {
    const args = ["experiment", "sync", ground.results(), "--mlflow", mlflow.url];
    const { code, output } = await ground.holdfast(args);
    expect(output).toContain("MLflow has everything");
    expect(code).toBe(0);
  };

  it("of which ComfyUI died at the 117th: 250 finished runs with what they gave, and all checks", async () => {
    const args = ["--count", String(COUNT), "--pre-flight", "--mlflow", mlflow.url];
    ground.killAfter(117);
    const first = await ground.run(args);
    expect(first.code).toBe(4);
    expect(first.output).toContain("Use --start-from 120 to resume after fixing the issues.");
    await deliverAll();
    const stopped = await told();
    expect(stopped.parent.info.status).toBe("FAILED");
    expect(stopped.runs.map(({ info }) => info.status)).toEqual([
      ...Array.from({ length: 117 }, () => "FINISHED"),
      ...Array.from({ length: 3 }, () => "FAILED"),
    ]);

    await ground.restart();
    const second = await ground.run([...args, "--start-from", "120"]);
    expect(second.output).toContain("250 of 250 experiments completed");
    expect(second.code).toBe(0);
    await deliverAll();

    const { parent, runs } = await told();
    expect(parent.info.status).toBe("FINISHED");
    expect(runs).toHaveLength(COUNT);
    for (const [index, { info, data }] of runs.entries()) {
      expect([info.run_name, info.status]).toEqual([
        `exp_${String(index).padStart(4, "0")}`,
        "FINISHED",
      ]);
      const color = String(index);
      expect(named(data.params)).toMatchObject({ subject: "knight", color, "1.color": color });
      expect(named(data.tags)).toMatchObject({
        "holdfast.index": String(index),
        "holdfast.status": "completed",
        "holdfast.error_class": "",
        "mlflow.parentRunId": parent.info.run_id,
      });
      const metrics = new Map((data.metrics ?? []).map(({ key, value }) => [key, value]));
      expect(metrics.get("duration_seconds")).toBeGreaterThan(0);
      expect(metrics.get("queue_seconds")).toBeGreaterThanOrEqual(0);
      expect([metrics.get("recovery_used"), metrics.get("loss")]).toEqual([0, 0]);
      expect(metrics.get("attempts")).toBe(1);
    }
    await expectPictures(runs);
    await expectChecks(parent);
  });

  /** Of a sample: one a run, with the bytes that the folder has. */
  async function expectPictures(runs: readonly MlflowRun[]): Promise<void> {
    const read = mlflowReader(mlflow.url);
    const stored = new Map(
      ground
        .records()
        .filter(({ status }) => status === "completed")
        .map(({ index, outputs }) => [index, outputs.map((output) => output.stored)]),
    );
    for (const index of SAMPLE) {
      const id = runs[index]?.info.run_id ?? "";
      const paths = await read.artifacts(id);
      expect(paths).toHaveLength(1);
      expect(paths).toEqual(stored.get(index));
      for (const path of paths) expect(await read.artifact(id, path)).toEqual(inResults(path));
    }
  }

  /** Each attempt of each check: its value at its step and instant, its words, and all in one file. */
  async function expectChecks({ info }: MlflowRun): Promise<void> {
    const read = mlflowReader(mlflow.url);
    const steps = (from: number, to: number) =>
      Array.from({ length: (to - from) / 10 + 1 }, (_, at) => from + at * 10);
    const made = checks();
    expect(made.map(({ check, experiment }) => [check, experiment])).toEqual([
      ["pre_flight", 0],
      ...steps(10, 110).map((step) => ["periodic", step]),
      // Three attempts, and then it went on there.
      ...[1, 2, 3].map(() => ["periodic", 120]),
      ["pre_flight", 0],
      ...steps(130, 240).map((step) => ["periodic", step]),
    ]);
    expect(await read.history(info.run_id, "health.ComfyUI")).toEqual(
      made.map(({ at, experiment, services }) => ({
        value: services[0]?.isHealthy === true ? 1 : 0,
        step: experiment,
        timestamp: Date.parse(at),
      })),
    );
    const paths = await read.artifacts(info.run_id);
    const single = paths.filter((path) => path.startsWith("health/"));
    const words = await Promise.all(
      single.map(
        async (path) =>
          JSON.parse((await read.artifact(info.run_id, path)).toString("utf8")) as HealthRecord,
      ),
    );
    expect(words.toSorted((a, b) => Date.parse(a.at) - Date.parse(b.at))).toEqual(made);
    const failed = words.filter(({ decision }) => decision === "failed");
    expect(failed.map(({ services }) => services)).toEqual([
      [
        expect.objectContaining({
          service: "ComfyUI",
          isHealthy: false,
          message: "Cannot connect to ComfyUI server",
        }),
      ],
    ]);
    expect(await read.artifact(info.run_id, "health_checks.ndjson")).toEqual(
      inResults("health_checks.ndjson"),
    );
  }
});
