/** Each of the six states of a service (CONTRACTS C3), reached for real and seen from outside. */
import { createServer, type Server } from "node:http";
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

const programs = await findPrograms("states.test.ts");

const STATES = ["not_configured", "not_installed", "stopped", "starting", "unhealthy", "healthy"];

/** What `/metrics` says of a service: the states that are 1. Throws unless all six are told. */
async function metricStates(machine: WholeMachine, service: string): Promise<readonly string[]> {
  const text = await (await machine.get("/metrics")).text();
  const found = [...text.matchAll(/^holdfast_service_state\{(.*)\} (\d)$/gm)]
    .filter(([, labels]) => labels?.includes(`service="${service}"`))
    .map(([, labels, value]) => ({ state: /state="(\w+)"/.exec(labels ?? "")?.[1], value }));
  const told = new Set(found.map(({ state }) => state));
  expect(told).toEqual(new Set<string | undefined>(STATES));
  return found.flatMap(({ state, value }) => (value === "1" && state !== undefined ? [state] : []));
}

/** The state by every way there is to ask; also that the machine is ready only when it should be. */
async function expectState(
  machine: WholeMachine,
  service: string,
  state: string,
  isReady: boolean,
): Promise<void> {
  const answer = await machine.get(`/services/${service}/health`);
  expect(await answer.json()).toMatchObject({ name: service, state });
  expect(answer.status).toBe(state === "healthy" ? 200 : 503);
  expect(await metricStates(machine, service)).toEqual([state]);
  const ready = await machine.get("/ready");
  expect([ready.status, await ready.json()]).toMatchObject(
    isReady ? [200, { ready: true }] : [503, { ready: false }],
  );
}

/** Listens on a port, as somebody else's program that has it. */
async function takePort(port: number): Promise<Server> {
  const server = createServer((_request, response) => response.writeHead(404).end());
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  return server;
}

describe.skipIf(programs === undefined)("a machine without a manifest", () => {
  let machine: WholeMachine;
  beforeAll(async () => {
    machine = await makeWholeMachine(programs as Programs);
  });
  afterAll(() => machine?.close());

  it("answers on 9090 or the next free port, with not_configured", async () => {
    const agent = machine.startAgent([], {
      HOLDFAST_MACHINE_MANIFEST: undefined,
      HOLDFAST_HEALTH_PORT: undefined,
    });
    await agent.saw(/health +http\S+/);
    const url = /health +(http\S+)\/health/.exec(agent.output())?.[1] ?? "";
    expect(Number(new URL(url).port)).toBeGreaterThanOrEqual(9_090);
    const { services, state } = (await (await fetch(`${url}/services`)).json()) as ServicesAnswer;
    expect(state).toBe("not_configured");
    expect(services).toMatchObject([{ name: "comfyui", state: "not_configured" }]);
    expect(services[0]?.reason).toContain("machine.yaml");
    expect((await fetch(`${url}/ready`)).status).toBe(503);
    const told = await (await fetch(`${url}/services/comfyui/transitions`)).json();
    expect(told).toMatchObject({ transitions: [{ from: null, to: "not_configured" }] });
    expect((await fetch(`${url}/health`)).status).toBe(200);
    expect(await agent.stop()).toBe(0);
  });

  it("says so too when the manifest that was named is not there", async () => {
    const agent = machine.startAgent([], { HOLDFAST_MACHINE_MANIFEST: "/nowhere/machine.yaml" });
    await until("it answers", () => machine.health());
    await expectState(machine, "comfyui", "not_configured", false);
    expect((await machine.health()).manifest.problems.join()).toContain("/nowhere/machine.yaml");
    expect(await agent.stop()).toBe(0);
  });
});

