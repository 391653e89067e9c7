/** The story of massive experiments: ComfyUI dies at 117 of 250, and nothing is wasted. */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readStarts } from "@holdfast/experiments";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { experimentGround, type ExperimentGround } from "../support/experiment-ground.ts";
import { until } from "../support/processes.ts";

let ground: ExperimentGround;
beforeEach(async () => {
  ground = await experimentGround();
});
afterEach(async () => {
  await ground.close();
});

const RULE = "=".repeat(70);
const completed = (): readonly number[] =>
  ground.records().flatMap(({ index, status }) => (status === "completed" ? [index] : []));
const firstRuns = (count: number): readonly number[] => Array.from({ length: count }, (_, i) => i);
const starts = () =>
  readStarts(readFileSync(join(ground.results(), "starts.ndjson"), "utf8")).records;

describe("ComfyUI dies at experiment 117 of 250", () => {
  it("stops at 120 with how to resume, and repeats 117 to 119 before it goes on", async () => {
    ground.killAfter(117);
    const first = await ground.run(["--count", "250", "--pre-flight"]);
    expect(first.code).toBe(4);
    expect(first.output).toContain(
      [
        "[120/250] exp_0119: knight_119",
        "  Subject: knight",
        "  Tech: c=119",
        "",
        "[INFO] Periodic health check at experiment 120...",
        "",
        "[INFO] Running health checks (attempt 1/3)...",
        "[ERROR] Cannot connect to ComfyUI server",
        "[WARN] Health checks failed. Retrying in 0.2s...",
      ].join("\n"),
    );
    expect(first.output).toContain(
      [
        RULE,
        "[ERROR] PERIODIC HEALTH CHECK FAILED",
        RULE,
        "",
        "Services are not healthy:",
        "  - ComfyUI: Cannot connect to ComfyUI server",
        "",
        "Aborting after 120 experiments.",
        "Use --start-from 120 to resume after fixing the issues.",
      ].join("\n"),
    );
    expect(first.output).not.toContain("exp_0120");
    expect(completed()).toEqual(firstRuns(117));

    await ground.restart();
    const second = await ground.run(["--count", "250", "--pre-flight", "--start-from", "120"]);
    expect(second.code).toBe(0);
    const again = second.output.match(/exp_\d{4}/g)?.slice(0, 4);
    expect(again).toEqual(["exp_0117", "exp_0118", "exp_0119", "exp_0120"]);
    expect([...completed()].sort((a, b) => a - b)).toEqual(firstRuns(250));
    expect(existsSync(join(ground.results(), "images/exp_0249-1.png"))).toBe(true);
    expect(readFileSync(join(ground.results(), "comparison.html"), "utf8")).toContain("exp_0249");
    // Only the run during which ComfyUI died may have been rendered twice.
    expect(ground.rendered.length).toBeLessThanOrEqual(251);
  });

  it("is waited for with --on-unhealthy wait, and then what failed comes first", async () => {
    ground.killAfter(117);
    const one = ground.begin(["--count", "250", "--on-unhealthy", "wait"]);
    await one.saw("[WARN] Services are not healthy. Waiting for them (--on-unhealthy wait)");
    await ground.restart();
    expect(await one.exited).toBe(0);
    expect([...completed()].sort((a, b) => a - b)).toEqual(firstRuns(250));
    expect(completed().slice(117, 121)).toEqual([117, 118, 119, 120]);
  });

  it("wastes every run after it with --no-check, and says how many", async () => {
    ground.killAfter(117);
    const one = await ground.run(["--count", "250", "--no-check"]);
    expect(one.code).toBe(1);
    expect(one.output).toContain(
      "133 failed because a service was down: exp_0117, exp_0118, exp_0119, exp_0120, exp_0121, " +
        "exp_0122, exp_0123, exp_0124, exp_0125, exp_0126 and 123 more",
    );
    expect(completed()).toEqual(firstRuns(117));
  });
});

