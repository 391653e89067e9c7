import type { Inventory } from "@holdfast/contract";
import type { ServedInstance } from "@holdfast/agent";
import { seededRandom } from "@holdfast/runtime";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FakeHost, FakeLocks, rememberingLog, urlOf } from "../../testing/fake-host.ts";
import { fakeRooms } from "../../testing/fake-rooms.ts";
import { release as releaseOf } from "../../testing/instance-facts.ts";
import type { GpuDiscovery } from "../gpu/model.ts";
import type { Installer, RollbackRequest } from "../install/installer.ts";
import { holdWords, type ReleaseHold } from "../install/release/release-hold.ts";
import type { Release } from "../instances/model.ts";
import { machinePlaces } from "../machine-places.ts";
import { manifestSchema } from "../manifest/model.ts";
import type { ServiceState } from "../services/model.ts";
import { decideServiceState } from "../services/service-state.ts";
import type { InstallerParts } from "./installer-parts.ts";
import { ServingMachine } from "./serving-machine.ts";

const NOBODY = new AbortController().signal;
const FIRST = 8_188;

let clock: FakeClock;
let host: FakeHost;
let locks: FakeLocks;
let log: ReturnType<typeof rememberingLog>;
let linked: Release | undefined;
let previous: string | null;
let hold: ReleaseHold | null;
/** Throws instead of reading the link. */
let currentError: Error | null;
let served: readonly ServedInstance[];
let told: string[];
let machine: ServingMachine;
let discovery: GpuDiscovery;
let kills: number;
let cardFault: (gpu: { readonly index: number }) => string | null;
let serviceStates: Map<string, ServiceState>;

const found = (count: number): GpuDiscovery => ({
  gpus: Array.from({ length: count }, (_, index) => {
    const gpu = { index, uuid: `GPU-${index}`, name: "A card", memoryTotalBytes: 1 };
    return { ...gpu, computeCapability: null, devices: [{ gpu, migIndex: null }] };
  }),
  faults: [],
  failure: null,
  driverVersion: null,
  cudaVersion: null,
});
const manifest = (over: Record<string, unknown> = {}) => ({
  digest: "d",
  manifest: manifestSchema.parse({
    version: 1,
    comfyui: { repo: "/repo", ref: "v1" },
    instances: { basePort: FIRST, startTimeoutSec: 60, drainSec: 30 },
    ...over,
  }),
});
const installer = {
  current: () => (currentError === null ? Promise.resolve(linked) : Promise.reject(currentError)),
  status: () =>
    Promise.resolve({
      lock: linked === undefined ? null : { release: linked.id },
      current: linked?.id ?? null,
      previous,
      hold,
    }),
  rollback: (_signal: AbortSignal, { to, leaving }: RollbackRequest = {}) => {
    const from = linked?.id ?? null;
    linked = releaseOf(to ?? previous ?? "none");
    previous = from;
    const by = leaving === undefined ? "operator" : "machine";
    const reason = leaving ?? null;
    hold = { version: 1, manifests: ["d"], from, to: linked.id, at: 1, by, reason };
    return Promise.resolve({ kind: "rolled_back", from, to: linked.id, hold });
  },
} as unknown as Installer;
const parts = (fetch: InstallerParts["fetch"] = () => Promise.resolve()) => ({ installer, fetch });

const makeMachine = (attached: readonly ServedInstance[] = []): ServingMachine =>
  new ServingMachine({
    places: machinePlaces("/srv/machine"),
    home: "/home/agent",
    env: { PATH: "/bin" },
    rooms: fakeRooms(host, locks, () => {
      kills += 1;
      return Promise.resolve();
    }),
    clock,
    random: seededRandom(1),
    log,
    agent: {
      instanceHealth: (url) => host.health(url),
      pauseInstance: (url, ms, signal) => host.pause(url, ms, signal),
      resumeInstance: (url) => host.resume(url),
      refreshInventories: () => told.push("inventories"),
      setInstances: (instances) => {
        served = instances;
        return Promise.resolve();
      },
    },
    attached,
    gpus: {
      cardFault: (gpu) => cardFault(gpu),
      runsOn: () => true,
      discover: () => Promise.resolve(discovery),
    },
    healthPort: () => 9_090,
    serviceState: (name) => serviceStates.get(name),
    installation: {
      note: (facts) => {
        told.push(`serving ${facts.serving}`);
        if (facts.hold) told.push(holdWords(facts.hold));
      },
      status: () => ({ state: "installed", detail: null, version: linked?.id ?? null }),
    },
    onChange: () => undefined,
    onSources: () => told.push("sources"),
  });

