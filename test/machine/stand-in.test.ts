/** The stand-in ComfyUI is what the agent takes it for, and fails in the ways that tests ask of it. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JobView } from "@holdfast/contract";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startRealSystem, type RealSystem } from "../real/real-system.ts";
import { quickGraph, sleepingGraph } from "../support/api.ts";
import { pixelsOf } from "../support/png-pixels.ts";
import { until } from "../support/processes.ts";
import {
  brokenPack,
  failingScriptPack,
  forgetfulPack,
  goodPack,
  scriptedPack,
  slowPack,
  tensorPack,
} from "./ground/node-packs.ts";
import { makeMachineFolder, type MachineFolder } from "./ground/machine-folder.ts";
import { makeEnvironment, findPython } from "./ground/python.ts";
import { writePack, tinyModel } from "./ground/stand-in-files.ts";
import { startStandIn, type StandIn, type StandInOptions } from "./ground/stand-in.ts";
import { standInPathsWheel, standInTensorWheels } from "./ground/wheel.ts";

const python = findPython();

const post = async (one: StandIn, graph: object, promptId: string): Promise<void> => {
  const body = JSON.stringify({ prompt: graph, prompt_id: promptId });
  const answer = await fetch(`${one.url}/prompt`, { method: "POST", body });
  if (!answer.ok) throw new Error(await answer.text());
};
const hasEnded = async (one: StandIn, promptId: string): Promise<boolean> => {
  const answer = await fetch(`${one.url}/history/${promptId}`);
  return promptId in ((await answer.json()) as object);
};
const pending = async (one: StandIn): Promise<number> => {
  const answer = await fetch(`${one.url}/queue`);
  return ((await answer.json()) as { queue_pending: unknown[] }).queue_pending.length;
};

/** A model-using graph of the plainest kind. */
function paintingGraph(seed: number, model: string, steps = 3) {
  return {
    "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: model } },
    "2": { class_type: "CLIPTextEncode", inputs: { text: "a lighthouse", clip: ["1", 1] } },
    "3": { class_type: "CLIPTextEncode", inputs: { text: "blurry", clip: ["1", 1] } },
    "4": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 2 } },
    "5": {
      class_type: "KSampler",
      inputs: {
        model: ["1", 0],
        seed,
        steps,
        cfg: 7,
        sampler_name: "euler",
        scheduler: "normal",
        positive: ["2", 0],
        negative: ["3", 0],
        latent_image: ["4", 0],
        denoise: 1,
      },
    },
    "6": { class_type: "VAEDecode", inputs: { samples: ["5", 0], vae: ["1", 2] } },
    "7": { class_type: "SaveImage", inputs: { images: ["6", 0], filename_prefix: "painted" } },
  };
}

