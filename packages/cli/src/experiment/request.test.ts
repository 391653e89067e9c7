import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EXPERIMENT_EXAMPLE, EXPERIMENT_EXAMPLE_GRAPH } from "@holdfast/experiments";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { recordingTerminal } from "../../testing/recording-terminal.ts";
import { CommandFailure } from "../command-failure.ts";
import { dryRun } from "./dry-run.ts";
import type { RunOptions } from "./options.ts";
import { readRequest } from "./request.ts";

let folder: string;
let spec: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-request-"));
  spec = join(folder, "castle.yaml");
  await writeFile(spec, EXPERIMENT_EXAMPLE);
  await writeFile(join(folder, "workflow.json"), JSON.stringify(EXPERIMENT_EXAMPLE_GRAPH));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const reading = (options: RunOptions, env: Readonly<Record<string, string>> = {}) =>
  readRequest(spec, options, {
    terminal: recordingTerminal(),
    env: { HOLDFAST_HOME: folder, ...env },
  });
const COMFY = { COMFYUI_URL: "http://c:8188" };
const refusal = async (
  options: RunOptions,
  env: Readonly<Record<string, string>> = {},
): Promise<string> => {
  const error: unknown = await reading(options, env).catch((thrown: unknown) => thrown);
  if (!(error instanceof CommandFailure)) throw new Error("it was not refused");
  expect(error.exitCode).toBe(2);
  return error.message;
};

describe("without --count", () => {
  const writeGraph = async (): Promise<void> => {
    const graph = { "3": { class_type: "KSampler", inputs: { seed: 1, steps: 1, cfg: 1 } } };
    await writeFile(join(folder, "workflow.json"), JSON.stringify(graph));
  };
  const asGrid = (steps: string): string =>
    `name: grid\nworkflow: workflow.json\ndimensions:\n  steps: ${steps}\n  cfg: { values: [5, 6, 7], input: 3.cfg }\n`;

  it("a random experiment is refused, for it has no end", async () => {
    expect(await refusal({}, COMFY)).toBe(
      "--count: expected how many experiments to run, for mode: random has no end",
    );
    await writeFile(spec, EXPERIMENT_EXAMPLE.replace("workflow:", "workflw:"));
    expect(await refusal({}, COMFY)).toContain("workflw");
  });

  it("a grid runs whole, and says how many that is", async () => {
    await writeGraph();
    await writeFile(spec, asGrid("{ values: [20, 40], input: 3.steps }"));
    const terminal = recordingTerminal();
    const context = { terminal, env: { HOLDFAST_HOME: folder, ...COMFY } };
    expect((await readRequest(spec, {}, context)).sequence.count).toBe(6);
    expect(terminal.notes).toEqual([`--count is 6: each run of ${spec} once`]);
    expect((await reading({ count: 4 })).sequence.count).toBe(4);
    expect(await refusal({ startFrom: 7 })).toContain("expected 0 to 6");
    expect((await reading({ dryRun: 2 })).sequence.count).toBe(6);
  });

  it("a list runs whole", async () => {
    await writeGraph();
    const list = "\nmode: list\nruns: [{ steps: 20, cfg: 5 }, { steps: 40, cfg: 7 }]\n";
    await writeFile(spec, asGrid("{ values: [20, 40], input: 3.steps }") + list);
    expect((await reading({})).sequence.count).toBe(2);
  });

  it("a grid that is larger than an experiment may be is refused with its size", async () => {
    await writeGraph();
    const seeds = "  seed: { min: 1, max: 1000, input: 3.seed }\n";
    await writeFile(spec, asGrid("{ min: 1, max: 1000, input: 3.steps }") + seeds);
    expect(await refusal({}, COMFY)).toContain("the grid has 3000000");
  });
});

describe("what an experiment renders on", () => {
  it("is the ComfyUI that is named, and a Holdfast where none is", async () => {
    expect((await reading({ count: 1 }, COMFY)).target).toEqual({
      kind: "comfyui",
      url: "http://c:8188",
      inFlight: 1,
    });
    expect((await reading({ count: 1, server: "http://d:1/" }, COMFY)).target).toMatchObject({
      url: "http://d:1",
    });
    expect((await reading({ count: 1 })).target).toMatchObject({
      kind: "holdfast",
      address: { baseUrl: "http://127.0.0.1:8328" },
      inFlight: 4,
    });
    expect((await reading({ count: 1, holdfast: "http://h" }, COMFY)).target).toMatchObject({
      kind: "holdfast",
      address: { baseUrl: "http://h" },
    });
  });

  it("is one of several ComfyUIs only where it is said which", async () => {
    expect(await refusal({ count: 1 }, { COMFYUI_URL: "http://a,http://b" })).toContain("--server");
    expect(await refusal({ count: 1, server: "x", holdfast: "http://h" })).toContain("found both");
    expect(await refusal({ count: 1, server: "comfy" })).toContain("http://127.0.0.1:8188");
    expect(await refusal({ count: 1, inFlight: 9 }, COMFY)).toContain("1 to 8");
  });
});

