/**
 * A machine as an image bakes it: installed where there is no card and no manifest is edited any more,
 * started elsewhere with cards, without a network, with models that are mounted and only read.
 */
import { chmodSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { signalProcess } from "@holdfast/runtime/host";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { quickGraph } from "../support/api.ts";
import { until } from "../support/processes.ts";
import { tensorPack } from "./ground/node-packs.ts";
import { makeNvidiaSmi, smiCard, type FakeNvidiaSmi } from "./ground/nvidia-smi.ts";
import { standInEnvironment } from "./ground/stand-in.ts";
import {
  findPrograms,
  makeWholeMachine,
  untilCompleted,
  type Client,
  type Programs,
  type WholeMachine,
} from "./whole-machine.ts";

const programs = await findPrograms("baked.test.ts");
// Other cards than those of `gpus.test.ts`, which may run at the same time: a card is locked on the whole host.
const CARDS = [0, 1].map((index) =>
  smiCard(index, { uuid: `GPU-0000bace-0000-4000-8000-00000000000${index}` }),
);
const PACK_CLASS = "StandInBaked";

describe.skipIf(programs === undefined)("a machine that was baked into an image", () => {
  let machine: WholeMachine;
  let client: Client;
  let smi: FakeNvidiaSmi;
  let models = "";
  let baked: string | undefined;

  const startAgent = () =>
    machine.startAgent([], { HOLDFAST_NVIDIA_SMI: join(smi.folder, "nvidia-smi") });
  const untilServing = async (): Promise<void> => {
    await until("the health server answers", () => machine.health());
    for (const name of ["comfyui-gpu0", "comfyui-gpu1", "installer"]) {
      await machine.untilState(name, "healthy");
    }
  };
  /** Names and times of all that is in the mounted folder. */
  const modelFiles = (): readonly string[] =>
    readdirSync(models, { recursive: true, encoding: "utf8" })
      .toSorted()
      .map((name) => `${name} ${statSync(join(models, name)).mtimeMs}`);

  beforeAll(async () => {
    machine = await makeWholeMachine(programs as Programs);
    smi = makeNvidiaSmi(join(machine.folder.path, "smi"), { cards: CARDS });
    models = join(machine.folder.path, "models");
    mkdirSync(models);
    const pack = machine.internet.git.makeRepository("pack", {
      files: tensorPack(PACK_CLASS, "1.0.0"),
      tag: "v1",
    });
    machine.writeManifest({
      nodes: [
        {
          name: "pack",
          repo: pack.url,
          ref: "v1",
          requirements: ["requirements.txt"],
          classes: [PACK_CLASS],
        },
      ],
      modelFolders: { root: models },
      instances: {
        gpus: "all",
        basePort: machine.basePort,
        startTimeoutSec: 60,
        stopTimeoutSec: 5,
      },
    });
  });
  afterAll(async () => {
    if (models !== "") chmodSync(models, 0o755);
    await machine?.close();
  });

  it("installs where there is no card", async () => {
    const { code, output } = await machine.machine(["install"]);
    expect(code, output).toBe(0);
    baked = machine.release();
    expect(baked).toBeDefined();
  });

  it("serves with cards, without a network, caches and write access to the models", async () => {
    await machine.internet.close();
    // What an image leaves out.
    rmSync(join(machine.folder.machine, "cache"), { recursive: true });
    const checkpoints = join(models, "checkpoints");
    mkdirSync(checkpoints);
    writeFileSync(join(checkpoints, "mounted.safetensors"), "x");
    chmodSync(checkpoints, 0o555);
    chmodSync(models, 0o555);
    chmodSync(machine.manifestPath, 0o444);
    const before = modelFiles();
    client = await machine.client();
    startAgent();
    await untilServing();
    expect(machine.release()).toBe(baked);
    for (const [index, card] of CARDS.entries()) {
      const { env } = await standInEnvironment(`http://127.0.0.1:${machine.basePort + index}`);
      expect(env["CUDA_VISIBLE_DEVICES"]).toBe(card["uuid"]);
    }
    const at = `http://127.0.0.1:${machine.basePort}`;
    expect(await (await fetch(`${at}/models/checkpoints`)).json()).toEqual(["mounted.safetensors"]);
    expect(await (await fetch(`${at}/object_info/${PACK_CLASS}`)).json()).toHaveProperty(
      PACK_CLASS,
    );
    await untilCompleted(client, [await client.submit(quickGraph(1))]);
    expect(modelFiles()).toEqual(before);
  });

  it("serves again after everything in the container was killed at once", async () => {
    for (const agent of machine.agents()) await agent.kill();
    for (const { pid } of machine.processes()) signalProcess(pid, "SIGKILL");
    await until("nothing runs", () => machine.processes().length === 0);
    const agent = startAgent();
    await untilServing();
    await untilCompleted(client, [await client.submit(quickGraph(2))]);
    expect(await agent.stop("SIGTERM", 60_000)).toBe(0);
    expect(machine.processes()).toEqual([]);
  });
});
