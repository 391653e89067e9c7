/** A bare machine becomes one that renders, tells how, and ends in order. */
import { join } from "node:path";
import type { ServicesAnswer } from "@holdfast/machine";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { quickGraph } from "../support/api.ts";
import { freePort, until } from "../support/processes.ts";
import {
  findPrograms,
  makeWholeMachine,
  untilCompleted,
  type Client,
  type Programs,
  type WholeMachine,
} from "./whole-machine.ts";

const programs = await findPrograms("machine.test.ts");

/** States of each service, each change once. */
type Seen = ReadonlyMap<string, readonly string[]>;

/** Polls `/services` until it is told to stop, as an operator's script would. */
function watchStates(machine: WholeMachine): { stop(): Promise<Seen> } {
  const seen = new Map<string, string[]>();
  let isOver = false;
  const watching = (async () => {
    while (!isOver) {
      for (const { name, state } of await machine.services().catch(() => [])) {
        const states = seen.get(name) ?? [];
        if (states.at(-1) !== state) seen.set(name, [...states, state]);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  return {
    async stop() {
      // What came last is seen too.
      await machine.untilState("comfyui", "healthy");
      await new Promise((resolve) => setTimeout(resolve, 100));
      isOver = true;
      await watching;
      return seen;
    },
  };
}

interface MachineDetail {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly release: { readonly id: string } | null;
  readonly healthPort: number | null;
  readonly services: readonly { readonly name: string; readonly state: string }[];
  readonly instances: readonly { readonly name: string; readonly canRestart: boolean }[];
  readonly runs: readonly {
    readonly kind: string;
    readonly ok: boolean;
    readonly logUrl: string | null;
    readonly steps: readonly { readonly id: string; readonly outcome: string }[];
  }[];
}

/** The only machine that the control plane knows. */
async function toldMachine(client: Client): Promise<MachineDetail> {
  const { machines } = await client.call<{ machines: { id: string }[] }>("GET", "/api/v1/machines");
  const [first] = machines;
  if (first === undefined) throw new Error("there is no machine yet");
  return await client.call<MachineDetail>("GET", `/api/v1/machines/${first.id}`);
}

describe.skipIf(programs === undefined)("a bare machine with a manifest", () => {
  let machine: WholeMachine;
  let client: Client;
  let seen: Seen;

  beforeAll(async () => {
    machine = await makeWholeMachine(programs as Programs);
    client = await machine.client();
    const watch = watchStates(machine);
    machine.startAgent();
    await until("the health server answers", () => machine.health());
    await machine.untilState("comfyui", "healthy");
    await until("it is ready", async () => (await machine.get("/ready")).status === 200);
    seen = await watch.stop();
  });
  afterAll(() => machine?.close());

  it("installs by itself and ends healthy, each state seen on its way", async () => {
    // `stopped` lasts for the moment between the installation and the first start.
    const lasting = (states: readonly string[] = []): readonly string[] =>
      states.filter((state) => state !== "stopped");
    expect(lasting(seen.get("comfyui"))).toEqual(["not_installed", "starting", "healthy"]);
    expect(seen.get("installer")).toEqual(["starting", "healthy"]);
    for (const name of ["comfyui-cpu0", "comfyui-cpu1"]) {
      expect(lasting(seen.get(name))).toEqual(["not_installed", "starting", "healthy"]);
    }
    const { transitions } = await machine.service("comfyui");
    const states = transitions.map(({ to }) => to);
    expect(lasting(states)).toEqual(lasting(seen.get("comfyui")));
    expect(transitions.map(({ from }) => from)).toEqual([null, ...states.slice(0, -1)]);
    for (const { reason } of transitions) expect(reason).not.toBe("");
  });

  it("is ready, and serves by the release that was installed", async () => {
    const health = await machine.health();
    expect(health).toMatchObject({ ready: true, state: "healthy", release: machine.release() });
  });

  it("renders on both instances", async () => {
    const seeds = Array.from({ length: 12 }, (_, seed) => seed);
    const jobs = await Promise.all(seeds.map((seed) => client.submit(quickGraph(seed))));
    await untilCompleted(client, jobs);
    const places = new Set<string>();
    for (const { id } of jobs) {
      const [output] = await client.outputs(id);
      if (output === undefined) throw new Error(`job ${id} has no output`);
      expect((await client.download(output)).length).toBeGreaterThan(0);
      for (const { instanceId } of await client.attempts(id)) places.add(String(instanceId));
    }
    expect(places.size).toBe(2);
  });

  it("has told the control plane how its start went, step by step, with the log", async () => {
    const told = await until("the run and the states have arrived", async () => {
      const found = await toldMachine(client);
      const states = found.services.map(({ name, state }) => `${name} ${state}`);
      if (found.runs.length > 0 && states.includes("comfyui healthy")) return found;
      throw new Error(JSON.stringify(found));
    });
    expect(told).toMatchObject({ name: "box", state: "online", healthPort: machine.healthPort });
    expect(told.release?.id).toBe(machine.release());
    expect(told.instances.map(({ name, canRestart }) => `${name} ${canRestart}`).sort()).toEqual([
      "comfyui-cpu0 true",
      "comfyui-cpu1 true",
    ]);
    const [run] = told.runs;
    expect(run).toMatchObject({ kind: "install", ok: true });
    const done = run?.steps.filter(({ outcome }) => outcome === "done").map(({ id }) => id);
    expect(done).toContain("release.validate");
    const answer = await fetch(`${machine.serverUrl()}${run?.logUrl ?? ""}`);
    expect(answer.status).toBe(200);
    expect(await answer.text()).toContain("release.validate");
  });

  it("is told by a second install that there is nothing to do", async () => {
    const { code, output } = await machine.machine(["install"]);
    expect(output).toContain(`nothing to do: release ${machine.release() ?? ""} serves`);
    expect(code).toBe(0);
    const status = await machine.machine(["status"]);
    expect(status.output).toContain("comfyui-cpu0: healthy");
  });

  it("keeps its ports from a second agent of another machine folder, which says whose they are", async () => {
    const before = [await machine.pid("comfyui-cpu0"), await machine.pid("comfyui-cpu1")];
    const healthPort = await freePort();
    const agent = machine.startAgent(["--name", "intruder"], {
      HOLDFAST_HOME: join(machine.folder.path, "home2"),
      HOLDFAST_MACHINE_DIR: join(machine.folder.path, "m2"),
      HOLDFAST_HEALTH_PORT: String(healthPort),
    });
    const reasons = await until("the intruder tells why it does not serve", async () => {
      const answer = await fetch(`http://127.0.0.1:${healthPort}/services`);
      const { services } = (await answer.json()) as ServicesAnswer;
      const own = services.filter(({ kind }) => kind === "instance");
      const text = own.map(({ name, state, reason }) => `${name} ${state} ${reason}`).join("\n");
      if (own.length === 2 && text.match(/ by .*agent/g)?.length === 2) return text;
      throw new Error(text);
    });
    expect(reasons).toContain(`comfyui-cpu0 stopped`);
    expect(reasons).toContain(String(machine.basePort));
    expect(reasons).toContain(machine.folder.machine);
    expect(await agent.stop("SIGTERM", 60_000)).toBe(0);
    expect([await machine.pid("comfyui-cpu0"), await machine.pid("comfyui-cpu1")]).toEqual(before);
    expect((await machine.get("/ready")).status).toBe(200);
  });

  it("ends its instances and PM2 when it is stopped, and nothing is left", async () => {
    const [agent] = machine.agents();
    expect(machine.processes().length).toBeGreaterThan(3);
    expect(await agent?.stop("SIGTERM", 60_000)).toBe(0);
    expect(machine.processes()).toEqual([]);
    const status = await machine.machine(["status"]);
    expect(status.output).toContain("no agent runs on this machine folder");
  });
});
