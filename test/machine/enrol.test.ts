/** A machine that comes in by a one-time token, before its control plane is there to take it. */
import { createServer, request, type Server } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { api, quickGraph } from "../support/api.ts";
import { freePort, until, type HoldfastProcess } from "../support/processes.ts";
import { closeServer, listenOnLoopback } from "./ground/loopback.ts";
import {
  findPrograms,
  makeWholeMachine,
  untilCompleted,
  type Client,
  type Programs,
  type WholeMachine,
} from "./whole-machine.ts";

const programs = await findPrograms("enrol.test.ts");

/** What the control plane tells of a machine, as far as it is looked at here. */
interface ToldMachine {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly services: readonly { readonly name: string; readonly state: string }[];
  readonly runs: readonly {
    readonly kind: string;
    readonly ok: boolean;
    readonly logUrl: string | null;
    readonly steps: readonly { readonly id: string; readonly outcome: string }[];
  }[];
}

/** A proxy that passes every call on, and every answer but those to enrolments, until it is told to. */
async function startForgetfulProxy(target: string): Promise<{
  readonly url: string;
  readonly server: Server;
  /** Enrolments that were answered, and whose answer was lost. */
  lost(): number;
  passEverything(): void;
}> {
  let lost = 0;
  let passesAll = false;
  const server = createServer((incoming, outgoing) => {
    const { method, headers, url = "/" } = incoming;
    const forward = request(`${target}${url}`, { method, headers }, (answer) => {
      if (url.endsWith("/enroll") && !passesAll) {
        answer.resume();
        answer.once("end", () => {
          lost += 1;
          outgoing.destroy();
        });
        return;
      }
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    forward.once("error", () => outgoing.destroy());
    incoming.pipe(forward);
  });
  return {
    url: await listenOnLoopback(server),
    server,
    lost: () => lost,
    passEverything() {
      passesAll = true;
    },
  };
}

describe.skipIf(programs === undefined)("a machine with a one-time token", () => {
  let machine: WholeMachine;
  let admin = "";
  let client: Client;
  let token = "";

  const keys = async (...args: readonly string[]): Promise<{ readonly text: string }> => {
    const { code, output } = await machine.holdfast(["keys", ...args, "--json"], {
      HOLDFAST_API_KEY: admin || undefined,
    });
    expect([code, output]).toEqual([0, expect.stringContaining("{")]);
    return JSON.parse(output.slice(output.indexOf("{"))) as { readonly text: string };
  };
  /** An agent that has a folder of its own, and no manifest. */
  const startOther = async (
    name: string,
    more: Readonly<Record<string, string>>,
  ): Promise<{ readonly agent: HoldfastProcess; readonly healthUrl: string }> => {
    const port = String(await freePort());
    const agent = machine.startAgent(["--name", name], {
      HOLDFAST_HOME: join(machine.folder.path, "other"),
      HOLDFAST_MACHINE_DIR: join(machine.folder.path, "other", "m"),
      HOLDFAST_MACHINE_MANIFEST: undefined,
      HOLDFAST_HEALTH_PORT: port,
      ...more,
    });
    return { agent, healthUrl: `http://127.0.0.1:${port}/health` };
  };
  const toldMachines = async (): Promise<readonly { id: string; name: string }[]> =>
    (await client.call<{ machines: { id: string; name: string }[] }>("GET", "/api/v1/machines"))
      .machines;

  beforeAll(async () => {
    machine = await makeWholeMachine(programs as Programs);
    // Its operator made the token in time; then the control plane went away.
    await machine.startServer();
    admin = (await keys("create", "--role", "admin", "--name", "admin")).text;
    token = (await keys("enroll", "--name", "rack 1")).text;
    client = api(machine.serverUrl(), { authorization: `Bearer ${admin}` });
    await machine.server().stop();
    machine.startAgent([], { HOLDFAST_ENROLL_TOKEN: token });
    await until("the health server answers", () => machine.health());
  });
  afterAll(() => machine?.close());

  it("is healthy before the control plane is there, and says that it waits for it", async () => {
    await machine.untilState("comfyui", "healthy");
    await until("it is ready", async () => (await machine.get("/ready")).status === 200);
    const { controlPlane, machineId, state } = await machine.health();
    expect({ controlPlane, machineId, state }).toMatchObject({
      controlPlane: { state: "connecting", url: machine.serverUrl() },
      machineId: null,
      state: "healthy",
    });
    const [agent] = machine.agents();
    expect(agent?.output()).toContain(`waiting for ${machine.serverUrl()} to enrol this machine`);
    expect(agent?.output()).not.toContain(token);
  });

  it("comes in with its token when there is one, tells its whole start, and renders", async () => {
    const before = await machine.pid("comfyui-cpu0");
    await machine.startServer();
    const told = await until("the machine has told all", async () => {
      const [first] = await toldMachines();
      if (first === undefined) throw new Error("there is no machine yet");
      const found = await client.call<ToldMachine>("GET", `/api/v1/machines/${first.id}`);
      const states = found.services.map(({ name, state }) => `${name} ${state}`);
      if (found.runs.length > 0 && states.includes("comfyui healthy")) return found;
      throw new Error(JSON.stringify(found));
    });
    expect(told).toMatchObject({ name: "box", state: "online" });
    const [run] = told.runs;
    expect(run).toMatchObject({ kind: "install", ok: true });
    const done = run?.steps.filter(({ outcome }) => outcome === "done").map(({ id }) => id);
    expect(done).toEqual(expect.arrayContaining(["comfyui.checkout", "release.validate"]));
    const log = await fetch(`${machine.serverUrl()}${run?.logUrl ?? ""}`, {
      headers: { authorization: `Bearer ${admin}` },
    });
    expect([log.status, await log.text()]).toEqual([
      200,
      expect.stringContaining("release.validate"),
    ]);
    await untilCompleted(client, [await client.submit(quickGraph(1))]);
    expect(await machine.health()).toMatchObject({
      machineId: told.id,
      controlPlane: { state: "connected", detail: null },
    });
    // What served alone was not started anew for it.
    expect(await machine.pid("comfyui-cpu0")).toBe(before);
  });

  it("its token lets no other machine in, and who tries is told who had it", async () => {
    const { agent } = await startOther("intruder", { HOLDFAST_ENROLL_TOKEN: token });
    expect(await agent.exited).toBe(2);
    expect(agent.output()).toContain("this one-time token was used already, by box");
    expect((await toldMachines()).map(({ name }) => name)).toEqual(["box"]);
    expect((await machine.health()).controlPlane.state).toBe("connected");
  });

  it("a machine whose answer was lost may ask again, also after it was killed", async () => {
    const second = (await keys("enroll", "--name", "rack 2")).text;
    const proxy = await startForgetfulProxy(machine.serverUrl());
    try {
      const env = { HOLDFAST_ENROLL_TOKEN: second, HOLDFAST_URL: proxy.url };
      const first = await startOther("second", env);
      await until("an answer was lost", () => proxy.lost() > 0);
      await first.agent.kill();
      proxy.passEverything();
      const { agent, healthUrl } = await startOther("second", env);
      await until("it is in", async () => {
        const answer = await fetch(healthUrl);
        const { controlPlane } = (await answer.json()) as { controlPlane: { state: string } };
        return controlPlane.state === "connected";
      });
      expect((await toldMachines()).map(({ name }) => name).toSorted()).toEqual(["box", "second"]);
      expect(await agent.stop("SIGTERM", 30_000)).toBe(0);
    } finally {
      await closeServer(proxy.server);
    }
  });
});
