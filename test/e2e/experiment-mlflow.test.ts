/** What MLflow hears of an experiment: every run, every health check, also when it was away. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startFakeMlflow, type FakeMlflow } from "../../packages/mlflow/testing/fake-mlflow.ts";
import { experimentGround, type ExperimentGround } from "../support/experiment-ground.ts";

let ground: ExperimentGround;
let mlflow: FakeMlflow;
beforeEach(async () => {
  ground = await experimentGround();
  mlflow = await startFakeMlflow();
});
afterEach(async () => {
  await ground.close();
  await mlflow.close();
});

const run = (name: string | RegExp) => {
  const found = [...mlflow.runsByName()].filter(([one]) =>
    typeof name === "string" ? one === name : name.test(one),
  );
  expect(found).toHaveLength(1);
  expect(found[0]?.[1]).toHaveLength(1);
  const [only] = found[0]?.[1] ?? [];
  if (only === undefined) throw new Error(`no run ${String(name)}`);
  return only;
};
const metrics = (name: string | RegExp) =>
  [...run(name).metrics].map((text) => JSON.parse(text) as [string, number, number, number]);

describe("MLflow", () => {
  it("has every run with params, metrics and pictures, and every check at its step", async () => {
    const one = await ground.run(["--count", "25", "--pre-flight", "--mlflow", mlflow.url]);
    expect(one.output).toContain("25 of 25 experiments completed");
    expect(one.code).toBe(0);
    const first = run("exp_0003");
    expect(first.status).toBe("FINISHED");
    expect(first.params.get("color")).toBe("3");
    expect(first.params.get("1.color")).toBe("3");
    expect(metrics("exp_0003").map(([key]) => key)).toEqual(
      expect.arrayContaining([
        "duration_seconds",
        "queue_seconds",
        "recovery_used",
        "attempts",
        "loss",
      ]),
    );
    expect([...first.artifacts.keys()]).toEqual(["images/exp_0003-1.png"]);
    const health = metrics(/^castle-/).filter(([key]) => key === "health.ComfyUI");
    expect(health.map(([, value, , step]) => [value, step])).toEqual([
      [1, 0],
      [1, 10],
      [1, 20],
    ]);
    const checks = [...run(/^castle-/).artifacts.keys()].filter((path) =>
      path.startsWith("health/"),
    );
    expect(checks).toHaveLength(3);
    expect(run(/^castle-/).status).toBe("FINISHED");
  });

  it("hears of failed pre-flight checks, before which nothing else was asked", async () => {
    const one = await ground.run(["--count", "25", "--pre-flight", "--mlflow", mlflow.url], {
      COMFYUI_URL: "http://127.0.0.1:9",
    });
    expect(one.code).toBe(3);
    const health = metrics(/^castle-/).filter(([key]) => key === "health.ComfyUI");
    expect(health.map(([, value]) => value)).toEqual([0, 0, 0]);
    expect(run(/^castle-/).status).toBe("FAILED");
  });

  it("is told which runs are marked as best, also later, and which are not any more", async () => {
    await ground.run(["--count", "4", "--mlflow", mlflow.url]);
    const best = (...args: readonly string[]) =>
      ground.holdfast(["experiment", "best", ground.results(), ...args]);
    const tagOf = (name: string) => run(name).tags.get("holdfast.best");
    expect((await best("--mark", "exp_0002")).code).toBe(0);
    expect((await best("--by", "duration_seconds")).code).toBe(0);
    expect(tagOf("exp_0002")).toMatch(/^by hand/);
    await mlflow.stop();
    // The last digit of the picture's run.
    const away = await best("--command", "echo ${1##*exp_000} | head -c 1 #");
    expect(away.code).toBe(0);
    expect(away.output).toContain("MLflow is not told of the mark yet (MLflow cannot be reached");
    await mlflow.restart();
    await ground.holdfast(["experiment", "sync", ground.results(), "--mlflow", mlflow.url]);
    expect(tagOf("exp_0003")).toContain("highest score");
    await best("--command", "echo ${1##*exp_000} | head -c 1 | sed s/^/-/ #");
    expect(tagOf("exp_0003")).not.toContain("highest score");
    expect(tagOf("exp_0000")).toContain("highest score");
  });

  it("that is away holds nothing up, and gets everything by sync", async () => {
    await mlflow.stop();
    const one = await ground.run(["--count", "25", "--mlflow", mlflow.url]);
    expect(one.code).toBe(0);
    expect(one.output).toContain("[WARN] Proceeding, MLflow is away: ");
    expect(one.output).toContain(`holdfast experiment sync ${ground.results()}`);
    await mlflow.restart();
    const args = ["experiment", "sync", ground.results(), "--mlflow", mlflow.url];
    const sync = await ground.holdfast(args);
    expect(sync.code).toBe(0);
    expect(sync.output).toContain("MLflow has everything");
    expect(mlflow.runsByName().size).toBe(26);
    expect([...run("exp_0024").artifacts.keys()]).toEqual(["images/exp_0024-1.png"]);
  });

  it("whose host check refuses calls is unhealthy, though /health is green", async () => {
    mlflow.allowedHosts = ["mlflow.example"];
    const one = await ground.run([
      "--count",
      "2",
      "--pre-flight",
      "--services",
      `comfyui=${ground.simulator().url},mlflow=${mlflow.url}`,
    ]);
    expect(one.code).toBe(3);
    expect(one.output).toContain("[ERROR] MLflow returned HTTP 403");
  });
});
