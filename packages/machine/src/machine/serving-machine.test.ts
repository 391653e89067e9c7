import { afterEach, beforeEach, expect, test } from "vitest";
import { urlOf } from "../../testing/fake-host.ts";
import { release as releaseOf } from "../../testing/instance-facts.ts";
import { FIRST, found, manifest, NOBODY, ServingKit } from "../../testing/serving-kit.ts";
import { decideServiceState } from "../services/service-state.ts";

let kit: ServingKit;

beforeEach(() => {
  kit = new ServingKit();
});
afterEach(async () => await kit.close());

test("an instance on the port of before is served there, and on the new one once it is started anew", async () => {
  kit.host.add({ name: "comfyui-gpu0", digest: "r-1", port: 9_000 });
  kit.host.setHealth(9_000, "healthy", { isBusy: true });
  kit.discovery = found(1);
  await kit.machine.setManifest(manifest(), kit.parts(), NOBODY);
  await kit.clock.advance(10_000);
  expect(kit.served.map(({ name, url }) => `${name} ${url}`)).toEqual([
    `comfyui-gpu0 ${urlOf(9_000)}`,
  ]);
  expect([kit.machine.isOurs(urlOf(9_000)), kit.machine.isOurs(urlOf(FIRST))]).toEqual([
    true,
    false,
  ]);
  kit.host.jobEnds(9_000);
  await kit.clock.advance(10_000);
  expect(kit.served.map(({ url }) => url)).toEqual([urlOf(FIRST)]);
  expect(kit.machine.isOurs(urlOf(9_000))).toBe(false);
  await kit.machine.leave();
});

test("an address that one instance has and another is to have is declared once, for whoever has it", async () => {
  const [first, second] = [0, 1].map((index) => {
    kit.host.setHealth(FIRST + index, "healthy", { isBusy: true });
    return kit.host.add({ name: `comfyui-gpu${index}`, digest: "r-1", port: FIRST + index });
  });
  const instances = { basePort: FIRST + 1, startTimeoutSec: 60, drainSec: 30 };
  await kit.machine.setManifest(manifest({ instances }), kit.parts(), NOBODY);
  await kit.clock.advance(10_000);
  const declared = (): readonly string[] => kit.served.map(({ name, url }) => `${name} ${url}`);
  expect(declared()).toEqual([`comfyui-gpu0 ${urlOf(FIRST)}`, `comfyui-gpu1 ${urlOf(FIRST + 1)}`]);
  if (first !== undefined) kit.host.die(first);
  await kit.clock.advance(10_000);
  expect(declared()).toEqual([`comfyui-gpu1 ${urlOf(FIRST + 1)}`]);
  expect([FIRST, FIRST + 1, FIRST + 2].map((port) => kit.machine.isOurs(urlOf(port)))).toEqual([
    false,
    true,
    false,
  ]);
  expect(second?.isAlive).toBe(true);
  kit.host.jobEnds(FIRST + 1);
  await kit.clock.advance(60_000);
  expect(declared()).toEqual([
    `comfyui-gpu0 ${urlOf(FIRST + 1)}`,
    `comfyui-gpu1 ${urlOf(FIRST + 2)}`,
  ]);
  await kit.machine.leave();
});

test("a service that was taken out while no agent ran is ended, the instances go on", async () => {
  const old = kit.host.add({ name: "old-api", digest: "x", port: 7_000 });
  await kit.machine.setManifest(manifest(), kit.parts(), NOBODY);
  await kit.clock.advance(5_000);
  expect(old.isAlive).toBe(false);
  expect(kit.host.ends).toEqual(["old-api removed"]);
  expect(kit.host.alive("comfyui-gpu0")).toBe(1);
  await kit.machine.leave();
});

