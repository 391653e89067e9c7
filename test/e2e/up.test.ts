/** `holdfast up` as a person runs it: started, killed, started again, ended. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { JobView } from "@holdfast/contract";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { api, quickGraph, sleepingGraph } from "../support/api.ts";
import {
  freePort,
  startHoldfast,
  temporaryFolder,
  until,
  type HoldfastProcess,
} from "../support/processes.ts";

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let port: number;
const started: HoldfastProcess[] = [];

beforeEach(async () => {
  folder = await temporaryFolder();
  port = await freePort();
});
afterEach(async () => {
  for (const one of started.splice(0).reverse()) await one.stop("SIGINT", 20_000);
  await folder.remove();
});

const home = (): string => join(folder.path, "private", "home");
const up = async (
  extra: Readonly<Record<string, string>> = {},
  args: readonly string[] = ["up", "--simulator"],
): Promise<HoldfastProcess> => {
  const one = startHoldfast("up", args, {
    HOLDFAST_HOME: home(),
    HOLDFAST_PORT: String(port),
    HOLDFAST_LEASE_TTL_MS: "5000",
    ...extra,
  });
  started.push(one);
  await one.saw("is up", 60_000);
  await until("it is ready", () => client().isReady(), 30_000);
  return one;
};
const client = () => api(`http://127.0.0.1:${port}`);
const ended = (job: JobView): Promise<JobView> =>
  until(`job ${job.number} ends`, async () => {
    const now = await client().job(job.id);
    return now.endedAt === null ? undefined : now;
  });
const simulatorUrl = (one: HoldfastProcess): string => {
  const found = /simulated ComfyUI (http:\/\/127\.0\.0\.1:\d+)/.exec(one.output());
  if (found?.[1] === undefined) throw new Error(one.output());
  return found[1];
};
const promptsRun = async (url: string): Promise<number> => {
  const stats = (await (await fetch(`${url}/simulator/stats`)).json()) as { promptsRun: number };
  return stats.promptsRun;
};

describe("kill -9 of up", () => {
  it("with ten jobs outstanding: the next up adopts its children, all ten complete, none is rendered twice", async () => {
    const first = await up();
    const url = simulatorUrl(first);
    const before = await promptsRun(url);
    const jobs: JobView[] = [];
    for (let index = 0; index < 10; index += 1) {
      jobs.push(await client().submit(sleepingGraph(100 + index, 0.2)));
    }
    await until("two are done", async () => {
      const stats = await client().call<{ jobs: Record<string, number> }>("GET", "/api/v1/stats");
      return (stats.jobs["completed"] ?? 0) >= 2;
    });
    await first.kill();
    const second = await up();
    expect(simulatorUrl(second)).toBe(url);
    for (const job of jobs) {
      const end = await ended(job);
      expect(end).toMatchObject({ status: "completed", outputCount: 1 });
      for (const output of await client().outputs(job.id)) await client().download(output);
    }
    // Deep checks run prompts of their own: at most one at each start.
    const rendered = (await promptsRun(url)) - before;
    expect(rendered).toBeGreaterThanOrEqual(10);
    expect(rendered).toBeLessThanOrEqual(12);
  });

  it("while nothing runs: the database is adopted, and everything is still there", async () => {
    const first = await up();
    const job = await client().submit(quickGraph(1));
    await ended(job);
    await first.kill();
    const second = await up();
    expect(second.output()).toMatch(/"adopted":true/);
    expect(await client().job(job.id)).toMatchObject({ status: "completed" });
  });
});

describe("up", () => {
  it("ended in order leaves no process behind, and says so", async () => {
    const one = await up();
    expect(await one.stop("SIGINT")).toBe(0);
    expect(one.output()).toContain("stopped");
    const running = execFileSync("ps", ["-eo", "args"], { encoding: "utf8" });
    expect(running.split("\n").filter((line) => line.includes(home()))).toEqual([]);
  });

  it("started twice on one folder says who has it, and exits with 3", async () => {
    const one = await up();
    const other = startHoldfast("second", ["up", "--simulator"], {
      HOLDFAST_HOME: home(),
      HOLDFAST_PORT: String(await freePort()),
    });
    started.push(other);
    expect(await other.exited).toBe(3);
    expect(other.output()).toContain(String(one.pid));
    expect(other.output()).toContain(String(port));
  });

  it("lists every wrong setting before it starts anything", async () => {
    const one = startHoldfast("wrong", ["up", "--simulator"], {
      HOLDFAST_HOME: home(),
      HOLDFAST_PORT: "eight",
      MAX_RETRY_ATTEMPTS: "-1",
    });
    started.push(one);
    expect(await one.exited).not.toBe(0);
    expect(one.output()).toContain("HOLDFAST_PORT");
    expect(one.output()).toContain("MAX_RETRY_ATTEMPTS");
    expect(existsSync(join(home(), "postgres"))).toBe(false);
  });

  it("refuses a public address without a key", async () => {
    const one = startHoldfast("public", ["up", "--simulator", "--host", "0.0.0.0"], {
      HOLDFAST_HOME: home(),
      HOLDFAST_PORT: String(port),
    });
    started.push(one);
    expect(await one.exited).not.toBe(0);
    expect(one.output()).toMatch(/no API key/);
  });
});

describe("submit", () => {
  const submit = async (args: readonly string[]): Promise<{ code: unknown; output: string }> => {
    const one = startHoldfast("submit", ["submit", ...args], {
      HOLDFAST_URL: `http://127.0.0.1:${port}`,
    });
    started.push(one);
    return { code: await one.exited, output: one.output() };
  };
  const examples = join(import.meta.dirname, "../../examples");

  it("renders every example, and writes what it promised", async () => {
    const comfyPort = await freePort();
    const simulator = startHoldfast(
      "simulator",
      ["simulator", "--port", String(comfyPort), "--time-scale", "0"],
      { HOLDFAST_HOME: home() },
    );
    started.push(simulator);
    await simulator.saw("simulated ComfyUI on");
    await up({}, ["up", "--comfyui", `http://127.0.0.1:${comfyPort}`]);
    const graphs = readdirSync(examples).filter((file) => file.endsWith(".json"));
    expect(graphs.length).toBeGreaterThanOrEqual(7);
    const inputs = readdirSync(join(examples, "inputs")).filter((file) => !file.endsWith(".md"));
    for (const graph of graphs) {
      const out = join(folder.path, "out", graph);
      const text = readFileSync(join(examples, graph), "utf8");
      const given = inputs
        .filter((file) => text.includes(`"${file}"`))
        .flatMap((file) => ["--input", join(examples, "inputs", file)]);
      const result = await submit([join(examples, graph), "--wait", "--out", out, ...given]);
      expect(result, `${graph}: ${result.output}`).toMatchObject({ code: 0 });
      expect(readdirSync(out).length, graph).toBeGreaterThan(0);
    }
  });

  it("refuses a workflow in the editor's format with the words that tell how to export it", async () => {
    await up();
    const result = await submit([join(import.meta.dirname, "editor-format.json"), "--wait"]);
    expect(result.code).toBe(2);
    expect(result.output).toMatch(/Export \(API\)/);
  });

  it("says when nobody answers", async () => {
    const result = await submit([join(examples, "model-free.json")]);
    expect(result.code).toBe(3);
    expect(result.output).toContain(`127.0.0.1:${port}`);
  });
});
