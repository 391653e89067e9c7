import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { gpuPlan, plan, release } from "../../testing/instance-facts.ts";
import { machinePlaces } from "../machine-places.ts";
import { nodeInstanceFiles } from "./instance-files.ts";
import {
  digestChange,
  foldersOf,
  instancePlaces,
  optionsIn,
  toProcessSpec,
  type ReleaseTraits,
} from "./process-spec.ts";
import { readReleaseTraits } from "./release-traits.ts";

const places = machinePlaces("/srv/machine");
const account = { home: "/home/agent" };
const bare: ReleaseTraits = { options: null, virtualEnv: null };
const specOf = (
  of = plan(),
  from = release(),
  traits: ReleaseTraits = bare,
): ReturnType<typeof toProcessSpec> => toProcessSpec(of, from, places, traits, account);
const valueOf = (args: readonly string[], option: string): string | undefined =>
  args[args.lastIndexOf(option) + 1];

describe("arguments", () => {
  test("folders are the instance's own, inputs shared, nodes and models the release's", () => {
    const { args, cwd, command } = specOf(
      plan(),
      release("r1", { extraModelPaths: "/srv/machine/releases/r1/extra_model_paths.yaml" }),
    );
    expect([command, cwd, ...args]).toEqual([
      "/srv/machine/releases/r1/venv/bin/python",
      "/srv/machine/releases/r1/comfyui",
      "-u",
      "main.py",
      "--listen",
      "127.0.0.1",
      "--port",
      "8188",
      "--output-directory",
      "/srv/machine/instances/comfyui-cpu0/output",
      "--temp-directory",
      "/srv/machine/instances/comfyui-cpu0",
      "--input-directory",
      "/srv/machine/shared/input",
      "--user-directory",
      "/srv/machine/instances/comfyui-cpu0/user",
      "--extra-model-paths-config",
      "/srv/machine/releases/r1/extra_model_paths.yaml",
      "--disable-auto-launch",
      "--cpu",
    ]);
  });

  test("flags of the plan come first, so that none of them moves the instance", () => {
    const { args } = specOf(gpuPlan(0, { flags: ["--port", "1", "--lowvram"] }));
    expect(valueOf(args, "--port")).toBe("8188");
    expect(args).toContain("--lowvram");
    expect(args).not.toContain("--cpu");
    expect(specOf(plan({ flags: ["--cpu"] })).args.filter((arg) => arg === "--cpu")).toHaveLength(
      1,
    );
  });

  test("options that a ComfyUI does not know are left out, its database is the instance's own", () => {
    const old = specOf(plan(), release(), { ...bare, options: new Set(["--listen"]) });
    expect(old.args).not.toContain("--user-directory");
    expect(old.args).not.toContain("--disable-auto-launch");
    const options = new Set(["--user-directory", "--database-url"]);
    expect(valueOf(specOf(plan(), release(), { ...bare, options }).args, "--database-url")).toBe(
      "sqlite:////srv/machine/instances/comfyui-cpu0/user/comfyui.db",
    );
  });

  test("options are read from the words of comfy/cli_args.py", () => {
    const text = [
      'parser.add_argument("--listen", type=str, default="127.0.0.1")',
      "group.add_argument('--fp8_e4m3fn-unet', action='store_true')",
      'parser.add_argument(\n  "--front-end-version",\n type=str)',
      'print("--not-one")',
    ].join("\n");
    expect([...optionsIn(text)]).toEqual(["--listen", "--fp8_e4m3fn-unet", "--front-end-version"]);
  });
});