test("one instance a card is started, declared to the runner and told as a service", async () => {
  await kit.set();
  expect(kit.host.starts.map(({ name }) => name)).toEqual(["comfyui-gpu0", "comfyui-gpu1"]);
  expect(kit.served.map(({ url, name }) => `${name} ${url}`)).toEqual([
    `comfyui-gpu0 ${urlOf(FIRST)}`,
    `comfyui-gpu1 ${urlOf(FIRST + 1)}`,
  ]);
  expect(kit.names()).toEqual(["comfyui", "comfyui-gpu0", "comfyui-gpu1"]);
  expect(kit.told).toContain("serving r1");
  expect([kit.machine.release()?.id, kit.machine.lock()?.release]).toEqual(["r1", "r1"]);
  expect([kit.machine.isOurs(urlOf(FIRST)), kit.machine.isOurs(urlOf(1))]).toEqual([true, false]);
  expect(kit.machine.problems()).toEqual([]);
});

test("without a release nothing is started, and what is linked later serves", async () => {
  kit.linked = undefined;
  await kit.set();
  expect(kit.host.starts).toEqual([]);
  kit.linked = releaseOf("r1");
  await kit.refresh(5_000);
  expect(kit.host.starts).toHaveLength(2);
});

test("an attached ComfyUI on the address of an own instance is not served twice", async () => {
  kit.machine = kit.makeMachine([{ url: `http://localhost:${FIRST}` }, { url: "http://other:1" }]);
  expect(kit.machine.attached()).toHaveLength(2);
  await kit.set();
  expect(kit.served.map(({ url }) => url)).toEqual([
    "http://other:1",
    urlOf(FIRST),
    urlOf(FIRST + 1),
  ]);
  expect(kit.machine.attached()).toEqual([{ url: "http://other:1" }]);
  expect(kit.machine.problems()[0]).toMatch(/is the address of comfyui-gpu0 too/);
});

test("what cannot be planned is told, and the rest serves", async () => {
  await kit.set({ instances: { basePort: 9_089 } });
  expect(kit.host.starts.map(({ name }) => name)).toEqual(["comfyui-gpu0"]);
  expect(kit.machine.problems()[0]).toMatch(/comfyui-gpu1 has to listen on 9090/);
});

test("a card that is found later gets its instance, and the others go on", async () => {
  kit.discovery = found(1);
  await kit.set();
  const pid = kit.alive("comfyui-gpu0")?.pid;
  kit.discovery = found(2);
  kit.told.length = 0;
  const planning = kit.machine.replan(NOBODY);
  await kit.clock.advance(5_000);
  await planning;
  expect(kit.alive("comfyui-gpu1")).toBeDefined();
  expect(kit.alive("comfyui-gpu0")?.pid).toBe(pid);
  expect(kit.told).toContain("sources");
});

test("a card that is ill at the first plan has its service, and starts once it is well", async () => {
  const [one, other] = found(2).gpus;
  const fault = { index: 1, uuid: null, kind: "lost", isUsable: false } as const;
  kit.discovery = {
    ...found(0),
    gpus: [one!],
    faults: [{ ...fault, reason: "GPU 1 has fallen off the bus", advice: "Reboot." }],
  };
  await kit.set();
  expect(kit.names()).toEqual(["comfyui", "comfyui-gpu0", "comfyui-gpu1"]);
  const ill = kit.machine.sources()[2]!.facts();
  expect(decideServiceState(ill)).toMatchObject({
    state: "stopped",
    reason: expect.stringContaining("GPU 1 has fallen off the bus. Reboot."),
  });
  expect(kit.alive("comfyui-gpu1")).toBeUndefined();
  kit.discovery = { ...found(0), gpus: [one!, other!] };
  await kit.machine.replan(NOBODY);
  await kit.clock.advance(5_000);
  expect(kit.alive("comfyui-gpu1")).toBeDefined();
  expect(decideServiceState(kit.machine.sources()[2]!.facts()).state).toBe("healthy");
});

test("an instance that is gone from the plan is told of no more once it has ended", async () => {
  await kit.set();
  await kit.set({ instances: { basePort: FIRST, gpus: [0] } });
  await kit.clock.advance(10_000);
  expect(kit.alive("comfyui-gpu1")).toBeUndefined();
  expect(kit.names()).toEqual(["comfyui", "comfyui-gpu0"]);
  expect(kit.told.at(-1)).toBe("sources");
});

