/** What scripts read: standard output of `holdfast experiment run`, to the letter and nothing else. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, it } from "vitest";
import { experimentGround, type ExperimentGround } from "../support/experiment-ground.ts";

const BIN = fileURLToPath(new URL("../../packages/cli/bin/holdfast.js", import.meta.url));

let ground: ExperimentGround;
beforeEach(async () => {
  ground = await experimentGround();
});
afterEach(async () => {
  await ground.close();
});

const running = (args: readonly string[]) =>
  promisify(execFile)(
    process.execPath,
    [
      BIN,
      "experiment",
      "run",
      join(ground.folder, "castle.yaml"),
      "--output",
      join(ground.folder, "out"),
      ...args,
    ],
    {
      env: {
        PATH: process.env["PATH"],
        HOME: ground.folder,
        COMFYUI_URL: ground.simulator().url,
        PERIODIC_HEALTH_CHECK_INTERVAL: "2",
      },
    },
  );

it("prints the lines of the contract on standard output, and all else on standard error", async () => {
  const { stdout, stderr } = await running([
    "--count",
    "3",
    "--pre-flight",
    "--services",
    `comfyui=${ground.simulator().url},MinIO=${ground.simulator().url}/queue`,
  ]);
  const rule = "=".repeat(70);
  expect(stdout.split("\n")).toEqual([
    rule,
    "MASSIVE EXPERIMENT FRAMEWORK",
    rule,
    "",
    rule,
    "PRE-FLIGHT HEALTH CHECKS",
    rule,
    "",
    "[INFO] Running health checks (attempt 1/3)...",
    "[OK] ComfyUI is healthy",
    "[OK] MinIO is healthy",
    "",
    "[OK] All services are healthy. Proceeding with experiments...",
    "",
    "[1/3] exp_0000: knight_0",
    "  Subject: knight",
    "  Tech: c=0",
    "",
    "[2/3] exp_0001: knight_1",
    "  Subject: knight",
    "  Tech: c=1",
    "",
    "[INFO] Periodic health check at experiment 2...",
    "",
    "[INFO] Running health checks (attempt 1/3)...",
    "[OK] ComfyUI is healthy",
    "[OK] MinIO is healthy",
    "[OK] Periodic health check passed. Continuing...",
    "",
    "[3/3] exp_0002: knight_2",
    "  Subject: knight",
    "  Tech: c=2",
    "",
  ]);
  expect(stderr).toContain("3 of 3 experiments completed");
});

it("has one JSON object there with --json", async () => {
  const { stdout } = await running(["--count", "2", "--json"]);
  expect(JSON.parse(stdout)).toEqual({
    end: "finished",
    count: 2,
    completed: 2,
    failed: [],
    down: [],
    notRendered: 0,
    startFrom: null,
    folder: ground.results(),
  });
});
