import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CommandFailure } from "../command-failure.ts";
import type { LoadOptions } from "./options.ts";
import { readLoadRequest } from "./request.ts";

const GRAPH = {
  "1": { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color: 1 } },
  "2": { class_type: "SaveImage", inputs: { filename_prefix: "{{seed}}", images: ["1", 0] } },
};

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-load-"));
  file = join(folder, "small.json");
  await writeFile(file, JSON.stringify(GRAPH));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const read = (options: LoadOptions) => readLoadRequest({ workflow: [file], ...options }, {});
const problemsOf = async (options: LoadOptions): Promise<readonly string[]> => {
  const failure = await read(options).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(failure).toBeInstanceOf(CommandFailure);
  const { exitCode, message } = failure as CommandFailure;
  expect(exitCode).toBe(2);
  const lines = message.split("\n");
  expect(lines.at(-1)).toBe("No load was sent.");
  return lines.slice(0, -1);
};

describe("what is left out", () => {
  it("is twelve jobs, four at a time, with seven minutes each", async () => {
    expect(await read({})).toMatchObject({
      pace: { kind: "closed", inFlight: 4 },
      limits: { jobs: 12, forMs: null },
      warmUp: { jobs: 0, forMs: 0 },
      timeoutMs: 420_000,
      stop: { gpuPercent: null, errorPercent: null },
      minSuccess: 0.98,
      root: "infra",
      targetKind: null,
    });
  });

  it("ends a ramp at its top, at a full card or at errors", async () => {
    expect(await read({ ramp: "1..20@5min" })).toMatchObject({
      limits: { jobs: null, forMs: 300_000 },
      stop: { gpuPercent: 90, errorPercent: 2 },
    });
    expect(await read({ ramp: "1..20@5min", stopGpu: "never", stopErrors: "5%" })).toMatchObject({
      stop: { gpuPercent: null, errorPercent: 5 },
    });
  });

  it("is no number of jobs where steps or a time end the run", async () => {
    expect((await read({ step: "1,2@60s" })).limits).toMatchObject({ jobs: null, forMs: null });
    expect((await read({ for: "90s" })).limits).toMatchObject({ jobs: null, forMs: 90_000 });
  });
});

describe("paces", () => {
  it.each([
    [
      { concurrency: "8", jobs: "80" },
      { kind: "closed", inFlight: 8 },
    ],
    [{ rate: "30/min" }, { kind: "open", perSecond: 0.5, arrivals: "constant" }],
    [{ rate: "poisson:2/s" }, { kind: "open", perSecond: 2, arrivals: "poisson" }],
    [{ ramp: "0/s..10/s@5min" }, { kind: "ramp", loop: "open", to: 10 }],
    [{ step: "poisson:1/s@60s" }, { kind: "step", loop: "open", arrivals: "poisson" }],
  ])("%j", async (options, pace) => {
    expect((await read(options)).pace).toMatchObject(pace);
  });
});

it("weights and warm-up are read", async () => {
  const request = await read({ workflow: [`${file}=3`], warmUp: "30s", jobs: "20" });
  expect(request.workflows).toMatchObject([{ name: "small", weight: 3, isVaried: true }]);
  expect(request.warmUp).toEqual({ jobs: 0, forMs: 30_000 });
  expect((await read({ warmUp: "4" })).warmUp).toEqual({ jobs: 4, forMs: 0 });
});

describe("refused before any load is sent", () => {
  it.each<[LoadOptions, RegExp]>([
    [{ workflow: [] }, /^--workflow: expected at least one file/],
    [{ jobs: "0" }, /^--jobs: expected a whole number from 1 .*found 0$/],
    [{ jobs: "many" }, /^--jobs: expected a number, found "many"$/],
    [{ jobs: "3", concurrency: "4" }, /^--jobs: .*found 4 jobs at a time, and 3 in all$/],
    [{ concurrency: "0" }, /^--concurrency: .*found 0$/],
    [{ timeout: "0" }, /^--timeout: expected seconds/],
    [{ timeout: "25h" }, /^--timeout: /],
    [{ rate: "4" }, /^--rate: expected a rate such as 30\/min/],
    [{ rate: "2/s", concurrency: "4" }, /found --concurrency and --rate$/],
    [{ ramp: "5@1min" }, /^--ramp: expected/],
    [{ step: "1,2" }, /^--step: expected/],
    [{ for: "soon" }, /^--for: expected a time/],
    [{ warmUp: "some" }, /^--warm-up: expected/],
    [{ stopGpu: "0" }, /stop at: expected over 0/],
    [{ minSuccess: "2" }, /^--min-success: expected a share/],
    [{ costPerHour: "-1" }, /^--cost-per-hour: expected US dollars from 0, found -1$/],
    [{ seed: "-1" }, /seed: expected a whole number/],
    [{ server: "ftp://x" }, /^--server: expected an address/],
    [{ force: true }, /^--force: expected --compare/],
  ])("%j", async (options, words) => {
    const problems = await problemsOf(options);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(words);
  });

  it("all of it at once", async () => {
    const missing = join(folder, "none.json");
    const problems = await problemsOf({ workflow: [missing], jobs: "0", timeout: "0" });
    expect(problems).toHaveLength(3);
    expect(problems[0]).toBe(`--workflow: there is no file ${missing}`);
  });

  it.each<[string, unknown, RegExp]>([
    ["the editor's format", { nodes: [], links: [], version: 0.4 }, /as ComfyUI's editor saves it/],
    ["no graph", {}, /small\.json: /],
    [
      "a variable without a value",
      { "1": { class_type: "X", inputs: { text: "{{prompt}}" } } },
      /has \{\{prompt\}\}: a load run has values for \{\{seed\}\} and \{\{index\}\} alone/,
    ],
  ])("a workflow that is %s", async (_name, graph, words) => {
    await writeFile(file, JSON.stringify(graph));
    const problems = await problemsOf({});
    expect(problems[0]).toMatch(words);
  });

  it("two workflows of one name", async () => {
    expect((await problemsOf({ workflow: [file, file] }))[0]).toMatch(/called "small"/);
  });
});

it("everything that is wrong is told at once: paces, the fault and the file to compare with", async () => {
  const missing = join(folder, "gone.json");
  const problems = await problemsOf({
    concurrency: "0",
    rate: "xx",
    jobs: "many",
    scenario: "nosuch",
    compare: missing,
  });
  expect(problems).toEqual([
    "expected one of --concurrency, --rate, --ramp and --step, found --concurrency and --rate",
    expect.stringContaining("--concurrency: "),
    expect.stringContaining("--rate: expected a rate such as 30/min"),
    expect.stringContaining("--jobs: expected a number"),
    expect.stringContaining(`--compare: ${missing} cannot be read`),
    expect.stringMatching(/^--scenario: there is no scenario nosuch; there are .*server-errors/),
  ]);
});