test("services of the manifest run beside the instances, and go on over another manifest", async () => {
  const service = (name: string) => ({ name, process: { command: ["/bin/x"] } });
  await kit.set({ services: [service("cache"), service("old")] });
  await kit.clock.advance(10_000);
  const pid = kit.alive("cache")?.pid;
  expect(pid).toBeDefined();
  await kit.set({ services: [service("cache"), service("new")] });
  await kit.clock.advance(10_000);
  expect(kit.alive("cache")?.pid).toBe(pid);
  expect([kit.alive("old"), kit.alive("new")?.isAlive]).toEqual([undefined, true]);
  expect(kit.names()).toEqual(["comfyui", "comfyui-gpu0", "comfyui-gpu1", "cache", "new"]);
});

test("a model is fetched by the manifest in force, and by nobody while that is changed", async () => {
  const name = { folder: "loras", name: "a" };
  await expect(kit.machine.fetchModel(name, NOBODY)).rejects.toThrow(/between two manifests/);
  const fetched: string[] = [];
  await kit.set(
    {},
    kit.parts((model) => {
      fetched.push(model.name);
      return Promise.resolve();
    }),
  );
  await kit.machine.fetchModel(name, NOBODY);
  expect(fetched).toEqual(["a"]);
  await kit.machine.dropFetcher();
  await expect(kit.machine.fetchModel(name, NOBODY)).rejects.toThrow(/between two manifests/);
});

test("a restart that recovery asks for is the supervisor's", async () => {
  await kit.set();
  const pid = kit.alive("comfyui-gpu0")?.pid;
  const restarting = kit.machine.restart(urlOf(FIRST), "its memory is full", NOBODY);
  await kit.clock.advance(10_000);
  await restarting;
  expect(kit.alive("comfyui-gpu0")?.pid).not.toBe(pid);
  await expect(kit.machine.restart("http://nowhere:1", "x", NOBODY)).rejects.toThrow(
    /comfyui-gpu0/,
  );
});

test("a stop ends everything, the process manager too", async () => {
  await kit.set({ services: [{ name: "cache", process: { command: ["/bin/x"] } }] });
  await kit.clock.advance(10_000);
  const stopping = kit.machine.stop();
  await kit.clock.advance(60_000);
  await stopping;
  expect(kit.host.processes.filter(({ isAlive }) => isAlive)).toEqual([]);
  expect(kit.kills).toBe(1);
  expect(kit.locks.isLeft).toBe(true);
});

test("what cannot be ended is told after all was tried, and its manager stays", async () => {
  await kit.set();
  kit.host.remove = () => Promise.reject(new Error("PM2 hangs"));
  kit.host.terminate = () => Promise.resolve(false);
  const failure = kit.machine.stop().catch((error: Error) => error.message);
  await kit.clock.advance(300_000);
  expect(await failure).toMatch(/^not everything could be ended: /);
  expect(kit.kills).toBe(0);
  expect(kit.locks.isLeft).toBe(true);
});

test("one that is left leaves all running for the next agent", async () => {
  await kit.set({ services: [{ name: "cache", process: { command: ["/bin/x"] } }] });
  await kit.clock.advance(10_000);
  const leaving = kit.machine.leave();
  await kit.clock.advance(10_000);
  await leaving;
  expect(
    kit.host.processes
      .filter(({ isAlive }) => isAlive)
      .map(({ name }) => name)
      .toSorted(),
  ).toEqual(["cache", "comfyui-gpu0", "comfyui-gpu1"]);
  expect([kit.kills, kit.host.ends]).toEqual([0, []]);
});

test("a change that is under way when the end comes is brought to its end first", async () => {
  await kit.set();
  const stop = new AbortController();
  const refreshing = kit.machine.refreshRelease(stop.signal).catch((error: Error) => error.message);
  stop.abort(new Error("stopping"));
  const stopping = kit.machine.stop();
  await kit.clock.advance(60_000);
  await stopping;
  expect(await refreshing).toBe("stopping");
  expect(kit.host.processes.filter(({ isAlive }) => isAlive)).toEqual([]);
});