beforeEach(() => {
  clock = createFakeClock();
  host = new FakeHost();
  locks = new FakeLocks();
  log = rememberingLog();
  linked = releaseOf("r1");
  previous = null;
  hold = null;
  currentError = null;
  served = [];
  told = [];
  kills = 0;
  cardFault = () => null;
  discovery = found(2);
  serviceStates = new Map();
  machine = makeMachine();
});
afterEach(async () => {
  const left = machine.leave().catch(() => undefined);
  await clock.advance(60_000);
  await left;
  if (clock.sleeperCount() > 0) throw new Error("somebody still sleeps");
});

const set = async (over: Record<string, unknown> = {}, given = parts()): Promise<void> => {
  const setting = machine.setManifest(manifest(over), given, NOBODY);
  await clock.advance(5_000);
  await setting;
};
const names = (): readonly string[] => machine.sources().map(({ name }) => name);
const alive = (name: string) => host.processes.find((one) => one.name === name && one.isAlive);

test("an instance on the port of before is served there, and on the new one once it is started anew", async () => {
  host.add({ name: "comfyui-gpu0", digest: "r-1", port: 9_000 });
  host.setHealth(9_000, "healthy", { isBusy: true });
  discovery = found(1);
  await machine.setManifest(manifest(), parts(), NOBODY);
  await clock.advance(10_000);
  expect(served.map(({ name, url }) => `${name} ${url}`)).toEqual([`comfyui-gpu0 ${urlOf(9_000)}`]);
  expect([machine.isOurs(urlOf(9_000)), machine.isOurs(urlOf(FIRST))]).toEqual([true, false]);
  host.jobEnds(9_000);
  await clock.advance(10_000);
  expect(served.map(({ url }) => url)).toEqual([urlOf(FIRST)]);
  expect(machine.isOurs(urlOf(9_000))).toBe(false);
  await machine.leave();
});

test("an address that one instance has and another is to have is declared once, for whoever has it", async () => {
  const [first, second] = [0, 1].map((index) => {
    host.setHealth(FIRST + index, "healthy", { isBusy: true });
    return host.add({ name: `comfyui-gpu${index}`, digest: "r-1", port: FIRST + index });
  });
  const instances = { basePort: FIRST + 1, startTimeoutSec: 60, drainSec: 30 };
  await machine.setManifest(manifest({ instances }), parts(), NOBODY);
  await clock.advance(10_000);
  const declared = (): readonly string[] => served.map(({ name, url }) => `${name} ${url}`);
  expect(declared()).toEqual([`comfyui-gpu0 ${urlOf(FIRST)}`, `comfyui-gpu1 ${urlOf(FIRST + 1)}`]);
  if (first !== undefined) host.die(first);
  await clock.advance(10_000);
  expect(declared()).toEqual([`comfyui-gpu1 ${urlOf(FIRST + 1)}`]);
  expect([FIRST, FIRST + 1, FIRST + 2].map((port) => machine.isOurs(urlOf(port)))).toEqual([
    false,
    true,
    false,
  ]);
  expect(second?.isAlive).toBe(true);
  host.jobEnds(FIRST + 1);
  await clock.advance(60_000);
  expect(declared()).toEqual([
    `comfyui-gpu0 ${urlOf(FIRST + 1)}`,
    `comfyui-gpu1 ${urlOf(FIRST + 2)}`,
  ]);
  await machine.leave();
});

test("a service that was taken out while no agent ran is ended, the instances go on", async () => {
  const old = host.add({ name: "old-api", digest: "x", port: 7_000 });
  await machine.setManifest(manifest(), parts(), NOBODY);
  await clock.advance(5_000);
  expect(old.isAlive).toBe(false);
  expect(host.ends).toEqual(["old-api removed"]);
  expect(host.alive("comfyui-gpu0")).toBe(1);
  await machine.leave();
});

