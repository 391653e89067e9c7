/** What a machine is filled with: models that are fetched, checked and refused, and a ComfyUI that was there. */
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { until } from "../support/processes.ts";
import { STAND_IN_FOLDER } from "./ground/local-internet.ts";
import { makeEnvironment } from "./ground/python.ts";
import { standInEnvironment } from "./ground/stand-in.ts";
import { tinyModel } from "./ground/stand-in-files.ts";
import { standInPathsWheel } from "./ground/wheel.ts";
import {
  findPrograms,
  makeWholeMachine,
  untilCompleted,
  type Client,
  type Programs,
  type WholeMachine,
} from "./whole-machine.ts";

const programs = await findPrograms("content.test.ts");

/** Both instances, of the release that is wanted. */
const ADOPTED = "healthy true,healthy true";
const TOKEN = "gate-token-4711";
const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** A picture of a checkpoint, in one step. */
function checkpointGraph(checkpoint: string, seed: number) {
  return {
    "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: checkpoint } },
    "2": { class_type: "CLIPTextEncode", inputs: { clip: ["1", 1], text: "a house" } },
    "3": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
    "4": {
      class_type: "KSampler",
      inputs: {
        model: ["1", 0],
        positive: ["2", 0],
        negative: ["2", 0],
        latent_image: ["3", 0],
        seed,
        steps: 1,
        cfg: 1,
        sampler_name: "euler",
        scheduler: "normal",
        denoise: 1,
      },
    },
    "5": { class_type: "VAEDecode", inputs: { samples: ["4", 0], vae: ["1", 2] } },
    "6": { class_type: "SaveImage", inputs: { images: ["5", 0], filename_prefix: "picture" } },
  };
}

