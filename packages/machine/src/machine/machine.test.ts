import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Agent, AgentOptions, ServedInstance } from "@holdfast/agent";
import type { ControlPlaneLink } from "@holdfast/contract";
import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { freePort, until } from "../../../../test/support/processes.ts";
import { FakeHost, FakeLocks, rememberingLog } from "../../testing/fake-host.ts";
import { fakeRooms } from "../../testing/fake-rooms.ts";
import { release as releaseOf } from "../../testing/instance-facts.ts";
import type { HealthAnswer, ServicesAnswer } from "../health-server/model.ts";
import type { Installer } from "../install/installer.ts";
import type { Release } from "../instances/model.ts";
import { machinePlaces } from "../machine-places.ts";
import { readHealthAddress } from "./health-address.ts";
import type { InstallerParts } from "./installer-parts.ts";
import { createMachine, defaultMachineRoot } from "./machine.ts";
import type { Machine, MachineOptions } from "./machine-options.ts";
import type { MachineRooms } from "./machine-rooms.ts";
import { applyManifest } from "./manifest-watch.ts";

let folder = "";
let root = "";
let manifestPath = "";
let port = 0;
let host: FakeHost;
let log: ReturnType<typeof rememberingLog>;
/** What agent, instances and parts are told, in order. */
let did: string[];
let agentOptions: AgentOptions | undefined;
let failing: Record<string, Error>;
let linked: Release | undefined;
const made: Machine[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-machine-"));
  root = defaultMachineRoot(folder);
  manifestPath = join(folder, "machine.yaml");
  port = await freePort();
  host = new FakeHost();
  log = rememberingLog();
  did = [];
  failing = {};
  linked = undefined;
});
afterEach(async () => {
  failing = {};
  for (const machine of made.splice(0)) await machine.stop().catch(() => undefined);
  await rm(folder, { recursive: true });
});

const step = async (what: string): Promise<void> => {
  did.push(what);
  const error = failing[what];
  if (error !== undefined) throw error;
};
const agent = (): Agent =>
  ({
    name: "agent",
    start: () => step("agent.start"),
    stop: () => step("agent.stop"),
    status: () => ({
      machineId: "mch_1",
      isRegistered: true,
      isAnswered: true,
      isSuperseded: false,
      instances: [],
      spoolBytes: 0,
      unsentReports: 0,
    }),
    drain: (ms: number) => step(`agent.drain ${ms}`).then(() => true),
    instanceHealth: (url: string) => host.health(url),
    pauseInstance: () => Promise.resolve(true),
    resumeInstance: () => undefined,
    setInstances: (instances: readonly ServedInstance[]) =>
      step(`declared ${instances.map(({ url }) => url).join(" ")}`),
    refreshInventories: () => undefined,
    reportMachine: () => undefined,
    tellRun: () => undefined,
  }) as unknown as Agent;
const installer = {
  install: async () => {
    await step("install");
    linked = releaseOf("r1");
    const results: never[] = [];
    return {
      kind: "installed",
      release: "r1",
      isChanged: true,
      results,
      warnings: [],
      logFile: "",
    };
  },
  current: () => Promise.resolve(linked),
  status: () => Promise.resolve({ lock: null, current: linked?.id ?? null, previous: null }),
} as unknown as Installer;
const rooms: Partial<MachineRooms> = {
  makeAgent: (options) => {
    agentOptions = options;
    return agent();
  },
  gpus: {
    discover: () =>
      Promise.resolve({
        gpus: [],
        faults: [],
        failure: null,
        driverVersion: null,
        cudaVersion: null,
      }),
    sample: () => Promise.resolve({ readings: [], faults: [], failure: null }),
  },
  makeParts: async () =>
    ({
      installer,
      fetch: () => Promise.resolve(),
      close: () => step("parts.close"),
    }) as unknown as InstallerParts,
  makeServing: () => fakeRooms(host, new FakeLocks(), () => step("manager.kill")),
};
const make = (over: Partial<MachineOptions> = {}): Machine => {
  const machine = createMachine(
    {
      root,
      manifestPath,
      isManifestNamed: false,
      stateDir: join(folder, "state"),
      machineName: "box",
      version: "1.2.3",
      link: {} as ControlPlaneLink,
      controlPlaneUrl: "http://plane:8328",
      attached: [],
      health: { host: null, port, tokenFile: null },
      programs: { uv: null, pm2: null, nvidiaSmi: null },
      env: { HOME: folder, PATH: "/bin" },
      clock: systemClock,
      random: seededRandom(1),
      log,
      watchEveryMs: 20,
      ...over,
    },
    rooms,
  );
  made.push(machine);
  return machine;
};
const ask = async <T>(path: string): Promise<T> =>
  (await (await fetch(`http://127.0.0.1:${port}${path}`)).json()) as T;
