/** `holdfast sla` as a person runs it: the search on a service that is full at a known place, and the live check. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "@holdfast/runtime/system";
import { startSimulator, type Simulator } from "@holdfast/simulator";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { freePort, startHoldfast, temporaryFolder, until } from "../support/processes.ts";
import { prepareServed } from "../support/served.ts";

const GRAPH = {
  "1": {
    class_type: "EmptyImage",
    inputs: { width: 32, height: 32, batch_size: 1, color: "{{index}}" },
  },
  "2": { class_type: "HoldfastSleep", inputs: { image: ["1", 0], seconds: 0.02, poll: true } },
  "3": { class_type: "SaveImage", inputs: { filename_prefix: "{{seed}}", images: ["2", 0] } },
};

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let simulator: Simulator;
beforeEach(async () => {
  folder = await temporaryFolder();
  // Six wait at most: three books of which two pages each are in flight.
  simulator = await startSimulator({ clock: systemClock, timeScale: 0, queueLimit: 6 });
  writeFileSync(at("page.json"), JSON.stringify(GRAPH));
  writeFileSync(
    at("sla.yaml"),
    "pagesPerBook: 4\ntargets: { imagesPerMinuteMin: 1, simultaneousBooksMin: 3 }\n",
  );
});
afterEach(async () => {
  await simulator.stop();
  await folder.remove();
});

const at = (name: string): string => join(folder.path, name);
const holdfast = async (args: readonly string[]) => {
  const one = startHoldfast("sla", ["sla", ...args], { HOLDFAST_HOME: at("home") });
  return { code: await one.exited, output: one.output() };
};
const search = (...more: readonly string[]) =>
  holdfast(["search", "--workflow", at("page.json"), "--root", at("infra"), ...more]);

describe("the search for the most books", () => {
  it("finds where a service is full, and writes the runbook", async () => {
    const files = ["--targets", at("sla.yaml"), "--output", at("out.json")];
    const { code, output } = await search("--server", simulator.url, "--max", "16", ...files);
    expect(output).toMatch(/^ +4 books \(doubled\): .* failed: BREACHED$/m);
    expect(output).toMatch(/^ +4 books \(again\): .*: BREACHED$/m);
    expect(output).toContain("3 books at a time keep the targets, 4 do not.");
    expect(output).toMatch(/^concurrency +≥ 3 books +3 books/m);
    expect(code).toBe(0);
    const { search: found, verdict } = JSON.parse(readFileSync(at("out.json"), "utf8")) as {
      search: { books: number; trials: { books: number; jobs: number }[] };
      verdict: { state: string };
    };
    expect(found.trials.map(({ books }) => books)).toEqual([1, 2, 4, 4, 3]);
    expect(found.trials[0]?.jobs).toBe(24);
    // Nobody told how long losses lasted.
    expect(verdict.state).toBe("incomplete");
    const runbook = readFileSync(at("infra/runbooks/comfyui_sla.md"), "utf8");
    expect(runbook).toContain("**3 books at a time keep the targets**, 4 do not.");
    expect(output).toContain(
      `written: ${at("infra/runbooks/comfyui_sla.md")} (section of ${simulator.url})`,
    );
    // Another target's search leaves that section.
    const other = await startSimulator({ clock: systemClock, timeScale: 0 });
    const second = await search("--server", other.url, "--max", "1");
    await other.stop();
    expect(second.output).toContain(`(section of ${other.url}; 1 of other targets as before)`);
    const both = readFileSync(at("infra/runbooks/comfyui_sla.md"), "utf8");
    expect(both).toContain("**3 books at a time keep the targets**, 4 do not.");
    expect(both).toContain(`## ComfyUI at \`${other.url}\``);
  });

  it("writes no runbook where it is stopped before the first trial has ended", async () => {
    const slow = await startSimulator({ clock: systemClock, timeScale: 1 });
    writeFileSync(at("page.json"), JSON.stringify(GRAPH).replace("0.02", "60"));
    const args = ["search", "--server", slow.url, "--workflow", at("page.json")];
    const one = startHoldfast("sla", ["sla", ...args, "--root", at("infra")], {
      HOLDFAST_HOME: at("home"),
    });
    await until("it renders", () => slow.stats().promptsRun > 0 || undefined);
    expect(await one.stop("SIGINT")).toBe(130);
    await slow.stop();
    expect(one.output()).toContain("stopped before the first trial had ended");
    expect(readdirSync(at("infra/runbooks"))).toEqual([]);
  });

  it("breaches what is asked for and cannot be", async () => {
    writeFileSync(at("sla.yaml"), "targets: { imagesPerMinuteMin: 1, simultaneousBooksMin: 9 }\n");
    const { code, output } = await search("--server", simulator.url, "--targets", at("sla.yaml"));
    expect(output).toMatch(/^BREACHED by concurrency$/m);
    expect(code).toBe(1);
  });

  it("keeps what it measured where the service is gone in the middle", async () => {
    const roomy = await startSimulator({ clock: systemClock, timeScale: 0 });
    const args = ["search", "--workflow", at("page.json"), "--root", at("infra")];
    // All pages of a trial at once: they wait together for a socket that does not come.
    const more = ["--server", roomy.url, "--max", "2", "--window", "12"];
    const one = startHoldfast("sla", ["sla", ...args, ...more], { HOLDFAST_HOME: at("home") });
    await until("a trial is over", () => /^ +1 book /m.test(one.output()) || undefined);
    await roomy.stop();
    expect(await one.exited).toBe(3);
    expect(one.output()).toContain("cannot reach");
    const runbook = readFileSync(at("infra/runbooks/comfyui_sla.md"), "utf8");
    expect(runbook).toContain("The search was stopped; 1 at a time were good by then.");
  });

  it("is refused before anything is sent", async () => {
    writeFileSync(at("bad.yaml"), "targets: { latencyP95Max: 45 }\n");
    const refusals: readonly (readonly [readonly string[], number, string])[] = [
      [["--server", simulator.url, "--targets", at("bad.yaml")], 2, "latencyP95SecondsMax"],
      [["--server", simulator.url, "--targets", at("none.yaml")], 2, "cannot be read"],
      [["--server", simulator.url, "--from", "9", "--max", "3"], 2, "--from: expected at most"],
      [["--server", simulator.url, "--window", "0"], 2, "from 1"],
      [["--server", simulator.url, "--workflow", at("none.json")], 2, "none.json"],
      [["--server", `http://127.0.0.1:${await freePort()}`], 3, "cannot reach"],
    ];
    for (const [args, code, words] of refusals) {
      const end = await search(...args);
      expect([args, end.code, end.output]).toEqual([args, code, expect.stringContaining(words)]);
    }
    expect(simulator.stats().promptsRun).toBe(0);
  });
});

it("the check tells what a Holdfast delivered, and the exit code says whether it was enough", async () => {
  const served = await prepareServed();
  try {
    await served.start(["up", "--comfyui", simulator.url]);
    await until("it is ready", () => served.client().isReady(), 30_000);
    const load = startHoldfast(
      "load",
      [
        "load",
        "--server",
        served.url,
        "--workflow",
        at("page.json"),
        "--jobs",
        "12",
        "--root",
        at("infra"),
      ],
      { HOLDFAST_HOME: at("home") },
    );
    expect(await load.exited).toBe(0);
    const check = (...more: readonly string[]) => holdfast(["check", "--url", served.url, ...more]);
    await until("the jobs are counted", async () => {
      const { output } = await check("--json");
      const { live } = JSON.parse(output) as { live: { totals: { completed: number } } };
      return live.totals.completed === 12;
    });
    const met = await check();
    expect(met.output).toMatch(/^Delivered +12 files of 12 jobs/m);
    expect(met.output).toMatch(/^latency p95 +≤ 45 s +\S+ s \(of 12\)/m);
    expect(met.code).toBe(0);
    writeFileSync(at("sla.yaml"), "targets: { latencyP95SecondsMax: 0 }\n");
    const missed = await check("--targets", at("sla.yaml"), "--last", "1h");
    expect(missed.output).toMatch(/^BREACHED by latency p95$/m);
    expect(missed.code).toBe(1);
  } finally {
    await served.close();
  }
});