describe("pre-flight checks", () => {
  it("fail with exit code 3 before anything is rendered", async () => {
    const one = await ground.run(["--count", "250", "--pre-flight"], {
      COMFYUI_URL: "http://127.0.0.1:9",
    });
    expect(one.code).toBe(3);
    expect(one.output).toContain(
      [
        RULE,
        "[ERROR] PRE-FLIGHT CHECKS FAILED",
        RULE,
        "",
        "One or more services are not healthy:",
        "  - ComfyUI: Cannot connect to ComfyUI server",
        "",
        "Aborting experiment run. Please fix the issues and try again.",
      ].join("\n"),
    );
    expect(one.output).not.toContain("exp_0000");
  });

  it("are recommended where many runs go without", async () => {
    const one = await ground.run(["--count", "50"]);
    expect(one.code).toBe(0);
    expect(one.output).toContain("[WARN] 50 experiments without --pre-flight");
  });

  it("ask what --services names instead", async () => {
    const one = await ground.run([
      "--count",
      "2",
      "--pre-flight",
      "--services",
      `comfyui=${ground.simulator().url},minio=${ground.simulator().url}`,
    ]);
    expect(one.code).toBe(3);
    expect(one.output).toContain("[ERROR] MinIO returned HTTP 404");
  });
});

describe("a runner that is killed", () => {
  it("goes on with --resume and does no finished run again", async () => {
    const one = ground.begin(["--count", "60", "--in-flight", "2"]);
    await one.saw("exp_0023");
    await one.kill();
    const before = completed();
    const second = await ground.run(["--count", "60", "--resume", "--in-flight", "2"]);
    expect(second.code).toBe(0);
    const after = completed();
    expect(after.slice(0, before.length)).toEqual(before);
    expect([...after].sort((a, b) => a - b)).toEqual(firstRuns(60));
    expect(new Set(after).size).toBe(60);
    for (const index of before)
      expect(second.output).not.toContain(`exp_00${index < 10 ? "0" : ""}${index}:`);
    // What was in flight is found again by its prompt where ComfyUI has it: it is no second start,
    // and begun when it was posted.
    expect(new Set(starts().map(({ attempt }) => attempt))).toEqual(new Set([1]));
    for (const { index, promptId, startedAt, attempt } of ground.records()) {
      const begun = starts().findLast((start) => start.index === index);
      expect({ promptId, startedAt, attempt }).toEqual({
        promptId: begun?.promptId,
        startedAt: begun?.startedAt,
        attempt: 1,
      });
    }
    const page = readFileSync(join(ground.results(), "comparison.html"), "utf8");
    expect(page).toMatch(/"repeated":0\b/);
    expect(new Set(ground.rendered).size).toBe(60);
    expect(ground.rendered).toHaveLength(60);
  });

  it("comes to its end through any number of kills, and completes each run once", async () => {
    const count = 400;
    const args = ["--count", String(count), "--resume", "--in-flight", "3"];
    for (const moment of [1, 90, 170, 40, 250, 10, 130]) {
      const already = ground.count();
      const one = ground.begin(args);
      await until("it renders", () => ground.count() > already, 20_000);
      await new Promise((resolve) => setTimeout(resolve, moment));
      await one.kill();
    }
    // A quick machine would have ended it before the last kill, and shown nothing.
    expect(ground.count()).toBeLessThan(count);
    const last = await ground.run(args);
    expect(last.code).toBe(0);
    expect(completed()).toHaveLength(count);
    expect([...completed()].sort((a, b) => a - b)).toEqual(firstRuns(count));
    // Each prompt was rendered once: one that was under way was found again.
    expect(new Set(ground.rendered).size).toBe(ground.rendered.length);
    expect(last.output).not.toContain("warning:");
  });

  it("is refused without --resume, and while another process is at it", async () => {
    const one = ground.begin(["--count", "2000"]);
    await one.saw("exp_0003");
    const beside = await ground.run(["--count", "2000", "--resume"]);
    expect(beside.code).toBe(2);
    expect(beside.output).toContain("is at this experiment");
    await one.kill();
    const anew = await ground.run(["--count", "2000"]);
    expect(anew.code).toBe(2);
    expect(anew.output).toContain("Go on with --resume or --start-from K");
  });
});

