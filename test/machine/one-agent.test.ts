/** Two agents on one machine folder: one runs what is in it, the other waits, and takes over. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { HealthAnswer, ServicesAnswer } from "@holdfast/machine";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freePort, until, type HoldfastProcess } from "../support/processes.ts";
import {
  findPrograms,
  makeWholeMachine,
  type Programs,
  type Service,
  type WholeMachine,
} from "./whole-machine.ts";

const programs = await findPrograms("one-agent.test.ts");
const INSTANCES = ["comfyui-cpu0", "comfyui-cpu1"];
const LIMIT_MS = 120_000;

describe.skipIf(programs === undefined)("two agents on one machine folder", () => {
  let machine: WholeMachine;
  let pids: readonly number[];

  /** A further agent on the same machine folder, and how it is. */
  const startAnother = async (
    name: string,
    args: readonly string[] = [],
  ): Promise<{
    readonly agent: HoldfastProcess;
    readonly services: () => Promise<readonly Service[]>;
    readonly health: () => Promise<HealthAnswer>;
  }> => {
    const port = await freePort();
    const agent = machine.startAgent(["--name", name, ...args], {
      HOLDFAST_HEALTH_PORT: String(port),
    });
    const ask = async <T>(path: string): Promise<T> =>
      (await (await fetch(`http://127.0.0.1:${port}${path}`)).json()) as T;
    await until(`the health server of ${name} answers`, () => ask("/health"));
    return {
      agent,
      services: async () => (await ask<ServicesAnswer>("/services")).services,
      health: () => ask<HealthAnswer>("/health"),
    };
  };
  const untilServing = (services: () => Promise<readonly Service[]>): Promise<readonly number[]> =>
    until(
      "it serves",
      async () => {
        const own = (await services()).filter(({ kind }) => kind === "instance");
        const isWell = own.length === 2 && own.every(({ state }) => state === "healthy");
        if (isWell) return own.map(({ runtime }) => runtime.pid ?? -1);
        throw new Error(own.map(({ name, state, reason }) => `${name} ${state} ${reason}`).join());
      },
      LIMIT_MS,
    );

  beforeAll(async () => {
    machine = await makeWholeMachine(programs as Programs);
    await machine.client();
    machine.startAgent();
    await until("the health server answers", () => machine.health());
    await machine.untilState("comfyui", "healthy");
    pids = await Promise.all(INSTANCES.map((name) => machine.pid(name)));
  });
  afterAll(() => machine?.close());

  it("lets the second wait with its reason, and its stop end nothing", async () => {
    const [first] = machine.agents();
    const second = await startAnother("second");
    const told = await second.services();
    expect(told.map(({ name, state }) => `${name} ${state}`)).toEqual([
      "installer stopped",
      "comfyui stopped",
    ]);
    for (const { reason } of told) {
      expect(reason).toContain(`process ${first?.pid} runs what is in ${machine.folder.machine}`);
    }
    expect((await second.health()).ready).toBe(false);
    const status = await machine.machine(["status"]);
    expect(status.output).toContain(String(machine.healthPort));
    expect(await second.agent.stop("SIGTERM", 60_000)).toBe(0);
    expect(await Promise.all(INSTANCES.map((name) => machine.pid(name)))).toEqual(pids);
    expect((await machine.get("/ready")).status).toBe(200);
  });

  it("gives the folder to the one that waits when the first is killed, with its instances", async () => {
    const [first] = machine.agents();
    const third = await startAnother("third", ["--keep-instances"]);
    expect((await third.services()).map(({ state }) => state)).toEqual(["stopped", "stopped"]);
    await first?.kill();
    expect(await untilServing(third.services)).toEqual(pids);
    // It leaves them; the next one has the folder at once.
    const fourth = await startAnother("fourth");
    expect(await third.agent.stop("SIGTERM", 60_000)).toBe(0);
    expect(await untilServing(fourth.services)).toEqual(pids);
    expect(await fourth.agent.stop("SIGTERM", 60_000)).toBe(0);
    expect(machine.processes()).toEqual([]);
    expect(join(machine.folder.machine, "agent.lock")).not.toSatisfy(existsSync);
  });
});