test("one instance a card is started, declared to the runner and told as a service", async () => {
  await set();
  expect(host.starts.map(({ name }) => name)).toEqual(["comfyui-gpu0", "comfyui-gpu1"]);
  expect(served.map(({ url, name }) => `${name} ${url}`)).toEqual([
    `comfyui-gpu0 ${urlOf(FIRST)}`,
    `comfyui-gpu1 ${urlOf(FIRST + 1)}`,
  ]);
  expect(names()).toEqual(["comfyui", "comfyui-gpu0", "comfyui-gpu1"]);
  expect(told).toContain("serving r1");
  expect([machine.release()?.id, machine.lock()?.release]).toEqual(["r1", "r1"]);
  expect([machine.isOurs(urlOf(FIRST)), machine.isOurs(urlOf(1))]).toEqual([true, false]);
  expect(machine.problems()).toEqual([]);
});

test("without a release nothing is started, and what is linked later serves", async () => {
  linked = undefined;
  await set();
  expect(host.starts).toEqual([]);
  linked = releaseOf("r1");
  const refreshing = machine.refreshRelease(NOBODY);
  await clock.advance(5_000);
  await refreshing;
  expect(host.starts).toHaveLength(2);
});

test("an attached ComfyUI on the address of an own instance is not served twice", async () => {
  machine = makeMachine([{ url: `http://localhost:${FIRST}` }, { url: "http://other:1" }]);
  expect(machine.attached()).toHaveLength(2);
  await set();
  expect(served.map(({ url }) => url)).toEqual(["http://other:1", urlOf(FIRST), urlOf(FIRST + 1)]);
  expect(machine.attached()).toEqual([{ url: "http://other:1" }]);
  expect(machine.problems()[0]).toMatch(/is the address of comfyui-gpu0 too/);
});

test("what cannot be planned is told, and the rest serves", async () => {
  await set({ instances: { basePort: 9_089 } });
  expect(host.starts.map(({ name }) => name)).toEqual(["comfyui-gpu0"]);
  expect(machine.problems()[0]).toMatch(/comfyui-gpu1 has to listen on 9090/);
});

test("a card that is found later gets its instance, and the others go on", async () => {
  discovery = found(1);
  await set();
  const pid = alive("comfyui-gpu0")?.pid;
  discovery = found(2);
  told.length = 0;
  const planning = machine.replan(NOBODY);
  await clock.advance(5_000);
  await planning;
  expect(alive("comfyui-gpu1")).toBeDefined();
  expect(alive("comfyui-gpu0")?.pid).toBe(pid);
  expect(told).toContain("sources");
});

test("a card that is ill at the first plan has its service, and starts once it is well", async () => {
  const [one, other] = found(2).gpus;
  const fault = { index: 1, uuid: null, kind: "lost", isUsable: false } as const;
  discovery = {
    ...found(0),
    gpus: [one!],
    faults: [{ ...fault, reason: "GPU 1 has fallen off the bus", advice: "Reboot." }],
  };
  await set();
  expect(names()).toEqual(["comfyui", "comfyui-gpu0", "comfyui-gpu1"]);
  const ill = machine.sources()[2]!.facts();
  expect(decideServiceState(ill)).toMatchObject({
    state: "stopped",
    reason: expect.stringContaining("GPU 1 has fallen off the bus. Reboot."),
  });
  expect(alive("comfyui-gpu1")).toBeUndefined();
  discovery = { ...found(0), gpus: [one!, other!] };
  await machine.replan(NOBODY);
  await clock.advance(5_000);
  expect(alive("comfyui-gpu1")).toBeDefined();
  expect(decideServiceState(machine.sources()[2]!.facts()).state).toBe("healthy");
});

test("an instance that is gone from the plan is told of no more once it has ended", async () => {
  await set();
  await set({ instances: { basePort: FIRST, gpus: [0] } });
  await clock.advance(10_000);
  expect(alive("comfyui-gpu1")).toBeUndefined();
  expect(names()).toEqual(["comfyui", "comfyui-gpu0"]);
  expect(told.at(-1)).toBe("sources");
});

test("an instance of the release before is not held to what the next one promises", async () => {
  await set();
  const inventory = { nodeClasses: [], models: {} } as unknown as Inventory;
  const lacks = (): readonly (string | null)[] =>
    served.map(({ promise }) => promise?.(inventory) ?? null);
  expect(lacks()).toEqual([null, null]);
  // The next one never answers: gpu1's turn does not come.
  host.onStart = () => undefined;
  linked = releaseOf("r2", { nodeClasses: ["Upscale"] });
  const refreshing = machine.refreshRelease(NOBODY);
  await clock.advance(10_000);
  await refreshing;
  expect(lacks()).toEqual([expect.stringContaining("node Upscale"), null]);
});