describe.skipIf(programs === undefined)("a machine with models", () => {
  let machine: WholeMachine;
  let client: Client;
  let tokenFile = "";
  let library = "";
  const bytes = {
    gated: tinyModel("gated"),
    later: tinyModel("later"),
    another: tinyModel("another"),
    shared: tinyModel("shared"),
  };

  const model = (name: keyof typeof bytes, more: Readonly<Record<string, unknown>> = {}) => {
    const { url, sha256: hash } = machine.internet.files.put(`/${name}`, bytes[name], {
      token: TOKEN,
    });
    return { folder: "checkpoints", name: `${name}.safetensors`, url, sha256: hash, ...more };
  };
  const content = (models: readonly object[]) => ({
    models,
    modelFolders: {
      extraPaths: [{ name: "library", basePath: library, folders: { checkpoints: "sd" } }],
    },
    downloads: {
      keepFreeBytes: 0,
      auth: [{ host: new URL(machine.internet.files.url).host, tokenFile }],
    },
  });
  const standing = () => [model("gated"), model("later", { fetch: "on_demand" })];
  const placeOf = (name: string): string =>
    join(machine.folder.machine, "models", "checkpoints", `${name}.safetensors`);
  const pids = () => Promise.all(["comfyui-cpu0", "comfyui-cpu1"].map((name) => machine.pid(name)));
  const render = async (checkpoint: string, seed: number): Promise<void> =>
    await untilCompleted(client, [await client.submit(checkpointGraph(checkpoint, seed))]);

  beforeAll(async () => {
    machine = await makeWholeMachine(programs as Programs);
    tokenFile = machine.folder.writeSecret("gate.token", "an-old-token\n");
    library = join(machine.folder.path, "library");
    mkdirSync(join(library, "sd"), { recursive: true });
    writeFileSync(join(library, "sd", "shared.safetensors"), bytes.shared);
    machine.writeManifest(content(standing()));
    client = await machine.client();
  });
  afterAll(() => machine?.close());

  it("says which file holds the token that a host refuses, and shows no token", async () => {
    const { code, output } = await machine.machine(["install"]);
    expect(code).not.toBe(0);
    expect(output).toMatch(/FAIL Model checkpoints\/gated\.safetensors: .* answered 401/);
    expect(output).toContain(tokenFile);
    expect(output).not.toContain("an-old-token");
    expect(existsSync(placeOf("gated"))).toBe(false);
  });

  it("renders with what it fetched by the new token, what is in a library, and what a job needs", async () => {
    machine.folder.writeSecret("gate.token", `${TOKEN}\n`);
    machine.startAgent();
    await until("the health server answers", () => machine.health());
    await machine.untilState("comfyui", "healthy");
    expect(sha256(readFileSync(placeOf("gated")))).toBe(sha256(bytes.gated));
    expect(existsSync(placeOf("later"))).toBe(false);
    const answer = await fetch(`http://127.0.0.1:${machine.basePort}/models/checkpoints`);
    const names = (await answer.json()) as readonly string[];
    expect(names.toSorted()).toEqual(["gated.safetensors", "shared.safetensors"]);
    await render("gated.safetensors", 1);
    await render("shared.safetensors", 2);
    // Not there yet: the job waits until the machine has fetched it.
    await render("later.safetensors", 3);
    expect(sha256(readFileSync(placeOf("later")))).toBe(sha256(bytes.later));
    for (const agent of machine.agents()) expect(agent.output()).not.toContain(TOKEN);
  });

  it("refuses a model with another hash, says both, and does what does not need it", async () => {
    const before = await pids();
    const wrong = {
      ...model("another"),
      name: "wrong.safetensors",
      sha256: sha256(Buffer.from("what the manifest means")),
    };
    machine.writeManifest(content([...standing(), wrong, model("another")]));
    const { code, output } = await machine.machine(["install"]);
    expect(code).toBe(1);
    expect(output).toContain("FAIL Model checkpoints/wrong.safetensors: ");
    expect(output).toContain(wrong.sha256);
    expect(output).toContain(sha256(bytes.another));
    expect(existsSync(placeOf("wrong"))).toBe(false);
    expect(sha256(readFileSync(placeOf("another")))).toBe(sha256(bytes.another));
    expect(await pids()).toEqual(before);
    expect((await machine.get("/ready")).status).toBe(200);
    await render("gated.safetensors", 4);
    expect(readFileSync(join(library, "sd", "shared.safetensors"))).toEqual(bytes.shared);
    expect(readdirSync(join(library, "sd"))).toEqual(["shared.safetensors"]);
  });

  it("serves by a ComfyUI that was there, and nothing is written into its folder", async () => {
    await machine.agents().at(-1)?.stop("SIGTERM", 60_000);
    const adopted = join(machine.folder.path, "ComfyUI");
    const isSource = (from: string): boolean => basename(from) !== "__pycache__";
    cpSync(STAND_IN_FOLDER, adopted, { recursive: true, filter: isSource });
    const { python } = programs as Programs;
    makeEnvironment(python, join(adopted, "venv"), [standInPathsWheel()]);
    const before = treeOf(adopted);
    // It has its own Python, and nothing is installed for it.
    const own = { python: undefined, torch: undefined };
    machine.writeManifest({ ...own, comfyui: { adopt: { folder: adopted } } });
    expect(await machine.machine(["install"])).toMatchObject({ code: 0 });
    machine.startAgent();
    await until(
      "every instance is of the folder",
      async () => {
        const { release, manifest } = await machine.health();
        expect(manifest.problems).toEqual([]);
        const instances = (await machine.services()).filter(({ kind }) => kind === "instance");
        const told = instances.map(
          ({ state, details }) => `${state} ${String(details["isCurrent"])}`,
        );
        if (release?.startsWith("adopted-") === true && told.join() === ADOPTED) return true;
        throw new Error(`${release} ${told.join()}`);
      },
      120_000,
    );
    const environment = await standInEnvironment(`http://127.0.0.1:${machine.basePort}`);
    expect(environment.cwd).toBe(adopted);
    await render("gated.safetensors", 5);
    await machine.agents().at(-1)?.stop("SIGTERM", 60_000);
    expect(treeOf(adopted)).toBe(before);
  });
});

/** Every path below a folder with its mode, time of change and hash, a line each. */
function treeOf(folder: string): string {
  const lines = readdirSync(folder, { recursive: true, withFileTypes: true }).map((entry) => {
    const path = join(entry.parentPath, entry.name);
    const info = statSync(path);
    const text = info.isFile() ? sha256(readFileSync(path)) : "";
    return `${path} ${info.mode} ${info.mtimeMs} ${text}`;
  });
  return lines.toSorted().join("\n");
}