describe.skipIf(python === undefined)("the stand-in ComfyUI", () => {
  let environments: MachineFolder;
  let interpreter: string;
  let folder: MachineFolder;

  beforeAll(async () => {
    if (python === undefined) return;
    environments = await makeMachineFolder();
    interpreter = makeEnvironment(python, join(environments.path, "venv"), [
      standInPathsWheel(),
      standInTensorWheels()[0]!,
    ]);
  });
  afterAll(async () => {
    await environments?.close();
  });
  beforeEach(async () => {
    folder = await makeMachineFolder();
  });
  afterEach(async () => {
    for (const one of running.splice(0)) await one.kill();
    await folder.close();
  });

  const running: StandIn[] = [];
  const start = async (options: Partial<StandInOptions> = {}): Promise<StandIn> => {
    const base = join(folder.path, "base");
    const one = await startStandIn({ python: interpreter, base, ...options });
    running.push(one);
    return one;
  };

  describe("with an agent and a control plane", () => {
    let standIn: StandIn;
    let system: RealSystem;

    beforeEach(async () => {
      const base = join(folder.path, "base");
      mkdirSync(join(base, "models", "checkpoints"), { recursive: true });
      writeFileSync(join(base, "models", "checkpoints", "tiny.safetensors"), tinyModel());
      standIn = await start();
      system = await startRealSystem(standIn.url);
    });
    afterEach(async () => {
      await system.close();
    });

    const ended = async (job: JobView): Promise<JobView> => system.ended(job, 60_000);
    const pictures = async (job: JobView): Promise<readonly Buffer[]> => {
      const outputs = await system.client.outputs(job.id);
      return await Promise.all(outputs.map((output) => system.client.download(output)));
    };

    const paint = async (seed: number): Promise<readonly Buffer[]> => {
      const job = await system.client.submit(paintingGraph(seed, "tiny.safetensors"));
      expect(await ended(job)).toMatchObject({ status: "completed", outputCount: 2 });
      return await pictures(job);
    };

    it("completes a job with a model: one seed gives one picture, another seed another", async () => {
      const [first, again, other] = [await paint(1), await paint(1), await paint(2)];
      expect(first[0]?.subarray(1, 4).toString()).toBe("PNG");
      expect([first[0]?.readUInt32BE(16), first[0]?.readUInt32BE(20)]).toEqual([64, 64]);
      expect(again.map(pixelsOf)).toEqual(first.map(pixelsOf));
      expect(new Set([...first, ...other].map(pixelsOf)).size).toBe(4);
    });

    it("runs many jobs, one of them interrupted, and loses none", async () => {
      const long = await system.client.submit(sleepingGraph(1, 60));
      const jobs = await Promise.all(
        Array.from({ length: 8 }, (_, index) => system.client.submit(quickGraph(index))),
      );
      await until("the long one runs", async () => {
        return (await system.client.job(long.id)).status === "processing";
      });
      await system.client.call("POST", `/api/v1/jobs/${long.id}/cancel`);
      expect((await ended(long)).status).toBe("cancelled");
      for (const job of jobs) expect((await ended(job)).status).toBe("completed");
    });

    it("killed and started anew on its port, it gets the job that was in it", async () => {
      const job = await system.client.submit(sleepingGraph(1, 2));
      await until("it runs", async () => {
        return (await system.client.job(job.id)).status === "processing";
      });
      expect(await standIn.kill()).toBe("SIGKILL");
      await start({ port: standIn.port });
      expect((await ended(job)).status).toBe("completed");
    });
  });

  it("refuses a graph with a model that it has not, and lists those that it has (F5)", async () => {
    const one = await start();
    const file = join(one.base, "models", "checkpoints", "tiny.safetensors");
    writeFileSync(file, tinyModel());
    const absent = post(one, paintingGraph(1, "absent.safetensors"), "a");
    await expect(absent).rejects.toThrow(/value_not_in_list.*'tiny.safetensors'/);
    await post(one, paintingGraph(1, "tiny.safetensors"), "b");
  });

  describe("starting", () => {
    it("does not start without what its requirements name", async () => {
      if (python === undefined) return;
      await expect(start({ python: python.path })).rejects.toThrow(/standin_paths/);
    });

    it("refuses a flag that ComfyUI has not", async () => {
      const one = await start({ args: ["--no-such-flag"], waits: false });
      expect(await one.exited).toBe(2);
      expect(one.log()).toContain("unrecognized arguments: --no-such-flag");
    });

    it("dies where a folder of its base directory is missing (F24)", async () => {
      const one = await start({
        args: ["--base-directory", join(folder.path, "empty")],
        waits: false,
      });
      expect(await one.exited).toBe(1);
      expect(one.log()).toContain("FileNotFoundError");
    });

    it("dies on a port that is taken", async () => {
      const first = await start();
      const second = await start({
        base: join(folder.path, "second"),
        port: first.port,
        waits: false,
      });
      expect(await second.exited).toBe(1);
      expect((await fetch(`${first.url}/system_stats`)).status).toBe(200);
    });

    it("wants a card without --cpu, and takes what CUDA_VISIBLE_DEVICES names", async () => {
      const base = (await start()).base;
      const quick = (env: Record<string, string>) =>
        spawnSync(interpreter, ["main.py", "--quick-test-for-ci", "--base-directory", base], {
          cwd: join(import.meta.dirname, "stand-in-comfyui"),
          env: { PATH: "/nonexistent", PYTHONDONTWRITEBYTECODE: "1", ...env },
          encoding: "utf8",
        });
      expect(quick({}).stderr).toContain("Found no NVIDIA driver");
      expect(quick({}).status).toBe(1);
      expect(quick({ CUDA_VISIBLE_DEVICES: "GPU-1" }).status).toBe(0);
      expect(quick({ CUDA_VISIBLE_DEVICES: "" }).status).toBe(1);
    });

    it("tells of packs that fail to import in ComfyUI's words, and exits with 0 (F24)", async () => {
      const packs = join(folder.path, "base", "custom_nodes");
      writePack(join(packs, "good"), goodPack());
      writePack(join(packs, "bad"), brokenPack("no luck"));
      const quick = await start({ args: ["--quick-test-for-ci"], waits: false });
      expect(await quick.exited).toBe(0);
      expect(quick.log()).toContain(
        `Cannot import ${join(packs, "bad")} module for custom nodes: no luck`,
      );
      expect(quick.log()).toMatch(/ 0\.\d seconds \(IMPORT FAILED\): \S+\/custom_nodes\/bad\n/);
      expect(quick.log()).toMatch(/ 0\.\d seconds: \S+\/custom_nodes\/good\n/);
      const served = await start();
      const answer = await fetch(`${served.url}/object_info/StandInInvert`);
      expect(await answer.json()).toMatchObject({
        StandInInvert: { python_module: "custom_nodes.good" },
      });
    });

    it("loads the packs of the ground, or fails to, each for its own reason", async () => {
      const packs = join(folder.path, "base", "custom_nodes");
      const all = {
        tensor1: tensorPack("StandInOne", "1.0.0"),
        tensor2: tensorPack("StandInTwo", "2.0.0"),
        forgetful: forgetfulPack(),
        slow: slowPack(0.5),
        scripted: scriptedPack(),
        failing: failingScriptPack(),
      };
      for (const [name, files] of Object.entries(all)) writePack(join(packs, name), files);
      const quick = await start({ args: ["--quick-test-for-ci"], waits: false });
      expect(await quick.exited).toBe(0);
      const failed = [...quick.log().matchAll(/IMPORT FAILED\): \S+\/(\w+)\n/g)].map(
        (one) => one[1],
      );
      expect(failed.toSorted()).toEqual(["forgetful", "tensor2"]);
      expect(quick.log()).toContain("No module named 'standin_nowhere'");
      expect(quick.log()).toMatch(/0\.[5-9] seconds: \S+\/slow\n/);
      const script = (name: string) =>
        spawnSync(interpreter, ["install.py"], { cwd: join(packs, name), encoding: "utf8" });
      expect(script("scripted").status).toBe(0);
      const written = readFileSync(join(packs, "scripted", "installed.txt"), "utf8");
      expect(written).toBe(`${join(packs, "scripted")}\n${interpreter}\n`);
      expect(script("failing")).toMatchObject({
        status: 3,
        stderr: "the script was made to fail\n",
      });
    });

    it("finds models by a file of further paths, in YAML as people write it", async () => {
      const shared = join(folder.path, "shared");
      mkdirSync(join(shared, "ckpt", "deep"), { recursive: true });
      mkdirSync(join(shared, "unet"));
      writeFileSync(join(shared, "ckpt", "deep", "a.safetensors"), tinyModel());
      writeFileSync(join(shared, "ckpt", "notes.txt"), "no model");
      writeFileSync(join(shared, "unet", "b.gguf.safetensors"), tinyModel());
      const file = join(folder.path, "paths.yaml");
      const lines = [
        "# further models",
        "shared:",
        `  base_path: "${shared}" # quoted`,
        "  is_default: true",
        "  checkpoints: |",
        "    ckpt",
        "    more",
        "  unet: unet",
      ];
      writeFileSync(file, `${lines.join("\n")}\n`);
      const one = await start({ args: ["--extra-model-paths-config", file] });
      const models = async (name: string): Promise<unknown> =>
        (await fetch(`${one.url}/models/${name}`)).json();
      expect(await models("checkpoints")).toEqual(["deep/a.safetensors"]);
      expect(await models("diffusion_models")).toEqual(["b.gguf.safetensors"]);
    });

    it("comes up late, or not at all, when told so", async () => {
      const late = await start({ env: { STANDIN_START_DELAY: "1" }, waits: false });
      await new Promise((resolve) => setTimeout(resolve, 500));
      await expect(fetch(`${late.url}/system_stats`)).rejects.toThrow();
      await until("it answers", async () => (await fetch(`${late.url}/system_stats`)).ok);
      const never = await start({
        base: join(folder.path, "never"),
        faults: { exit_at_start: 7 },
        waits: false,
      });
      expect(await never.exited).toBe(7);
    });
  });

  describe("faults", () => {
    it("zombie: everything answers, nothing runs any more (F26)", async () => {
      const one = await start();
      await post(one, quickGraph(1), "before");
      await until("it ended", () => hasEnded(one, "before"));
      one.setFaults({ zombie: true });
      await until("it is seen", () => one.log().includes('"zombie": true'));
      await post(one, quickGraph(2), "dead");
      await post(one, quickGraph(3), "waiting");
      await until("the worker ended", async () => !(await one.stats()).is_worker_alive);
      expect((await fetch(`${one.url}/system_stats`)).status).toBe(200);
      expect(await pending(one)).toBe(1);
      one.setFaults({});
      await new Promise((resolve) => setTimeout(resolve, 500));
      expect(await hasEnded(one, "dead")).toBe(false);
    });

    it("hang_http: requests are taken and not answered, until that ends", async () => {
      const one = await start({ faults: {} });
      one.setFaults({ hang_http: true });
      await until("it is seen", () => one.log().includes('"hang_http": true'));
      const limited = { signal: AbortSignal.timeout(1_000) };
      await expect(fetch(`${one.url}/system_stats`, limited)).rejects.toThrow(/timeout/i);
      one.setFaults({});
      expect((await fetch(`${one.url}/system_stats`)).status).toBe(200);
    });

    it("leak_mb: every prompt takes memory that is really taken", async () => {
      const one = await start({ faults: { leak_mb: 20 } });
      const before = (await one.stats()).rss_bytes;
      for (const id of ["a", "b", "c"]) {
        await post(one, quickGraph(1), id);
        await until("it ended", () => hasEnded(one, id));
      }
      const { leaked_bytes: leaked, rss_bytes: rss } = await one.stats();
      expect(leaked).toBe(60 * 1024 ** 2);
      expect(rss - before).toBeGreaterThan(55 * 1024 ** 2);
    });

    it("crash_on_job, exit_now: the process is gone, by exit code or signal", async () => {
      const byCode = await start({ faults: { crash_on_job: 3 } });
      // The answer may be lost with the process.
      await post(byCode, quickGraph(1), "a").catch(() => undefined);
      expect(await byCode.exited).toBe(3);
      const bySignal = await start({ faults: { crash_on_job: -9 } });
      await post(bySignal, quickGraph(1), "a").catch(() => undefined);
      expect(await bySignal.exited).toBe("SIGKILL");
      const byOrder = await start({ faults: {} });
      byOrder.setFaults({ exit_now: 5 });
      expect(await byOrder.exited).toBe(5);
    });

    it("job_seconds, step_seconds: prompts take their time and can be interrupted", async () => {
      const one = await start({ faults: { job_seconds: 60 } });
      await post(one, quickGraph(1), "long");
      await until("it runs", async () => (await pending(one)) === 0);
      await new Promise((resolve) => setTimeout(resolve, 500));
      expect(await hasEnded(one, "long")).toBe(false);
      const body = JSON.stringify({ prompt_id: "long" });
      await fetch(`${one.url}/interrupt`, { method: "POST", body });
      await until("it was interrupted", () => hasEnded(one, "long"), 5_000);
    });

    it("ends at SIGINT with 0, unless it was told to ignore that; its temp folder goes with it", async () => {
      const polite = await start();
      expect(await polite.kill("SIGINT")).toBe(0);
      expect(existsSync(join(polite.base, "temp"))).toBe(false);
      const stubborn = await start({ faults: { ignore_sigint: true } });
      process.kill(stubborn.pid, "SIGINT");
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      expect((await fetch(`${stubborn.url}/system_stats`)).status).toBe(200);
      expect(await stubborn.kill()).toBe("SIGKILL");
    });

    it("tells what it was started with, for tests of what an instance inherits", async () => {
      const one = await start({ env: { OMP_NUM_THREADS: "3", CUDA_VISIBLE_DEVICES: "GPU-abc" } });
      const about = await one.environment();
      expect(about.pid).toBe(one.pid);
      expect(about.env).toMatchObject({ OMP_NUM_THREADS: "3", CUDA_VISIBLE_DEVICES: "GPU-abc" });
      expect(about.executable.startsWith(environments.path)).toBe(true);
      expect(about.argv.slice(0, 2)).toEqual(["main.py", "--cpu"]);
    });
  });
});