const health = (): Promise<HealthAnswer> => ask<HealthAnswer>("/health");
const services = async (): Promise<readonly string[]> =>
  (await ask<ServicesAnswer>("/services")).services.map(({ name, state }) => `${name} ${state}`);
const isOpen = (): Promise<boolean> =>
  health().then(
    () => true,
    () => false,
  );
const MANIFEST = "version: 1\ncomfyui: {repo: /repo, ref: v1}\ninstances: {gpus: none, cpu: 1}\n";
const untilHealthy = (): Promise<unknown> =>
  until("it is healthy", async () => (await health()).state === "healthy", 20_000);

test("without a manifest it answers, and says that it is not configured", async () => {
  const machine = make();
  await machine.start();
  expect(await health()).toMatchObject({
    state: "not_configured",
    machineId: "mch_1",
    name: "box",
    version: "1.2.3",
    release: null,
    manifest: { path: null, problems: [] },
    controlPlane: { state: "connected" },
  });
  expect(await services()).toEqual(["comfyui not_configured"]);
  expect((await fetch(`http://127.0.0.1:${port}/ready`)).status).toBe(503);
  expect(await readHealthAddress(machinePlaces(root).healthAddress)).toEqual({
    url: `http://127.0.0.1:${port}`,
    pid: process.pid,
  });
  await machine.stop();
  expect(await isOpen()).toBe(false);
  expect(await readHealthAddress(machinePlaces(root).healthAddress)).toBeUndefined();
});

test("attached ComfyUIs alone make a machine that can be healthy", async () => {
  const url = "http://127.0.0.1:18188";
  host.healthOf.set(url, { state: "healthy", reason: null, isBusy: false });
  await make({ attached: [{ url }, { url: "http://localhost:18188" }] }).start();
  await untilHealthy();
  expect(agentOptions?.instances).toEqual([{ url }]);
  expect(await services()).toContain("comfyui-127.0.0.1-18188 healthy");
});

test("a port that is taken ends the start in words, and nothing is left of it", async () => {
  const other = make();
  await other.start();
  const machine = make();
  await expect(machine.start()).rejects.toThrow(/port \d+ for the health server is taken/);
  expect(did).toEqual(["agent.start", "agent.stop"]);
  await machine.stop();
  // The other one is found on.
  expect(await isOpen()).toBe(true);
  expect(await readHealthAddress(machinePlaces(root).healthAddress)).toBeDefined();
});

test("an agent that cannot start ends what was started before it", async () => {
  failing = { "agent.start": new Error("the state folder cannot be written") };
  const machine = make();
  await expect(machine.start()).rejects.toThrow("the state folder cannot be written");
  expect(await isOpen()).toBe(false);
  expect(did).toEqual(["agent.start", "agent.stop"]);
  await machine.stop();
  expect(await readHealthAddress(machinePlaces(root).healthAddress)).toBeUndefined();
});

test("with a manifest it installs, serves, and is ended in order", async () => {
  await writeFile(manifestPath, MANIFEST);
  const machine = make();
  await machine.start();
  await untilHealthy();
  expect(await services()).toEqual([
    "installer healthy",
    "comfyui healthy",
    "comfyui-cpu0 healthy",
  ]);
  expect(agentOptions?.control?.canRestart("http://127.0.0.1:8188")).toBe(true);
  await until("the host is known", () => agentOptions?.report?.() !== undefined);
  expect(agentOptions?.report?.()).toMatchObject({ healthPort: port, services: [{}, {}, {}] });
  expect(await machine.drain(7)).toBe(true);
  did.length = 0;
  await machine.stop();
  expect(did.slice(0, 4)).toEqual(["parts.close", "manager.kill", "agent.stop"]);
  expect(host.alive("comfyui-cpu0")).toBe(0);
});