describe("what is checked", () => {
  it("is what renders, and MinIO where a store of its own is configured", async () => {
    const names = async (options: RunOptions, env: Readonly<Record<string, string>>) =>
      (await reading({ count: 1, ...options }, env)).services;
    const minio = { ...COMFY, HOLDFAST_S3_ENDPOINT: "http://m:9000" };
    expect(await names({}, minio)).toEqual([
      { name: "ComfyUI", url: "http://c:8188/system_stats" },
    ]);
    expect(await names({ store: "s3://bucket/x" }, minio)).toEqual([
      { name: "ComfyUI", url: "http://c:8188/system_stats" },
      { name: "MinIO", url: "http://m:9000/minio/health/live" },
    ]);
    expect(await names({}, {})).toEqual([
      {
        name: "Holdfast",
        url: "http://127.0.0.1:8328/readyz",
        keyed: { url: "http://127.0.0.1:8328/api/v1/jobs?limit=1", apiKey: undefined },
      },
    ]);
    expect(await names({ services: "gate=http://g/up" }, minio)).toEqual([
      { name: "gate", url: "http://g/up" },
    ]);
  });

  it("is as patient as the settings say", async () => {
    const env = {
      ...COMFY,
      HEALTH_CHECK_TIMEOUT: "0.5",
      HEALTH_CHECK_RETRIES: "7",
      HEALTH_CHECK_RETRY_DELAY: "2",
      PERIODIC_HEALTH_CHECK_INTERVAL: "25",
    };
    expect(await reading({ count: 1, onUnhealthy: "wait" }, env)).toMatchObject({
      checkTimeoutMs: 500,
      checkInterval: 25,
      policy: { attempts: 7, retryDelayMs: 2_000, onUnhealthy: "wait" },
    });
  });

  it.each([
    ["HEALTH_CHECK_TIMEOUT", "soon"],
    ["HEALTH_CHECK_RETRIES", "0"],
    ["HEALTH_CHECK_RETRY_DELAY", "-1"],
    ["PERIODIC_HEALTH_CHECK_INTERVAL", "1.5"],
  ])("is refused with words when %s is %j", async (name, value) => {
    const message = await refusal({ count: 1 }, { ...COMFY, [name]: value });
    expect(message).toContain(name);
    expect(message).toContain(JSON.stringify(value));
  });
});

describe("wrong usage", () => {
  it("is told with what was expected and found", async () => {
    expect(await refusal({})).toContain("--count");
    expect(await refusal({ count: 250, startFrom: 251 })).toContain("expected 0 to 250");
    expect(await refusal({ count: 5, startFrom: 1, resume: true })).toContain("found both");
    expect(await refusal({ count: 5, preFlight: true, check: false })).toContain("--no-check");
    expect(await refusal({ count: 5, services: "comfyui" }, COMFY)).toContain("name=URL");
    expect(await refusal({ count: 5, store: "bucket" }, COMFY)).toContain("s3://bucket");
    expect(await refusal({ count: 5, mlflow: "file:///x" }, COMFY)).toContain("--mlflow");
    expect(await refusal({ count: 2_000_000 })).toContain("1000000");
  });

  it("in the file or its graph is told with line and column", async () => {
    await writeFile(spec, EXPERIMENT_EXAMPLE.replace("mode: random", "mode: chance"));
    expect(await refusal({ count: 5 })).toMatch(/castle\.yaml:5:\d+: mode/);
    await writeFile(spec, EXPERIMENT_EXAMPLE);
    await writeFile(join(folder, "workflow.json"), "{");
    expect(await refusal({ count: 5 })).toContain("is not JSON");
    await rm(join(folder, "workflow.json"));
    expect(await refusal({ count: 5 })).toContain("there is no file");
  });
});

describe("a dry run", () => {
  it("shows the runs that a run would start, and needs nothing", async () => {
    const terminal = recordingTerminal();
    dryRun(await reading({ dryRun: 2, startFrom: 7 }), 2, terminal);
    expect(terminal.lines.filter((line) => line.startsWith("["))).toEqual([
      expect.stringMatching(/^\[8\/9\] exp_0007: /),
      expect.stringMatching(/^\[9\/9\] exp_0008: /),
    ]);
    const json = recordingTerminal();
    dryRun(await reading({ count: 250, dryRun: 1, json: true }), 1, json);
    expect(JSON.parse(json.lines[0] ?? "")).toMatchObject({ index: 0, graph: { "3": {} } });
  });
});