describe.skipIf(programs === undefined)("the states of a machine with a manifest", () => {
  let machine: WholeMachine;
  let client: Client;

  beforeAll(async () => {
    machine = await makeWholeMachine(programs as Programs);
    client = await machine.client();
    const nobody = await freePort();
    machine.writeManifest({ comfyui: { repo: `git://127.0.0.1:${nobody}/comfyui`, ref: "v1" } });
    machine.startAgent();
    await until("the health server answers", () => machine.health());
  });
  afterAll(() => machine?.close());

  it("not_installed: the repository cannot be reached, and the reason says so", async () => {
    await machine.untilState("installer", "unhealthy");
    await machine.untilState("comfyui", "not_installed");
    await expectState(machine, "comfyui", "not_installed", false);
    const { reason, installation } = await machine.service("comfyui");
    expect(installation.state).toBe("broken");
    expect(reason).toMatch(/127\.0\.0\.1/);
    expect((await machine.health()).state).toBe("unhealthy");
  });

  it("starting: installed by hand after all, taken up by the agent that runs, slow to answer", async () => {
    // A stranger has the port of the second instance meanwhile.
    const stranger = await takePort(machine.basePort + 1);
    machine.writeManifest({
      instances: {
        gpus: "none",
        cpu: 2,
        basePort: machine.basePort,
        startTimeoutSec: 60,
        stopTimeoutSec: 5,
        env: { STANDIN_START_DELAY: "4" },
      },
    });
    const { code, output } = await machine.machine(["install"]);
    expect(output).toContain("installed: release");
    expect(code).toBe(0);
    await machine.untilState("comfyui-cpu0", "starting");
    await expectState(machine, "comfyui-cpu0", "starting", false);

    // stopped: nothing is started on a port that is somebody else's, and nobody is harmed.
    await machine.untilState("comfyui-cpu1", "stopped");
    const blocked = await until("the reason is told", async () => {
      const found = await machine.service("comfyui-cpu1");
      if (found.reason.includes("is held by")) return found;
      throw new Error(found.reason);
    });
    expect(blocked.reason).toContain(`port ${machine.basePort + 1}`);
    expect(blocked.reason).toContain(String(process.pid));
    await expectState(machine, "comfyui-cpu1", "stopped", false);

    // The machine goes on with the healthy part.
    await machine.untilState("comfyui-cpu0", "healthy");
    expect((await machine.health()).state).toBe("degraded");
    await untilCompleted(client, [await client.submit(quickGraph(1))]);

    await new Promise((resolve) => stranger.close(resolve));
    stranger.closeAllConnections();
    await machine.untilState("comfyui-cpu1", "healthy");
  });

  it("healthy: everything is, and the machine is ready", async () => {
    await machine.untilState("comfyui", "healthy");
    await until("it is ready", async () => (await machine.get("/ready")).status === 200);
    for (const name of ["comfyui", "comfyui-cpu0", "comfyui-cpu1", "installer"]) {
      await expectState(machine, name, "healthy", true);
    }
  });

  it("shows the log of an instance, and follows it", async () => {
    const tail = await (await machine.get("/services/comfyui-cpu0/logs?tail=50")).text();
    expect(tail).toContain("To see the GUI go to");
    const abort = new AbortController();
    const url = `http://127.0.0.1:${machine.healthPort}/services/comfyui-cpu0/logs?tail=0&follow`;
    const following = await fetch(url, { signal: abort.signal });
    const reader = following.body?.pipeThrough(new TextDecoderStream()).getReader();
    machine.setFaults("comfyui-cpu0", { step_seconds: 0.001 });
    let text = "";
    while (!text.includes("stand-in faults:")) {
      const piece = await reader?.read();
      if (piece?.done !== false) throw new Error(`the log ended: ${text}`);
      text += piece.value;
    }
    abort.abort();
    expect((await machine.get("/services/nobody/logs")).status).toBe(404);
  });

  it("stopped and unhealthy: a crash loop and a zombie at once, each told as what it is", async () => {
    const before = await machine.pid("comfyui-cpu0");
    await machine.changeFaults("comfyui-cpu1", { exit_now: 7, exit_at_start: 7 });
    await machine.untilState("comfyui-cpu1", "stopped");
    await machine.changeFaults("comfyui-cpu0", { zombie: true });
    const job = await client.submit(quickGraph(3));
    const zombie = await machine.untilState("comfyui-cpu0", "unhealthy");
    await expectState(machine, "comfyui-cpu0", "unhealthy", false);
    expect(zombie.runtime).toMatchObject({ state: "running", pid: before });
    // It answers as ever: only what comes of a prompt tells.
    const stats = await fetch(`http://127.0.0.1:${machine.basePort}/system_stats`);
    expect(stats.status).toBe(200);
    machine.setFaults("comfyui-cpu0", {});

    const loop = await until(
      "the other one is in a crash loop",
      async () => {
        const found = await machine.service("comfyui-cpu1");
        if (found.runtime.state === "crash_loop") return found;
        throw new Error(found.reason);
      },
      120_000,
    );
    expect(loop.reason).toContain("ended too often");
    await expectState(machine, "comfyui-cpu1", "stopped", false);

    // The zombie was ended by the supervisor; its successor renders what it did not.
    await machine.untilState("comfyui-cpu0", "healthy");
    expect(await machine.pid("comfyui-cpu0")).not.toBe(before);
    await untilCompleted(client, [job]);
  });

  it("has every state in its transition log", async () => {
    const seen = new Set<string>();
    for (const name of ["comfyui", "comfyui-cpu0", "comfyui-cpu1"]) {
      const answer = await machine.get(`/services/${name}/transitions`);
      const { transitions } = (await answer.json()) as { transitions: { to: string }[] };
      for (const { to } of transitions) seen.add(to);
    }
    expect([...seen].sort()).toEqual(STATES.filter((state) => state !== "not_configured").sort());
  });
});