test("one that is left keeps its instances, and a stop after that changes nothing", async () => {
  await writeFile(manifestPath, MANIFEST);
  const machine = make();
  await machine.start();
  await untilHealthy();
  await Promise.all([machine.leave(), machine.leave(), machine.stop()]);
  expect(host.alive("comfyui-cpu0")).toBe(1);
  expect(did).not.toContain("manager.kill");
  expect(did.filter((one) => one === "agent.stop")).toHaveLength(1);
});

test("what does not end keeps nothing else from it, and is told", async () => {
  const machine = make();
  await machine.start();
  failing = { "agent.stop": new Error("the spool is gone") };
  await expect(machine.stop()).rejects.toThrow(
    "the machine did not stop cleanly: the spool is gone",
  );
  expect(await isOpen()).toBe(false);
});

test("a stop before the start, or in the middle of it, ends all", async () => {
  const never = make();
  await never.stop();
  await expect(never.start()).rejects.toThrow(/was stopped/);
  const machine = make();
  const starting = machine.start();
  await machine.stop();
  await starting;
  expect(await isOpen()).toBe(false);
});

test("a release that is there is not told as missing before it was looked at", async () => {
  await writeFile(manifestPath, MANIFEST);
  const places = machinePlaces(root);
  const lock = {
    version: 1,
    release: "r1",
    manifestDigest: "d",
    createdAt: 1,
    comfyui: { repo: null, ref: null, commit: null, adopted: "/c", version: null },
    python: { executable: "/p", version: "3.11" },
    torch: { backend: "cpu", version: null },
    packages: {},
    nodes: [],
    models: [],
    repositories: [],
    nodeClasses: [],
  };
  await mkdir(join(places.releases, "r1"), { recursive: true });
  await writeFile(join(places.releases, "r1", "lock.json"), JSON.stringify(lock));
  await symlink(join(places.releases, "r1"), places.current);
  linked = releaseOf("r1");
  await make().start();
  await untilHealthy();
  const { transitions } = await ask<{ transitions: { to: string }[] }>(
    "/services/comfyui/transitions",
  );
  expect(transitions.map(({ to }) => to)).not.toContain("not_installed");
});

test("a manifest that is edited is told; one that is applied serves", async () => {
  await writeFile(manifestPath, MANIFEST);
  await make().start();
  await untilHealthy();
  const two = MANIFEST.replace("cpu: 1", "cpu: 2");
  await writeFile(manifestPath, two);
  await until("it is told", async () =>
    (await health()).manifest.problems.some((line) => line.includes("has changed since")),
  );
  expect(host.starts).toHaveLength(1);
  await applyManifest(two, machinePlaces(root).appliedManifest);
  await until("both serve", async () => (await services()).includes("comfyui-cpu1 healthy"));
  expect((await health()).manifest.problems).toEqual([]);
  expect(await readFile(machinePlaces(root).appliedManifest, "utf8")).toBe(two);
});

test("what of a manifest needs a new start is said", async () => {
  await writeFile(manifestPath, MANIFEST);
  await make().start();
  const other = `${MANIFEST}health: {port: 1234}\n`;
  await applyManifest(other, machinePlaces(root).appliedManifest);
  await until("it is told", async () =>
    (await health()).manifest.problems.some((line) => line.includes("`health` is taken over")),
  );
});

test("a wrong manifest leaves it answering, with every problem", async () => {
  await writeFile(manifestPath, "version: 1\nnodess: []\n");
  await make({ isManifestNamed: true }).start();
  const { state, manifest } = await health();
  expect(state).toBe("not_configured");
  expect(manifest.path).toBe(manifestPath);
  expect(manifest.problems[0]).toContain("machine.yaml:2:1");
  const { services: told } = await ask<ServicesAnswer>("/services");
  expect(told[0]?.reason).toContain("nodess");
});

