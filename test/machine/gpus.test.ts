/** A machine with cards, as `nvidia-smi` tells of them: found, lost, silent, in slices, not there. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { HealthAnswer } from "@holdfast/machine";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { quickGraph } from "../support/api.ts";
import { until } from "../support/processes.ts";
import { makeNvidiaSmi, smiCard, smiCardsOf, type FakeNvidiaSmi } from "./ground/nvidia-smi.ts";
import { standInEnvironment } from "./ground/stand-in.ts";
import {
  findPrograms,
  makeWholeMachine,
  untilCompleted,
  type Client,
  type Programs,
  type WholeMachine,
} from "./whole-machine.ts";

const programs = await findPrograms("gpus.test.ts");

/** What real drivers printed. */
const RECORDED = new URL("../../packages/gpu/testing/nvidia-smi/", import.meta.url);
const recorded = (name: string): string =>
  readFileSync(fileURLToPath(new URL(name, RECORDED)), "utf8");
const MEMORY_BYTES = 24_564 * 1024 ** 2;
const CARDS = [smiCard(0), smiCard(1)];
/** The driver is asked each minute, and its answer has its limit. */
const LOOK_LIMIT_MS = 120_000;
const SLICES = [
  "MIG-00000000-0000-0000-0000-000000000000",
  "MIG-00000001-0000-0000-0000-000000000001",
];

describe.skipIf(programs === undefined)("a machine with two cards", () => {
  let machine: WholeMachine;
  let client: Client;
  let smi: FakeNvidiaSmi;

  const wanted = (gpus: unknown) => ({
    instances: {
      gpus,
      cpu: "auto",
      basePort: machine.basePort,
      startTimeoutSec: 60,
      stopTimeoutSec: 5,
    },
  });
  const startAgent = () =>
    machine.startAgent([], { HOLDFAST_NVIDIA_SMI: join(smi.folder, "nvidia-smi") });
  const visibleTo = async (port: number): Promise<string | undefined> =>
    (await standInEnvironment(`http://127.0.0.1:${port}`)).env["CUDA_VISIBLE_DEVICES"];
  const render = async (seed: number): Promise<void> =>
    await untilCompleted(client, [await client.submit(quickGraph(seed))]);
  const untilHealth = (what: string, fits: (health: HealthAnswer) => boolean) =>
    until(
      what,
      async () => {
        const health = await machine.health();
        if (fits(health)) return health;
        throw new Error(JSON.stringify(health));
      },
      LOOK_LIMIT_MS,
    );

  beforeAll(async () => {
    machine = await makeWholeMachine(programs as Programs);
    smi = makeNvidiaSmi(join(machine.folder.path, "smi"), { cards: CARDS });
    machine.writeManifest(wanted("all"));
    client = await machine.client();
    startAgent();
    await until("the health server answers", () => machine.health());
    await machine.untilState("comfyui", "healthy");
  });
  afterAll(() => machine?.close());

  it("has one instance a card, each on the port of its index and bound to it by UUID", async () => {
    for (const [index, card] of CARDS.entries()) {
      const { details } = await machine.service(`comfyui-gpu${index}`);
      expect(details).toMatchObject({
        port: machine.basePort + index,
        gpu: { uuid: card["uuid"] },
      });
      expect(await visibleTo(machine.basePort + index)).toBe(card["uuid"]);
    }
    const services = await machine.services();
    expect(services.filter(({ kind }) => kind === "instance")).toHaveLength(2);
    expect((await machine.health()).gpus).toMatchObject(
      CARDS.map(({ uuid }, index) => ({
        index,
        uuid,
        health: "ok",
        memoryTotalBytes: MEMORY_BYTES,
      })),
    );
    await render(1);
  });

  it("ends nothing when the driver hangs, also for an agent that never saw the cards", async () => {
    const before = [await machine.pid("comfyui-gpu0"), await machine.pid("comfyui-gpu1")];
    await machine.agents()[0]?.kill();
    smi.say({ answers: [{ when: "--query-gpu=", delayMs: 300_000 }], cards: CARDS });
    startAgent();
    const { manifest } = await untilHealth("it is told", ({ manifest: { problems } }) =>
      problems.some((line) => line.includes("did not answer in time")),
    );
    expect(manifest.problems.join()).toContain("what runs is left as it is");
    for (const [index, card] of CARDS.entries()) {
      expect(await visibleTo(machine.basePort + index)).toBe(card["uuid"]);
    }
    smi.say({ cards: CARDS });
    await machine.untilState("comfyui", "healthy");
    expect([await machine.pid("comfyui-gpu0"), await machine.pid("comfyui-gpu1")]).toEqual(before);
    expect((await machine.health()).manifest.problems).toEqual([]);
    await render(2);
  });

  it("goes on with one when the other is lost, and says what is wrong with it", async () => {
    const before = await machine.pid("comfyui-gpu0");
    const lost = recorded("err-gpu-is-lost.txt");
    smi.say({ cards: [smiCard(0)], complaint: lost });
    const health = await untilHealth(
      "the lost card is told of",
      ({ gpus }) => gpus[1]?.health !== "ok",
    );
    expect(health.gpus).toMatchObject([
      { index: 0, health: "ok", temperatureCelsius: 31 },
      {
        index: 1,
        uuid: smiCard(1)["uuid"],
        health: expect.stringContaining("has fallen off the bus"),
      },
    ]);
    const gpu0 = await machine.service("comfyui-gpu0");
    expect([gpu0.state, gpu0.runtime.pid]).toEqual(["healthy", before]);
    await render(3);
    // For the next agent it is as for this one: the card that is there keeps instance and port.
    await machine.agents().at(-1)?.stop("SIGTERM", 60_000);
    startAgent();
    await machine.untilState("comfyui-gpu0", "healthy");
    expect(await visibleTo(machine.basePort)).toBe(smiCard(0)["uuid"]);
    await expect(visibleTo(machine.basePort + 1)).rejects.toThrow();
    await render(4);
  });

  it("takes slices of a card by their UUIDs, and serves them beside a GPU that is not there", async () => {
    await machine.agents().at(-1)?.stop("SIGTERM", 60_000);
    smi.say({
      cards: smiCardsOf(recorded("h100-mig-590.idle.query-gpu.csv")),
      answers: [{ when: "-L", stdout: recorded("h100-mig-590.list-L.txt") }],
    });
    machine.writeManifest(wanted([...SLICES, 1]));
    startAgent();
    const names = ["comfyui-gpu0-mig0", "comfyui-gpu0-mig1"];
    for (const [at, name] of names.entries()) {
      const { details } = await machine.untilState(name, "healthy");
      expect(await visibleTo(details["port"] as number)).toBe(SLICES[at]);
    }
    const health = await machine.health();
    expect(health.manifest.problems.join()).toMatch(
      /there is no GPU 1 here: there is GPU 0 \(NVIDIA H100/,
    );
    // What a card in slices does not tell is unknown, and not zero.
    expect(health.gpus).toMatchObject([{ index: 0, health: "ok", utilization: null }]);
    const services = await machine.services();
    const instances = services.filter(({ kind }) => kind === "instance");
    expect(instances.map(({ name }) => name)).toEqual(names);
    await render(5);
  });
});
