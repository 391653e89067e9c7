/** `holdfast profile` against a ComfyUI and through a Holdfast, with a program named nvidia-smi first on PATH. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { profilePageSchema } from "@holdfast/contract";
import { profileSummarySchema, workflowProfileSchema, type ProfileSummary } from "@holdfast/load";
import { systemClock } from "@holdfast/runtime/system";
import { startSimulator, type Simulator } from "@holdfast/simulator";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SMI_FIXTURES } from "../../packages/gpu/testing/nvidia-smi-fixture.ts";
import { sleepingGraph } from "../support/api.ts";
import { freePort, startHoldfast, temporaryFolder } from "../support/processes.ts";
import { prepareServed } from "../support/served.ts";

const GRAPH = {
  "3": {
    class_type: "KSampler",
    inputs: {
      seed: 5,
      steps: 4,
      cfg: 8,
      sampler_name: "euler",
      scheduler: "normal",
      denoise: 1,
      model: ["4", 0],
      positive: ["6", 0],
      negative: ["6", 0],
      latent_image: ["5", 0],
    },
  },
  "4": {
    class_type: "CheckpointLoaderSimple",
    inputs: { ckpt_name: "v1-5-pruned-emaonly.safetensors" },
  },
  "5": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
  "6": { class_type: "CLIPTextEncode", inputs: { text: "a fox", clip: ["4", 1] } },
  "8": { class_type: "VAEDecode", inputs: { samples: ["3", 0], vae: ["4", 2] } },
  "9": { class_type: "SaveImage", inputs: { filename_prefix: "profile", images: ["8", 0] } },
};

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let simulator: Simulator;
let root: string;
beforeEach(async () => {
  folder = await temporaryFolder();
  root = join(folder.path, "infra");
  mkdirSync(join(folder.path, "bin"));
  simulator = await startSimulator({ clock: systemClock, timeScale: 0.02 });
});
afterEach(async () => {
  await simulator.stop();
  await folder.remove();
});

const workflow = (name: string, graph: unknown = GRAPH): string => {
  const file = join(folder.path, `${name}.json`);
  writeFileSync(file, JSON.stringify(graph));
  return file;
};
/** The recorded readings of a card under load, in the three columns that are asked for; `before` is run first. */
const nvidiaSmi = (before = ""): string => {
  const lines = readFileSync(join(SMI_FIXTURES, "h200-590.load.query-gpu.csv"), "utf8").split("\n");
  const heads = (lines[0] ?? "").split(", ");
  const cells = (lines[1] ?? "").split(", ");
  const cell = (name: string): string => {
    const at = heads.findIndex((head) => head.startsWith(name));
    return (cells[at] ?? "[N/A]").replace(/ (?:%|MiB)$/, "");
  };
  const program = join(folder.path, "bin", "nvidia-smi");
  const line = `2026/11/28 12:00:00.123, ${cell("utilization.gpu")}, ${cell("memory.used")}`;
  writeFileSync(program, `#!/bin/sh\n${before}\necho '${line}'\n`);
  chmodSync(program, 0o755);
  return line;
};
const profile = (args: readonly string[], server = simulator.url) =>
  startHoldfast("profile", ["profile", "--server", server, "--root", root, ...args], {
    PATH: `${join(folder.path, "bin")}:${process.env["PATH"] ?? ""}`,
  });
const summaryRead = (): ProfileSummary =>
  profileSummarySchema.parse(JSON.parse(read("summary.json")));
const folders = (): string[] => readdirSync(join(root, "comfyui/profiling"));
const read = (name: string, day = folders()[0] ?? ""): string =>
  readFileSync(join(root, "comfyui/profiling", day, name), "utf8");

