/** `holdfast load` as a person runs it: on a bare ComfyUI and on a Holdfast, stopped, refused, compared. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { loadSummarySchema, readLoadFile, type JobSample, type LoadSummary } from "@holdfast/load";
import { systemClock } from "@holdfast/runtime/system";
import { startSimulator, type Simulator } from "@holdfast/simulator";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { freePort, startHoldfast, temporaryFolder, until } from "../support/processes.ts";
import { prepareServed } from "../support/served.ts";

const graph = (seconds: number) => ({
  "1": {
    class_type: "EmptyImage",
    inputs: { width: 32, height: 32, batch_size: 1, color: "{{index}}" },
  },
  "2": { class_type: "HoldfastSleep", inputs: { image: ["1", 0], seconds, poll: true } },
  "3": { class_type: "SaveImage", inputs: { filename_prefix: "{{seed}}", images: ["2", 0] } },
});

let simulator: Simulator;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeEach(async () => {
  simulator = await startSimulator({ clock: systemClock, timeScale: 0 });
  folder = await temporaryFolder();
  writeFileSync(at("small.json"), JSON.stringify(graph(0)));
  writeFileSync(at("large.json"), JSON.stringify(graph(0.01)));
  writeFileSync(at("endless.json"), JSON.stringify(graph(600)));
});
afterEach(async () => {
  await simulator.stop();
  await folder.remove();
});

const at = (name: string): string => join(folder.path, name);
const begin = (args: readonly string[], server = simulator.url) =>
  startHoldfast("load", ["load", "--server", server, "--root", at("infra"), ...args], {
    HOLDFAST_HOME: at("home"),
  });
const run = async (args: readonly string[], server?: string) => {
  const one = begin(args, server);
  const code = await one.exited;
  return { code, output: one.output() };
};
const small = (): readonly string[] => ["--workflow", at("small.json")];

async function fileOf(
  name: string,
): Promise<{ readonly summary: LoadSummary; readonly samples: readonly JobSample[] }> {
  const samples: JobSample[] = [];
  const text = readFileSync(at(name), "utf8");
  const read = await readLoadFile(text.split("\n").slice(0, -1), (one) => samples.push(one));
  if (read.kind !== "ok") throw new Error(read.problems.join("\n"));
  return { summary: read.summary, samples };
}

const metrics = (): readonly Record<string, unknown>[] =>
  readFileSync(at("infra/observability/comfyui_metrics.ndjson"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

it("measures a bare ComfyUI: a file for jq, a line a job, a summary to read", async () => {
  const mix = ["--workflow", `${at("small.json")}=2`, "--workflow", at("large.json")];
  const args = [...mix, "--jobs", "12", "--concurrency", "4", "--timeout", "420"];
  const { code, output } = await run([...args, "--warm-up", "3", "--output", at("x.json")]);
  expect(output).toContain("12 of 12 jobs completed, 3 of warm-up, left out below; success 100 %");
  expect(output).toMatch(/the harness itself: p99 .* late, event loop p99/);
  expect(code).toBe(0);
  const { summary } = JSON.parse(readFileSync(at("x.json"), "utf8")) as { summary: unknown };
  expect(loadSummarySchema.parse(summary)).toMatchObject({
    target: { kind: "comfyui", version: "0.3.64-simulated" },
    plan: { pace: "closed:4" },
    jobs: { asked: 12, begun: 12, completed: 12, warmUp: 3 },
    steady: { jobs: 9 },
    successRate: 1,
    stoppedBecause: "jobs",
  });
  const { samples } = await fileOf("x.json");
  expect(samples.map(({ index }) => index).toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: 12 }, (_, index) => index),
  );
  expect(samples.filter(({ workflow }) => workflow === "small")).toHaveLength(8);
  const lines = metrics();
  expect(lines.filter(({ type }) => type === "job")).toHaveLength(12);
  expect(lines.some(({ type }) => type === "gpu")).toBe(true);
  // Nothing is left beside the output.
  expect(readdirSync(folder.path).filter((name) => name.includes("x.json"))).toEqual(["x.json"]);
});

it("measures through a Holdfast, by its own numbers, and takes its jobs back on Ctrl-C", async () => {
  const served = await prepareServed();
  try {
    await served.start(["up", "--comfyui", simulator.url]);
    await until("it is ready", () => served.client().isReady(), 30_000);
    const args = ["--jobs", "12", "--concurrency", "4", "--target", "holdfast"];
    const done = await run([...small(), ...args, "--output", at("y.json")], served.url);
    expect(done.output).toContain("12 of 12 jobs completed");
    expect(done.code).toBe(0);
    const { summary, samples } = await fileOf("y.json");
    expect(summary).toMatchObject({ target: { kind: "holdfast" }, outputs: 12, retries: 0 });
    for (const phase of ["submit", "queue", "execute", "collect"] as const) {
      expect(summary.phases[phase]).toMatchObject({ count: 12 });
    }
    expect(samples.every(({ outputs, bytes }) => outputs === 1 && bytes > 0)).toBe(true);

    const endless = ["--workflow", at("endless.json"), "--jobs", "9", "--concurrency", "3"];
    const running = begin([...endless, "--output", at("z.json")], served.url);
    const jobs = async (): Promise<Record<string, number>> =>
      ((await (await fetch(`${served.url}/api/v1/stats`)).json()) as { jobs: never }).jobs;
    await until("it renders", async () => ((await jobs())["processing"] ?? 0) > 0);
    expect(await running.stop("SIGINT")).toBe(130);
    expect((await fileOf("z.json")).summary).toMatchObject({
      stoppedBecause: "cancelled",
      jobs: { begun: 3, cancelled: 3, completed: 0 },
    });
    const live = async () => {
      const { queued, processing, recovering } = await jobs();
      return (queued ?? 0) + (processing ?? 0) + (recovering ?? 0);
    };
    await until("nothing of it is left", async () => (await live()) === 0);
  } finally {
    await served.close();
  }
});

it("Ctrl-C on a bare ComfyUI ends with what was measured, and empties its queue", async () => {
  writeFileSync(at("slow.json"), JSON.stringify(graph(0.3)));
  const args = ["--workflow", at("slow.json"), "--jobs", "400", "--concurrency", "6"];
  const running = begin([...args, "--output", at("x.json")]);
  const path = at("infra/observability/comfyui_metrics.ndjson");
  await until(
    "a job has ended",
    () => existsSync(path) && /"job"/.test(readFileSync(path, "utf8")),
  );
  expect(await running.stop("SIGINT")).toBe(130);
  expect(running.output()).toContain("it was stopped by Ctrl-C");
  const { summary, samples } = await fileOf("x.json");
  expect(summary.stoppedBecause).toBe("cancelled");
  expect(samples).toHaveLength(summary.jobs.begun);
  expect(summary.jobs.completed).toBeGreaterThan(0);
  const queue = await (await fetch(`${simulator.url}/queue`)).json();
  expect(queue).toMatchObject({ queue_pending: [] });
});

it("a ramp whose jobs fail stops by itself, says so, and its exit code is 1", async () => {
  simulator.faults.add({ kind: "oom", match: { nodeClass: "SaveImage", count: 0 } });
  const { code, output } = await run([...small(), "--ramp", "1..4@60s", "--output", at("x.json")]);
  expect(output).toContain("ended: too many jobs failed (--stop-errors)");
  expect(output).toContain("stopped: 3 of the last 3 jobs failed");
  expect(output).toContain("so --stop-gpu stops nothing");
  expect(output).toMatch(/\d × cuda_out_of_memory: /);
  expect(code).toBe(1);
  expect((await fileOf("x.json")).summary.stoppedBecause).toBe("errors");
});

it("a ComfyUI that dies for good ends the run, with what was measured", async () => {
  writeFileSync(at("slow.json"), JSON.stringify(graph(0.2)));
  const args = ["--workflow", at("slow.json"), "--jobs", "5000", "--concurrency", "30"];
  const running = begin([...args, "--output", at("x.json")]);
  await running.saw("cards:");
  await simulator.stop();
  expect(await running.exited).toBe(3);
  expect((await fileOf("x.json")).summary.stoppedBecause).toBe("target_lost");
  simulator = await startSimulator({ clock: systemClock, timeScale: 0 });
});

describe("against a run before", () => {
  it("says what became of each figure, and is worse where more fails", async () => {
    const args = [...small(), "--jobs", "60", "--concurrency", "4"];
    expect((await run([...args, "--output", at("before.json")])).code).toBe(0);
    simulator.faults.add({
      kind: "raise",
      exceptionType: "ValueError",
      message: "no",
      match: { nodeClass: "SaveImage", count: 30 },
    });
    const compared = ["--compare", at("before.json"), "--min-success", "0"];
    const { code, output } = await run([...args, ...compared]);
    expect(output).toContain(`against ${at("before.json")}: worse`);
    expect(output).toMatch(/success +100 % +50 % +-50\.0 points .* worse/);
    expect(code).toBe(1);
  });

  it("of other work is refused before any load is sent, unless forced", async () => {
    const args = ["--jobs", "12", "--concurrency", "4"];
    await run([...small(), ...args, "--output", at("before.json")]);
    const large = ["--workflow", at("large.json"), ...args, "--compare", at("before.json")];
    const before = simulator.stats().requests["POST /prompt"];
    const { code, output } = await run(large);
    expect(code).toBe(2);
    expect(output).toContain("is of other work:\n  workflows: ");
    expect(output).toContain("No load was sent.");
    expect(simulator.stats().requests["POST /prompt"]).toBe(before);
    expect((await run([...large, "--force"])).output).toContain("compared by force: workflows");
  });

  it("that is no run is refused", async () => {
    writeFileSync(at("before.json"), "{}");
    const { code, output } = await run([...small(), "--compare", at("before.json")]);
    expect(code).toBe(2);
    expect(output).toContain("expected the lines that `holdfast load` writes");
  });
});

describe("before any load is sent", () => {
  const nothingWasSent = (): void => {
    expect(simulator.stats().requests["POST /prompt"] ?? 0).toBe(0);
    expect(existsSync(at("infra"))).toBe(false);
  };

  it("says that nobody is there", async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    const { code, output } = await run(small(), url);
    expect(code).toBe(3);
    expect(output).toContain(`cannot reach ${url}: nothing listens there.`);
  });

  it("says what is there instead", async () => {
    const other = createServer((_request, response) => response.end("hello")).listen(0);
    const { port } = other.address() as AddressInfo;
    const { code, output } = await run(small(), `http://127.0.0.1:${port}`);
    other.close();
    expect(code).toBe(2);
    expect(output).toContain("is neither a Holdfast nor a ComfyUI");
    const mistaken = await run([...small(), "--target", "holdfast"]);
    expect(mistaken.code).toBe(2);
    expect(mistaken.output).toContain("--target: expected holdfast, found a ComfyUI");
    expect(mistaken.output).toContain("No load was sent.");
    nothingWasSent();
  });

  it("says everything that is wrong with it at once", async () => {
    const args = ["--workflow", at("none.json"), "--jobs", "0", "--timeout", "0"];
    const { code, output } = await run(args);
    expect(code).toBe(2);
    expect(output).toContain(`--workflow: there is no file ${at("none.json")}`);
    expect(output).toContain("--jobs: expected a whole number from 1");
    expect(output).toContain("--timeout: expected seconds");
    nothingWasSent();
  });

  it("says that the output cannot be written", async () => {
    mkdirSync(at("folder"));
    writeFileSync(at("file"), "");
    for (const output of [at("folder"), at("file/x.json")]) {
      const said = await run([...small(), "--output", output]);
      expect(said.code).toBe(2);
      expect(said.output).toContain(`--output: ${output} cannot be written: `);
    }
    const rooted = await run([...small(), "--root", at("file"), "--output", at("x.json")]);
    expect(rooted.code).toBe(2);
    expect(rooted.output).toContain("--root: ");
    expect(readdirSync(folder.path).filter((name) => name.includes("x.json"))).toEqual([]);
    nothingWasSent();
  });
});

describe("with a fault meanwhile", () => {
  const twenty = ["--jobs", "20", "--concurrency", "4", "--timeout", "60"];

  it("a bare client loses what is refused, a Holdfast nothing; the file says under what", async () => {
    const scenario = ["--scenario", "server-errors", ...twenty];
    const bare = await run([...small(), ...scenario, "--output", at("bare.json")]);
    expect(bare.output).toContain("18 of 20 jobs completed, 2 failed");
    expect(bare.output).toContain("scenario server-errors: it struck 2 times");
    expect(bare.code).toBe(1);
    const { summary } = await fileOf("bare.json");
    // It is told as what it is, not as what stood in front of it.
    expect(summary).toMatchObject({
      scenario: "server-errors",
      target: { kind: "comfyui", url: simulator.url },
    });

    const served = await prepareServed();
    try {
      await served.start(["up", "--comfyui", simulator.url]);
      await until("it is ready", () => served.client().isReady(), 30_000);
      const through = await run([...small(), ...scenario], served.url);
      expect(through.output).toContain("20 of 20 jobs completed");
      expect(through.output).toMatch(/scenario server-errors: it struck [1-9]/);
      expect(through.code).toBe(0);
      // Behind it: its simulated ComfyUI, which it tells of.
      const crash = await run([...small(), ...twenty, "--scenario", "comfyui-crash"], served.url);
      expect(crash.output).toContain("20 of 20 jobs completed");
      expect(crash.output).toContain(`(${simulator.url})`);
      expect(crash.code).toBe(0);
    } finally {
      await served.close();
    }
  });

  it("is refused where there is none of that name, or none can be made", async () => {
    const unknown = await run([...small(), "--scenario", "nonsense"]);
    expect(unknown.output).toContain("there is no scenario nonsense; there are prompt-validation");
    const impossible = await run([...small(), "--scenario", "zombie", "--output", at("z.json")]);
    expect(impossible.output).toContain("holdfast fault run zombie");
    expect([unknown.code, impossible.code]).toEqual([2, 2]);
    expect(simulator.stats().promptsRun).toBe(0);
    // Nothing of a run that never began is left.
    expect(readdirSync(folder.path).filter((name) => name.includes("z.json"))).toEqual([]);
  });
});

it("writes a page with plots, and says so before the load where it cannot", async () => {
  const page = await run([...small(), "--report", at("pages/run.html")]);
  expect(page.code).toBe(0);
  const html = readFileSync(at("pages/run.html"), "utf8");
  expect(html).toContain("<svg");
  expect(html).toContain("12 of 12");
  writeFileSync(at("file"), "");
  const before = simulator.stats().promptsRun;
  const refused = await run([...small(), "--report", at("file/run.html")]);
  expect([refused.code, refused.output]).toEqual([2, expect.stringContaining("--report: ")]);
  expect(simulator.stats().promptsRun).toBe(before);
});