test("without instances of its own nothing can be restarted or fetched", async () => {
  const machine = make();
  await machine.start();
  const { signal } = new AbortController();
  expect(agentOptions?.control?.canRestart("http://x")).toBe(false);
  await expect(agentOptions?.control?.restart("http://x", "r", signal)).rejects.toThrow(
    "no instance is supervised here",
  );
  const model = { folder: "loras", name: "a" };
  await expect(agentOptions?.onModelsWanted?.([model] as never, signal as never)).rejects.toThrow(
    "this machine has no manifest",
  );
});

describe("of two agents on one machine folder", () => {
  let secondPort = 0;
  let second: Machine;
  const askSecond = async <T>(path: string): Promise<T> =>
    (await (await fetch(`http://127.0.0.1:${secondPort}${path}`)).json()) as T;
  const started = async (): Promise<Machine> => {
    await writeFile(manifestPath, MANIFEST);
    const first = make();
    await first.start();
    await untilHealthy();
    secondPort = await freePort();
    second = make({ health: { host: null, port: secondPort, tokenFile: null } });
    did.length = 0;
    return first;
  };

  test("the second says who has it, and its start and end touch nothing", async () => {
    await started();
    const kept = await readFile(machinePlaces(root).appliedManifest, "utf8");
    await writeFile(manifestPath, MANIFEST.replace("cpu: 1", "cpu: 2"));
    await second.start();
    const { services: told } = await askSecond<ServicesAnswer>("/services");
    expect(told.map(({ name, state }) => `${name} ${state}`)).toEqual([
      "installer stopped",
      "comfyui stopped",
    ]);
    for (const { reason } of told) {
      expect(reason).toContain(`the agent of process ${process.pid} runs what is in ${root}`);
      expect(reason).toContain("takes over when that process ends");
    }
    expect((await fetch(`http://127.0.0.1:${secondPort}/ready`)).status).toBe(503);
    const { manifest } = await askSecond<HealthAnswer>("/health");
    expect(manifest.problems).toContainEqual(expect.stringContaining("HOLDFAST_MACHINE_DIR"));
    expect(agentOptions?.report?.()?.offers.models ?? []).toEqual([]);
    await second.stop();
    expect(did).toEqual(["agent.start", "agent.stop"]);
    expect(host.starts).toHaveLength(1);
    expect(host.alive("comfyui-cpu0")).toBe(1);
    expect(await readFile(machinePlaces(root).appliedManifest, "utf8")).toBe(kept);
    expect(await readHealthAddress(machinePlaces(root).healthAddress)).toMatchObject({
      url: `http://127.0.0.1:${port}`,
    });
    const journal = await readFile(machinePlaces(root).transitions, "utf8");
    expect(journal).not.toContain("takes over");
    expect((await health()).state).toBe("healthy");
  });

  test("the second takes over what the first leaves, with the manifest as it is then", async () => {
    const first = await started();
    const two = MANIFEST.replace("cpu: 1", "cpu: 2");
    await second.start();
    await writeFile(manifestPath, two);
    await first.leave();
    await until("the second serves", async () => {
      const { services: told } = await askSecond<ServicesAnswer>("/services");
      return told.some(({ name, state }) => name === "comfyui-cpu1" && state === "healthy");
    });
    // Adopted as it was, and one more.
    expect(host.starts.map(({ name }) => name)).toEqual(["comfyui-cpu0", "comfyui-cpu1"]);
    expect(await readHealthAddress(machinePlaces(root).healthAddress)).toMatchObject({
      url: `http://127.0.0.1:${secondPort}`,
    });
    expect((await askSecond<HealthAnswer>("/health")).manifest.problems).toEqual([]);
    await second.stop();
    expect(host.alive("comfyui-cpu0")).toBe(0);
  });

  test("one without a manifest serves what is attached, and leaves the address to the other", async () => {
    await started();
    const url = "http://127.0.0.1:18188";
    host.healthOf.set(url, { state: "healthy", reason: null, isBusy: false });
    second = make({
      attached: [{ url }],
      manifestPath: join(folder, "other.yaml"),
      root,
      health: { host: null, port: secondPort, tokenFile: null },
    });
    await second.start();
    await second.stop();
    expect(await readHealthAddress(machinePlaces(root).healthAddress)).toMatchObject({
      url: `http://127.0.0.1:${port}`,
    });
  });
});
