/** `holdfast baseline` as a person runs it. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "@holdfast/runtime/system";
import { startSimulator, type Simulator } from "@holdfast/simulator";
import { afterEach, beforeEach, expect, it } from "vitest";
import { startHoldfast, temporaryFolder, until } from "../support/processes.ts";

const graph = (seconds: number) => ({
  "1": {
    class_type: "EmptyImage",
    inputs: { width: 32, height: 32, batch_size: 1, color: "{{index}}" },
  },
  "2": { class_type: "HoldfastSleep", inputs: { image: ["1", 0], seconds, poll: true } },
  "3": { class_type: "SaveImage", inputs: { filename_prefix: "{{seed}}", images: ["2", 0] } },
});

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let simulator: Simulator;
beforeEach(async () => {
  folder = await temporaryFolder();
  simulator = await startSimulator({ clock: systemClock, timeScale: 0 });
  writeFileSync(at("page.json"), JSON.stringify(graph(0)));
});
afterEach(async () => {
  await simulator.stop();
  await folder.remove();
});

const at = (name: string): string => join(folder.path, name);
const begin = (args: readonly string[]) =>
  startHoldfast("baseline", args, { HOLDFAST_HOME: at("home") });
const run = async (args: readonly string[]) => {
  const one = begin(args);
  return { code: await one.exited, output: one.output() };
};
const record = (...more: readonly string[]) =>
  run([
    "baseline",
    "record",
    "--server",
    simulator.url,
    "--workflow",
    at("page.json"),
    "--root",
    at("infra"),
    ...more,
  ]);
const baselines = (): readonly string[] => readdirSync(at("infra/observability/baselines")).sort();

it("keeps runs with what they were measured on, and a later run is held against them", async () => {
  const first = await record("--jobs", "30", "--concurrency", "1,4");
  expect([first.code, first.output]).toEqual([0, expect.stringContaining("written: ")]);
  const [day = ""] = baselines();
  expect(day).toMatch(/^\d{4}-\d{2}-\d{2}$/);
  const path = at(`infra/observability/baselines/${day}`);
  expect(readdirSync(path).sort()).toEqual([
    "README.md",
    "load-1.json",
    "load-4.json",
    "metrics.ndjson",
  ]);
  const readme = readFileSync(join(path, "README.md"), "utf8");
  expect(readme).toContain("ComfyUI 0.3.64-simulated at");
  expect(readme).toMatch(/\| load-1\.json \| closed:1 \| 30 of 30 \| 100 % \|/);
  expect(readme).toMatch(/\| page \| [0-9a-f]{64} \| 1 \|/);
  expect(readme).toContain(`--workflow ${at("page.json")} --jobs 30`);
  const lines = readFileSync(join(path, "metrics.ndjson"), "utf8").trimEnd().split("\n");
  expect(lines.filter((line) => line.includes('"type":"job"'))).toHaveLength(60);

  // Nothing of the day is written over.
  const second = await record("--jobs", "10", "--concurrency", "2", "--json");
  expect(second.code).toBe(0);
  expect(baselines()).toEqual([day, `${day}-2`]);
  const { output } = await run(["baseline", "list", "--root", at("infra")]);
  expect(output).toMatch(
    new RegExp(`^${day}-2 +load-2\\.json .*\\n${day} +load-1\\.json, load-4\\.json `, "m"),
  );

  const load = (file: string, workflow: string) =>
    run([
      "load",
      "--server",
      simulator.url,
      "--workflow",
      at(workflow),
      "--root",
      at("infra"),
      "--jobs",
      "30",
      "--warm-up",
      "4",
      "--concurrency",
      "4",
      "--compare",
      join(path, file),
    ]);
  const compared = await load("load-4.json", "page.json");
  expect(compared.output).toContain("95 % interval");
  writeFileSync(at("other.json"), JSON.stringify(graph(0.01)));
  const other = await load("load-4.json", "other.json");
  expect([other.code, other.output]).toEqual([2, expect.stringContaining("is of other work")]);
});

it("is refused before anything is sent, and stopped it says what is missing", async () => {
  writeFileSync(at("file"), "");
  for (const [args, words] of [
    [["--concurrency", "1,1"], "each once"],
    [["--concurrency", "0"], "--concurrency"],
    [["--jobs", "0"], "jobs"],
    [["--jobs", "2", "--concurrency", "4"], "--jobs: expected at least as many"],
    [["--root", at("file")], "cannot be written"],
  ] as const) {
    const { code, output } = await record(...args);
    expect([args, code, output]).toEqual([args, 2, expect.stringContaining(words)]);
  }
  expect(simulator.stats().promptsRun).toBe(0);

  mkdirSync(at("infra"), { recursive: true });
  writeFileSync(at("endless.json"), JSON.stringify(graph(600)));
  const one = begin([
    "baseline",
    "record",
    "--server",
    simulator.url,
    "--workflow",
    at("endless.json"),
    "--root",
    at("infra"),
    "--jobs",
    "9",
  ]);
  await until("it renders", () => simulator.stats().promptsRun > 0);
  expect(await one.stop("SIGINT")).toBe(130);
  const [day = ""] = baselines();
  const readme = readFileSync(at(`infra/observability/baselines/${day}/README.md`), "utf8");
  expect(readme).toContain("**It was stopped: some runs are missing.**");
});