describe("environment", () => {
  test("is small, and all of it", () => {
    const { env } = specOf(gpuPlan(1, { env: { OMP_NUM_THREADS: "4" } }), release(), {
      ...bare,
      virtualEnv: "/srv/machine/releases/r1/venv",
    });
    expect(env).toEqual({
      PATH: expect.stringMatching(/^\/srv\/machine\/releases\/r1\/venv\/bin:\/usr\/local\/sbin:/),
      HOME: "/home/agent",
      LANG: "C.UTF-8",
      TMPDIR: "/srv/machine/instances/comfyui-gpu1/tmp",
      PYTHONUNBUFFERED: "1",
      VIRTUAL_ENV: "/srv/machine/releases/r1/venv",
      CUDA_DEVICE_ORDER: "PCI_BUS_ID",
      OMP_NUM_THREADS: "4",
      CUDA_VISIBLE_DEVICES: "GPU-00000001",
      HOLDFAST_INSTANCE: "comfyui-gpu1",
    });
  });

  test("Python writes nothing into a ComfyUI of somebody else's", () => {
    const adopted = release("adopted-1", { comfyuiFolder: "/opt/ComfyUI" });
    expect(specOf(plan(), adopted).env["PYTHONPYCACHEPREFIX"]).toBe("/srv/machine/cache/bytecode");
    expect(specOf(plan()).env["PYTHONPYCACHEPREFIX"]).toBeUndefined();
  });

  test("a setting cannot move an instance to another card, nor take its name", () => {
    const env = { CUDA_VISIBLE_DEVICES: "0", HOLDFAST_INSTANCE: "me", LANG: "de_DE.UTF-8" };
    expect(specOf(gpuPlan(1, { env })).env).toMatchObject({
      CUDA_VISIBLE_DEVICES: "GPU-00000001",
      HOLDFAST_INSTANCE: "comfyui-gpu1",
      LANG: "de_DE.UTF-8",
    });
    expect(specOf(plan()).env["CUDA_VISIBLE_DEVICES"]).toBe("");
  });

  test("below a long machine folder, temporary files are where sockets still fit", () => {
    const far = machinePlaces(`/srv/${"x".repeat(80)}`);
    expect(instancePlaces(far, "comfyui-gpu0").scratch).toBe("/tmp");
  });
});

describe("digest", () => {
  test("is the same for the same, and tells the release from the settings", () => {
    const one = specOf(plan({ env: { A: "1", B: "2" } }));
    expect(specOf(plan({ env: { B: "2", A: "1" } })).digest).toBe(one.digest);
    for (const other of [
      plan({ flags: ["--lowvram"] }),
      plan({ port: 9_000 }),
      plan({ env: { A: "2" } }),
      plan({ stopTimeoutMs: 1 }),
    ]) {
      expect(digestChange(one.digest, specOf(other).digest)).toBe("settings");
      expect(specOf(other).digest).not.toBe(one.digest);
    }
    // An adopted folder is the same folder after its environment was made anew.
    const again = release("r2", { ...release("r1"), id: "r2" });
    expect(digestChange(one.digest, specOf(plan(), again).digest)).toBe("release");
    expect(digestChange(null, one.digest)).toBe("release");
  });

  test("what only the supervisor uses does not change it", () => {
    expect(specOf(plan({ recycleAboveBytes: 1, drainMs: 1 })).digest).toBe(specOf().digest);
  });
});

describe("on the disk", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "hf-spec-"));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  test("traits are read from the release; what is not there is an answer", async () => {
    const from = release("r1", {
      comfyuiFolder: join(folder, "comfyui"),
      python: join(folder, "venv", "bin", "python"),
    });
    expect(await readReleaseTraits(from)).toEqual({ options: null, virtualEnv: null });
    await mkdir(join(folder, "comfyui", "comfy"), { recursive: true });
    await mkdir(join(folder, "venv"));
    await writeFile(join(folder, "comfyui", "comfy", "cli_args.py"), 'x.add_argument("--cpu")');
    await writeFile(join(folder, "venv", "pyvenv.cfg"), "");
    expect(await nodeInstanceFiles.traits(from)).toEqual({
      options: new Set(["--cpu"]),
      virtualEnv: join(folder, "venv"),
    });
  });

  test("a file that cannot be read throws, because guessing would restart every instance", async () => {
    const from = release("r1", { comfyuiFolder: folder });
    await mkdir(join(folder, "comfy", "cli_args.py"), { recursive: true });
    await expect(readReleaseTraits(from)).rejects.toThrow(/expected to read .*cli_args.py/);
  });

  test("the folders of a start are made", async () => {
    const own = instancePlaces(machinePlaces(folder), "comfyui-cpu0");
    await nodeInstanceFiles.prepare(own);
    await nodeInstanceFiles.prepare(own);
    for (const path of foldersOf(own)) await writeFile(join(path, ".there"), "");
    await rm("/tmp/.there", { force: true });
  });
});