test("a release that does not work in earnest is left, and the one before serves on", async () => {
  await set();
  previous = "r1";
  linked = releaseOf("r2");
  host.onStart = (process, spec) => {
    if (!spec.cwd.includes("r2") && !spec.command.includes("r2")) host.serve(process, spec);
  };
  const refreshing = machine.refreshRelease(NOBODY);
  await clock.advance(1_000);
  await refreshing;
  await clock.advance(300_000);
  expect(linked.id).toBe("r1");
  expect(told.join("\n")).toMatch(
    /release r1 serves instead of r2 \(r2 did not work: comfyui-gpu0/,
  );
  expect(machine.release()?.id).toBe("r1");
  expect(alive("comfyui-gpu0")).toBeDefined();
});

test.each([
  ["the way back of the damaged one", "r0", "r0"],
  ["nothing, where there is none", null, "r1-r2"],
])("a replacement of a damaged release is left for %s", async (_, way, serving) => {
  await set();
  previous = way;
  linked = releaseOf("r1-r2");
  host.onStart = (process, spec) => {
    if (!spec.command.includes("r1-r2")) host.serve(process, spec);
  };
  const refreshing = machine.refreshRelease(NOBODY);
  await clock.advance(1_000);
  await refreshing;
  await clock.advance(300_000);
  expect(linked.id).toBe(serving);
  expect(machine.release()?.id).toBe(serving);
});

test("a release that does not work is left too when those that were healthy are planned no more", async () => {
  // The other one is on its way still.
  host.onStart = (process, spec) => {
    if (spec.name === "comfyui-gpu0") host.serve(process, spec);
  };
  await set();
  previous = "r1";
  linked = releaseOf("r2");
  await set({ instances: { basePort: FIRST, startTimeoutSec: 60, gpus: [1] } });
  await clock.advance(300_000);
  expect(linked.id).toBe("r1");
  expect(hold?.reason).toMatch(/^comfyui-gpu1: /);
});

test("an instance that was ill before fails no release; the others are taken to it", async () => {
  host.onStart = (process, spec) => {
    if (spec.name !== "comfyui-gpu0") host.serve(process, spec);
  };
  await set();
  await clock.advance(300_000);
  previous = "r1";
  linked = releaseOf("r2");
  const refreshing = machine.refreshRelease(NOBODY);
  await clock.advance(1_000);
  await refreshing;
  await clock.advance(300_000);
  expect(linked.id).toBe("r2");
  expect(hold).toBeNull();
  const last = host.starts.findLast(({ name }) => name === "comfyui-gpu1");
  expect(last?.command).toContain("r2");
  expect(alive("comfyui-gpu1")).toBeDefined();
});

test("settings that do not work leave no release that has worked", async () => {
  linked = releaseOf("r1");
  await set();
  previous = "r1";
  linked = releaseOf("r2");
  const refreshing = machine.refreshRelease(NOBODY);
  await clock.advance(30_000);
  await refreshing;
  expect(machine.release()?.id).toBe("r2");
  host.onStart = () => undefined;
  await set({ instances: { basePort: FIRST, startTimeoutSec: 60, flags: ["--wrong"] } });
  await clock.advance(600_000);
  expect(log.lines.join()).toContain("release is not left");
  expect(machine.release()?.id).toBe("r2");
});

test("a release proves itself without an instance whose card is lost meanwhile", async () => {
  await set();
  previous = "r1";
  linked = releaseOf("r2");
  cardFault = ({ index }) => (index === 1 ? "GPU 1 has fallen off the bus" : null);
  const refreshing = machine.refreshRelease(NOBODY);
  await clock.advance(60_000);
  await refreshing;
  expect([machine.release()?.id, alive("comfyui-gpu1")]).toEqual(["r2", undefined]);
  host.onStart = () => undefined;
  await set({ instances: { basePort: FIRST, startTimeoutSec: 60, flags: ["--wrong"] } });
  await clock.advance(600_000);
  expect(log.lines.join()).toContain("release is not left");
  expect(machine.release()?.id).toBe("r2");
});

test("what cannot be read changes nothing, and the next attempt does it", async () => {
  await set();
  currentError = new Error("EIO");
  await expect(machine.refreshRelease(NOBODY)).rejects.toThrow("EIO");
  expect([machine.release()?.id, machine.lock()?.release]).toEqual(["r1", "r1"]);
  currentError = null;
  linked = releaseOf("r2");
  const refreshing = machine.refreshRelease(NOBODY);
  await clock.advance(30_000);
  await refreshing;
  expect(machine.release()?.id).toBe("r2");
});

test("services of the manifest run beside the instances, and go on over another manifest", async () => {
  const service = (name: string) => ({ name, process: { command: ["/bin/x"] } });
  await set({ services: [service("cache"), service("old")] });
  await clock.advance(10_000);
  const pid = alive("cache")?.pid;
  expect(pid).toBeDefined();
  await set({ services: [service("cache"), service("new")] });
  await clock.advance(10_000);
  expect(alive("cache")?.pid).toBe(pid);
  expect([alive("old"), alive("new")?.isAlive]).toEqual([undefined, true]);
  expect(names()).toEqual(["comfyui", "comfyui-gpu0", "comfyui-gpu1", "cache", "new"]);
});

test("a model is fetched by the manifest in force, and by nobody while that is changed", async () => {
  const name = { folder: "loras", name: "a" };
  await expect(machine.fetchModel(name, NOBODY)).rejects.toThrow(/between two manifests/);
  const fetched: string[] = [];
  await set(
    {},
    parts((model) => {
      fetched.push(model.name);
      return Promise.resolve();
    }),
  );
  await machine.fetchModel(name, NOBODY);
  expect(fetched).toEqual(["a"]);
  await machine.dropFetcher();
  await expect(machine.fetchModel(name, NOBODY)).rejects.toThrow(/between two manifests/);
});

test("a restart that recovery asks for is the supervisor's", async () => {
  await set();
  const pid = alive("comfyui-gpu0")?.pid;
  const restarting = machine.restart(urlOf(FIRST), "its memory is full", NOBODY);
  await clock.advance(10_000);
  await restarting;
  expect(alive("comfyui-gpu0")?.pid).not.toBe(pid);
  await expect(machine.restart("http://nowhere:1", "x", NOBODY)).rejects.toThrow(/comfyui-gpu0/);
});

test("a stop ends everything, the process manager too", async () => {
  await set({ services: [{ name: "cache", process: { command: ["/bin/x"] } }] });
  await clock.advance(10_000);
  const stopping = machine.stop();
  await clock.advance(60_000);
  await stopping;
  expect(host.processes.filter(({ isAlive }) => isAlive)).toEqual([]);
  expect(kills).toBe(1);
  expect(locks.isLeft).toBe(true);
});

test("what cannot be ended is told after all was tried, and its manager stays", async () => {
  await set();
  host.remove = () => Promise.reject(new Error("PM2 hangs"));
  host.terminate = () => Promise.resolve(false);
  const failure = machine.stop().catch((error: Error) => error.message);
  await clock.advance(300_000);
  expect(await failure).toMatch(/^not everything could be ended: /);
  expect(kills).toBe(0);
  expect(locks.isLeft).toBe(true);
});

test("one that is left leaves all running for the next agent", async () => {
  await set({ services: [{ name: "cache", process: { command: ["/bin/x"] } }] });
  await clock.advance(10_000);
  const leaving = machine.leave();
  await clock.advance(10_000);
  await leaving;
  expect(
    host.processes
      .filter(({ isAlive }) => isAlive)
      .map(({ name }) => name)
      .toSorted(),
  ).toEqual(["cache", "comfyui-gpu0", "comfyui-gpu1"]);
  expect([kills, host.ends]).toEqual([0, []]);
});

test("a change that is under way when the end comes is brought to its end first", async () => {
  await set();
  const stop = new AbortController();
  const refreshing = machine.refreshRelease(stop.signal).catch((error: Error) => error.message);
  stop.abort(new Error("stopping"));
  const stopping = machine.stop();
  await clock.advance(60_000);
  await stopping;
  expect(await refreshing).toBe("stopping");
  expect(host.processes.filter(({ isAlive }) => isAlive)).toEqual([]);
});