describe.skipIf(process.platform === "win32")("holdfast profile", () => {
  it("tells nodes, loading and cards of a ComfyUI, and overwrites nothing", async () => {
    const line = nvidiaSmi();
    const args = ["--workflow", workflow("fox"), "--every", "100"];
    const one = profile(args);
    expect(await one.exited).toBe(0);
    const summary = summaryRead();
    expect(summary).toMatchObject({ stoppedBecause: "done", target: { kind: "comfyui" } });
    const [fox] = summary.workflows;
    expect(fox).toMatchObject({ name: "fox", runs: { asked: 3, completed: 3, failed: 0 } });
    expect(fox?.coldMs).toBeGreaterThan(0);
    expect(fox?.warmMs).toMatchObject({ count: 2 });
    expect(fox?.loaderMs.cold).toBeGreaterThan(0);
    expect(fox?.bottlenecks[0]?.classType).toBeTypeOf("string");
    expect(fox?.cards.map(({ source }) => source)).toContain("nvidia-smi");
    const { runs, nodes } = workflowProfileSchema.parse(JSON.parse(read("fox.json")));
    expect(runs.map(({ kind }) => kind)).toEqual(["cold", "warm", "warm"]);
    expect(new Set(runs.map(({ seed }) => seed)).size).toBe(3);
    expect(nodes.find(({ nodeId }) => nodeId === "3")).toMatchObject({ count: 2 });
    expect(nodes.find(({ nodeId }) => nodeId === "4")).toMatchObject({ count: 0, meanMs: null });
    const lines = read("nvidia-smi.csv").trimEnd().split("\n");
    expect(new Set(lines)).toEqual(new Set([line]));
    expect(read("README.md")).toContain("| fox | 3 of 3 |");
    expect(read("report.html")).toContain("Nodes of fox");

    expect(await profile(args).exited).toBe(0);
    expect(folders()).toEqual([folders()[0], `${folders()[0] ?? ""}-2`]);
  });

  it("says before anything is sent what is wrong", async () => {
    const editor = join(import.meta.dirname, "editor-format.json");
    const bad = profile([
      `--workflow=${editor}`,
      `--workflow=${join(folder.path, "no.json")}`,
      "--runs=0",
      "--timeout=0",
    ]);
    expect(await bad.exited).toBe(2);
    for (const words of ["--runs", "--timeout", "no.json", "editor", "Nothing was sent."]) {
      expect(bad.output()).toContain(words);
    }
    const fox = workflow("fox");
    const lost = profile(["--workflow", fox], `http://127.0.0.1:${await freePort()}`);
    expect(await lost.exited).toBe(3);
    const noSmi = profile(["--workflow", fox, "--nvidia-smi", join(folder.path, "none")]);
    expect(await noSmi.exited).toBe(2);
    expect(noSmi.output()).toContain("--nvidia-smi");
    writeFileSync(join(folder.path, "file"), "");
    const noRoot = profile(["--workflow", fox, "--root", join(folder.path, "file")]);
    expect(await noRoot.exited).toBe(2);
    const noSamples = profile([]);
    expect(await noSamples.exited).toBe(2);
    expect(noSamples.output()).toContain(
      `there is no ${join(root, "comfyui/samples/book_small.json")}`,
    );
    const noFeed = profile(["--workflow", fox, "--feed", `http://127.0.0.1:${await freePort()}`]);
    expect(await noFeed.exited).toBe(3);
    const comfyui = profile(["--workflow", fox, "--feed", simulator.url]);
    expect(await comfyui.exited).toBe(2);
    expect(comfyui.output()).toContain("takes no profiles");
    expect(existsSync(root)).toBe(false);
    expect(simulator.stats().requests["POST /prompt"]).toBeUndefined();
  });

  it("ends at Ctrl-C with what was measured, and takes its run back", async () => {
    const one = profile(["--workflow", workflow("fox"), "--runs", "900", "--no-nvidia-smi"]);
    await one.saw("fox run 2 (warm)");
    simulator.faults.add({ kind: "hang", polls: true, match: { nodeClass: "SaveImage" } });
    await expect
      .poll(async () => (await (await fetch(`${simulator.url}/queue`)).json()) as object)
      .toMatchObject({ queue_running: [expect.anything()] });
    expect(await one.stop("SIGINT")).toBe(130);
    const summary = summaryRead();
    expect(summary).toMatchObject({ stoppedBecause: "cancelled" });
    expect(summary.workflows[0]?.runs.completed).toBeGreaterThanOrEqual(2);
    expect(summary.workflows[0]?.warmMs).not.toBeNull();
    await expect
      .poll(async () => (await (await fetch(`${simulator.url}/queue`)).json()) as object)
      .toMatchObject({ queue_running: [], queue_pending: [] });
  });

  it("gives up a run that is out of its time, and measures the next one", async () => {
    const match = { nthPrompt: 2, nodeClass: "KSampler" };
    simulator.faults.add({ kind: "hang", polls: true, match });
    const one = profile(["--workflow", workflow("fox"), "--timeout", "5", "--no-nvidia-smi"]);
    expect(await one.exited).toBe(1);
    expect(one.output()).toContain("fox run 2 (unknown): timed_out: not done within 5 s");
    const { runs } = workflowProfileSchema.parse(JSON.parse(read("fox.json")));
    expect(runs.map(({ outcome, kind }) => [outcome, kind])).toEqual([
      ["completed", "cold"],
      ["timed_out", "unknown"],
      ["completed", "warm"],
    ]);
    expect(summaryRead()).toMatchObject({
      stoppedBecause: "done",
      workflows: [{ runs: { asked: 3, completed: 2, failed: 1 }, warmMs: { count: 1 } }],
    });
  });

  it("writes what was measured of a server that is lost in the middle", async () => {
    const files = [workflow("fox"), workflow("owl")].flatMap((file) => ["--workflow", file]);
    const one = profile([...files, "--runs", "900", "--no-nvidia-smi"]);
    await one.saw("fox run 2 (warm)");
    await simulator.stop();
    expect(await one.exited).toBe(3);
    const { stoppedBecause, workflows } = summaryRead();
    expect(stoppedBecause).toBe("target_lost");
    expect(workflows.map(({ name }) => name)).toEqual(["fox"]);
    expect(workflows[0]?.runs.completed).toBeGreaterThanOrEqual(2);
    expect(workflows[0]?.runs.failed).toBe(2);
    expect(workflows[0]?.coldMs).toBeGreaterThan(0);
    expect(read("report.html")).toContain("the server did not answer any more");
  });

  it.skipIf(!existsSync("/dev/full"))("loses nothing else to a disk that is full", async () => {
    // From the first look on that has a folder to go to.
    nvidiaSmi(
      `for at in ${root}/comfyui/profiling/*-*; do ln -s /dev/full "$at/nvidia-smi.csv"; done 2>/dev/null`,
    );
    const one = profile(["--workflow", workflow("fox"), "--every", "100"]);
    expect(await one.exited).toBe(1);
    expect(one.output().match(/nvidia-smi\.csv cannot be written: ENOSPC/g)).toHaveLength(1);
    const { notes, workflows } = summaryRead();
    expect(notes).toEqual([expect.stringMatching(/^nvidia-smi\.csv is not whole, .*ENOSPC/)]);
    expect(workflows[0]?.runs.completed).toBe(3);
    expect(workflows[0]?.cards.map(({ source }) => source)).toContain("nvidia-smi");
    expect(read("README.md")).toMatch(/`nvidia-smi\.csv`: .*; not whole/);
    expect(read("report.html")).toContain("Nodes of fox");
  });

  it("takes the repository's samples where there are none, and neither root nor workflow is given", async () => {
    const fast = await startSimulator({ clock: systemClock, timeScale: 0 });
    try {
      const args = ["profile", "--server", fast.url, "--no-nvidia-smi", "--every", "100"];
      const one = startHoldfast("profile", args, {}, folder.path);
      expect([await one.exited, one.output()]).toEqual([0, expect.anything()]);
      expect(one.output()).toMatch(/workflows: the samples of \/.*infra\/comfyui\/samples/);
    } finally {
      await fast.stop();
    }
    const { workflows } = summaryRead();
    expect(workflows.map(({ name, runs }) => [name, runs.completed])).toEqual([
      ["book_small", 3],
      ["book_medium", 3],
      ["book_large", 3],
    ]);
    // Where nothing takes time, a cold run may be the shorter one.
    for (const { coldMs, warmMs, loadMs } of workflows) {
      const isCold = coldMs !== null && warmMs !== null && coldMs >= warmMs.mean;
      expect(loadMs !== null).toBe(isCold);
    }
  });

  it("tells a Holdfast, which then knows what a job of the graph takes", async () => {
    const served = await prepareServed();
    try {
      await served.start();
      const { call, submit, job } = served.client();
      const file = workflow("fox");
      const one = profile(["--workflow", file, "--no-nvidia-smi", "--feed", served.url]);
      expect([await one.exited, one.output()]).toEqual([0, expect.anything()]);
      expect(one.output()).toContain(`told ${served.url} of 1 profile`);
      const { items } = profilePageSchema.parse(await call("GET", "/api/v1/profiles"));
      const { gpuName, startedAt, workflows } = summaryRead();
      const [fox] = workflows;
      expect(items).toEqual([
        expect.objectContaining({
          gpuName,
          runs: 3,
          measuredAt: startedAt,
          models: ["v1-5-pruned-emaonly.safetensors"],
          warm: expect.objectContaining({ runs: 2 }) as unknown,
          cold: expect.objectContaining({ runs: 1 }) as unknown,
          loadMs: fox?.loadMs,
          vramPeakBytes: fox?.vramPeakBytes,
          longestSilenceMs: expect.closeTo(fox?.longestSilenceMs ?? -1, 0) as number,
        }),
      ]);
      const before = await Promise.all([1, 2, 3, 4].map((seed) => submit(sleepingGraph(seed, 60))));
      const { id } = await submit(GRAPH);
      expect((await job(id)).expectedMs).toBe(Math.round(fox?.warmMs?.mean ?? -1));
      for (const { id: other } of before) await call("POST", `/api/v1/jobs/${other}/cancel`);
    } finally {
      await served.close();
    }
  });

  it("measures a Holdfast, says what it does not tell, and leaves it to learn by itself", async () => {
    const served = await prepareServed();
    try {
      await served.start();
      const args = ["--workflow", workflow("fox"), "--no-nvidia-smi"];
      const twice = profile([...args, "--feed", served.url], served.url);
      expect(await twice.exited).toBe(2);
      expect(twice.output()).toContain("--feed: expected a ComfyUI as --server");
      const one = profile(args, served.url);
      expect(await one.exited).toBe(0);
      const [fox] = summaryRead().workflows;
      expect(fox?.bottlenecks).toEqual([]);
      expect([fox?.coldMs === null, fox?.warmMs?.count]).toEqual([false, 2]);
      expect(one.output()).toContain("Holdfast does not tell times of nodes");
      expect(one.output()).toContain(`${served.url} has learned from these runs by itself`);
      const learned = async () =>
        profilePageSchema.parse(await served.client().call("GET", "/api/v1/profiles")).items;
      await expect
        .poll(learned, { timeout: 60_000 })
        .toEqual([expect.objectContaining({ runs: 3, measuredAt: null })]);
    } finally {
      await served.close();
    }
  });
});
