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
import { profileSummarySchema, workflowProfileSchema } from "@holdfast/load";
import { systemClock } from "@holdfast/runtime/system";
import { startSimulator, type Simulator } from "@holdfast/simulator";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SMI_FIXTURES } from "../../packages/gpu/testing/nvidia-smi-fixture.ts";
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
/** The recorded readings of a card under load, in the three columns that are asked for. */
const nvidiaSmi = (): string => {
  const lines = readFileSync(join(SMI_FIXTURES, "h200-590.load.query-gpu.csv"), "utf8").split("\n");
  const heads = (lines[0] ?? "").split(", ");
  const cells = (lines[1] ?? "").split(", ");
  const cell = (name: string): string => {
    const at = heads.findIndex((head) => head.startsWith(name));
    return (cells[at] ?? "[N/A]").replace(/ (?:%|MiB)$/, "");
  };
  const program = join(folder.path, "bin", "nvidia-smi");
  const line = `2026/11/28 12:00:00.123, ${cell("utilization.gpu")}, ${cell("memory.used")}`;
  writeFileSync(program, `#!/bin/sh\necho '${line}'\n`);
  chmodSync(program, 0o755);
  return line;
};
const profile = (args: readonly string[], server = simulator.url) =>
  startHoldfast("profile", ["profile", "--server", server, "--root", root, ...args], {
    PATH: `${join(folder.path, "bin")}:${process.env["PATH"] ?? ""}`,
  });
const folders = (): string[] => readdirSync(join(root, "comfyui/profiling"));
const read = (name: string, day = folders()[0] ?? ""): string =>
  readFileSync(join(root, "comfyui/profiling", day, name), "utf8");

describe.skipIf(process.platform === "win32")("holdfast profile", () => {
  it("tells nodes, loading and cards of a ComfyUI, and overwrites nothing", async () => {
    const line = nvidiaSmi();
    const args = ["--workflow", workflow("fox"), "--every", "100"];
    const one = profile(args);
    expect(await one.exited).toBe(0);
    const summary = profileSummarySchema.parse(JSON.parse(read("summary.json")));
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
    expect(noSamples.output()).toContain("give other files with --workflow");
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
    const summary = profileSummarySchema.parse(JSON.parse(read("summary.json")));
    expect(summary).toMatchObject({ stoppedBecause: "cancelled" });
    expect(summary.workflows[0]?.runs.completed).toBeGreaterThanOrEqual(2);
    expect(summary.workflows[0]?.warmMs).not.toBeNull();
    await expect
      .poll(async () => (await (await fetch(`${simulator.url}/queue`)).json()) as object)
      .toMatchObject({ queue_running: [], queue_pending: [] });
  });

  it("measures a Holdfast, and says what it does not tell", async () => {
    const served = await prepareServed();
    try {
      await served.start();
      const one = profile(["--workflow", workflow("fox"), "--no-nvidia-smi"], served.url);
      expect(await one.exited).toBe(0);
      const [fox] = profileSummarySchema.parse(JSON.parse(read("summary.json"))).workflows;
      expect(fox).toMatchObject({ coldMs: null, loadMs: null, bottlenecks: [] });
      expect(fox?.warmMs?.count).toBe(2);
      expect(one.output()).toContain("Holdfast does not tell times of nodes");
      expect(one.output()).toMatch(/takes no profiles: it is an older Holdfast|told http/);
    } finally {
      await served.close();
    }
  });
});