describe("a run that fails while it executes", () => {
  it("says at which node and why, wherever it is told", async () => {
    ground.simulator().faults.add({ kind: "oom", match: { nodeClass: "SaveImage" } });
    const one = await ground.run(["--count", "2"]);
    expect(one.code).toBe(1);
    expect(one.output).toMatch(/exp_0000 failed \(cuda_out_of_memory\): node 2 SaveImage: \S/);
    const [record] = ground.records();
    expect(record?.error).toMatchObject({ nodeId: "2", nodeType: "SaveImage" });
    const exception = record?.error?.exceptionType ?? "none";
    expect(exception).toContain("OutOfMemoryError");
    const shown = await ground.holdfast(["experiment", "show", ground.results()]);
    expect(shown.output).toContain("node 2 SaveImage: ");
    expect(shown.output).toContain("exp_0000:\n");
    const page = readFileSync(join(ground.results(), "comparison.html"), "utf8");
    expect(page).toContain("cuda_out_of_memory: node 2 SaveImage: ");
    expect(page).toContain(exception);
  });
});

describe("Ctrl-C", () => {
  it("waits for what is in flight, and says how to go on", async () => {
    const one = ground.begin(["--count", "5000"]);
    await one.saw("exp_0005");
    expect(await one.stop("SIGINT")).toBe(130);
    expect(one.output()).toContain("--count 5000 --resume");
    const ended = new Set(ground.records().map(({ index }) => index));
    expect(new Set(starts().map(({ index }) => index))).toEqual(ended);
    await until("the lock is free", () => !existsSync(join(ground.results(), ".lock")), 1_000);
  });
});

describe("--start-from in a new folder", () => {
  it("does what it was asked for, and says what it was not", async () => {
    const one = await ground.run(["--count", "10", "--start-from", "6"]);
    expect(one.code).toBe(0);
    expect(completed()).toEqual([6, 7, 8, 9]);
    expect(one.output).toContain("is new: the first 6 runs are not rendered");
    expect(one.output).toContain("4 of 10 experiments completed");
    expect(one.output).toContain(
      "6 were not asked for (--start-from), and not rendered by any process before\n",
    );
    const [, command = ""] = /all that is left is done by: holdfast (.+)/.exec(one.output) ?? [];
    expect(command).toMatch(/ --count 10 --resume$/);
    const rest = await ground.run(["--count", "10", "--resume"]);
    expect(rest.code).toBe(0);
    expect(rest.output).toContain("10 of 10 experiments completed");
    expect(rest.output).not.toContain("not asked for");
  });

  it("is refused where it leaves nothing to do", async () => {
    const one = await ground.run(["--count", "10", "--start-from", "10"]);
    expect(one.code).toBe(2);
    expect(one.output).toContain("nothing is left to do");
    expect(ground.count()).toBe(0);
  });
});

describe("the folder of results", () => {
  it("is none of git's, until somebody wants it there", async () => {
    const path = (): string => join(ground.results(), ".gitignore");
    await ground.run(["--count", "1"]);
    expect(readFileSync(path(), "utf8")).toMatch(/^\*$/m);
    rmSync(path());
    await ground.run(["--count", "2", "--resume"]);
    expect(existsSync(path())).toBe(false);
  });
});

describe("wrong usage", () => {
  it("is an --output that cannot be made, and says why", async () => {
    writeFileSync(join(ground.folder, "a-file"), "");
    const output = join(ground.folder, "a-file", "out");
    const one = await ground.run(["--count", "2", "--output", output]);
    expect(one.code).toBe(2);
    expect(one.output).toContain(`--output: ${output}/castle-`);
    expect(one.output).toContain("cannot be used: ENOTDIR");
    if (process.platform !== "linux") return;
    // Node's own mkdir never ends there.
    const two = await ground.run(["--count", "2", "--output", "/proc/holdfast/out"]);
    expect(two.code).toBe(2);
    expect(two.output).toContain("--output: /proc/holdfast/out/castle-");
    expect(ground.count()).toBe(0);
  });

  it("is exit code 2, and names the count", async () => {
    const one = await ground.run(["--count", "250", "--start-from", "251"]);
    expect(one.code).toBe(2);
    expect(one.output).toContain("expected 0 to 250, for --count is 250, found 251");
    const two = await ground.run(["--count", "2"], { HEALTH_CHECK_RETRIES: "three" });
    expect(two.code).toBe(2);
    expect(two.output).toContain("HEALTH_CHECK_RETRIES");
  });
});
