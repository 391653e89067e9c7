import { seededRandom } from "@holdfast/runtime";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeHost, FakeLocks, rememberingLog, urlOf } from "../../testing/fake-host.ts";
import { gpuPlan, plan, release } from "../../testing/instance-facts.ts";
import { machinePlaces } from "../machine-places.ts";
import type { ExitCause } from "../process-manager/exit-cause.ts";
import type { ExitExplainer } from "../process-manager/exit-evidence.ts";
import type { InstancePlan, Release } from "./model.ts";
import { toProcessSpec } from "./process-spec.ts";
import { Supervisor } from "./supervisor.ts";
import type { ReleaseFailure, SupervisorPolicy } from "./supervisor-options.ts";

const places = machinePlaces("/srv/machine");
const account = { home: "/home/agent" };
const NOBODY = new AbortController().signal;

let clock: FakeClock;
let host: FakeHost;
let locks: FakeLocks;
let log: ReturnType<typeof rememberingLog>;
let failures: ReleaseFailure[];
let changes: string[];
let running: Supervisor[];
let explained: ExitCause;
const explainer: ExitExplainer = {
  note: () => Promise.resolve(),
  explain: () => Promise.resolve(explained),
};

beforeEach(() => {
  clock = createFakeClock();
  host = new FakeHost();
  locks = new FakeLocks();
  log = rememberingLog();
  failures = [];
  changes = [];
  running = [];
  explained = { kind: "unknown", words: "ended, and nothing tells how" };
});
afterEach(async () => {
  for (const supervisor of running) {
    const left = supervisor.leave();
    await clock.advance(60_000);
    await left;
  }
  if (clock.sleeperCount() > 0) throw new Error("somebody still sleeps");
});

const digestOf = (of: InstancePlan, from: Release): string =>
  toProcessSpec(of, from, places, { options: null, virtualEnv: null }, account).digest;

/** A supervisor that has had time to look at everything. */
const cardFaults = new Map<string, string>();
const cardsRunOn = new Set<string>();
beforeEach(() => {
  cardFaults.clear();
  cardsRunOn.clear();
});

async function supervise(
  plans: readonly InstancePlan[],
  from: Release | null = release(),
  policy: Partial<SupervisorPolicy> = {},
  isComplete = true,
): Promise<Supervisor> {
  const supervisor = new Supervisor({
    places,
    account,
    clock,
    random: seededRandom(1),
    log,
    manager: Object.assign(host, { kill: () => Promise.resolve() }),
    host,
    runner: host,
    files: host,
    locks,
    exits: explainer,
    cardFault: ({ uuid }) => cardFaults.get(uuid ?? "") ?? null,
    cardRunsOn: ({ uuid }) => uuid !== null && cardsRunOn.has(uuid),
    policy,
    onChange: (name) => changes.push(name),
    onReleaseFailed: (failure) => failures.push(failure),
  });
  running.push(supervisor);
  await supervisor.setDesired(plans, from, isComplete);
  await supervisor.start();
  await clock.advance(5_000);
  return supervisor;
}
/** What a promise fails with; it is watched from now on. */
const failureOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "it did not fail",
    (error: Error) => error.message,
  );
const busy = (port: number): void => host.setHealth(port, "healthy", { isBusy: true });

describe("a card that is lost", () => {
  const LOST = "GPU 0 has fallen off the bus. Reboot";

  test("ends its own instance after its job, tells why, and starts it when the card is back", async () => {
    const supervisor = await supervise([gpuPlan(0), gpuPlan(1)]);
    busy(8_188);
    cardFaults.set("GPU-00000000", LOST);
    await clock.advance(5_000);
    expect(host.paused).toEqual(new Set(["http://127.0.0.1:8188"]));
    expect(supervisor.status("comfyui-gpu0")).toMatchObject({ draining: LOST, isHindered: true });
    expect(supervisor.status("comfyui-gpu1")?.isHindered).toBe(false);
    expect(host.ends).toEqual([]);
    host.jobEnds(8_188);
    await clock.advance(600_000);
    expect(host.ends).toEqual(["comfyui-gpu0 removed"]);
    expect(supervisor.status("comfyui-gpu0")).toMatchObject({
      blocked: LOST,
      isHindered: true,
      runtime: { state: "stopped", detail: LOST },
    });
    expect(host.alive("comfyui-gpu1")).toBe(1);
    cardFaults.clear();
    await clock.advance(60_000);
    expect(supervisor.status("comfyui-gpu0")).toMatchObject({
      check: { state: "passing" },
      isHindered: false,
    });
  });

  test("at the first look already: what runs from before is neither ended nor started anew for it", async () => {
    host.add({ name: "comfyui-gpu0", digest: "from-before", port: 8_188 });
    const ill = gpuPlan(0, { cardFault: LOST, env: { CUDA_VISIBLE_DEVICES: "" } });
    const supervisor = await supervise([ill]);
    await clock.advance(60_000);
    expect([host.ends, host.starts]).toEqual([[], []]);
    cardFaults.set("GPU-00000000", LOST);
    await clock.advance(5_000);
    expect(host.ends).toHaveLength(1);
    cardFaults.clear();
    await clock.advance(60_000);
    expect(supervisor.status("comfyui-gpu0")).toMatchObject({ blocked: LOST, isHindered: true });
    const refused = failureOf(supervisor.restart("comfyui-gpu0", "now", NOBODY));
    await clock.advance(5_000);
    expect(await refused).toBe(`comfyui-gpu0 cannot be started: ${LOST}`);
    expect(host.starts).toEqual([]);
    await supervisor.setDesired([gpuPlan(0)], release());
    await clock.advance(5_000);
    expect(supervisor.status("comfyui-gpu0")?.check.state).toBe("passing");
  });

  test("that was a passing word of the driver ends nothing", async () => {
    await supervise([gpuPlan(0)]);
    busy(8_188);
    cardFaults.set("GPU-00000000", LOST);
    await clock.advance(5_000);
    cardFaults.clear();
    await clock.advance(5_000);
    host.jobEnds(8_188);
    await clock.advance(60_000);
    expect([host.ends, [...host.paused]]).toEqual([[], []]);
  });

  test("a job that hangs on it is waited for no longer than the time for draining", async () => {
    await supervise([gpuPlan(0)]);
    busy(8_188);
    cardFaults.set("GPU-00000000", LOST);
    await clock.advance(40_000);
    expect(host.ends).toEqual(["comfyui-gpu0 removed"]);
  });
});

describe("a card that wants a reset", () => {
  const RESET = "GPU 0 has to be reset. Stop what runs on it and reset it";
  beforeEach(() => {
    cardFaults.set("GPU-00000000", RESET);
    cardsRunOn.add("GPU-00000000");
  });
  const busyOnIt = async (): Promise<Supervisor> => {
    cardFaults.clear();
    const supervisor = await supervise([gpuPlan(0)]);
    busy(8_188);
    cardFaults.set("GPU-00000000", RESET);
    return supervisor;
  };

  test("gets no more work; its job is waited for while it advances", async () => {
    const supervisor = await busyOnIt();
    await clock.advance(600_000);
    expect([host.ends, [...host.paused]]).toEqual([[], [urlOf(8_188)]]);
    expect(supervisor.status("comfyui-gpu0")?.draining).toBe(RESET);
    host.jobEnds(8_188);
    await clock.advance(5_000);
    expect(host.ends).toEqual(["comfyui-gpu0 removed"]);
    expect(supervisor.status("comfyui-gpu0")?.blocked).toBe(RESET);
  });

  test("does not keep one that does nothing any more", async () => {
    await busyOnIt();
    await clock.advance(60_000);
    expect(host.ends).toEqual([]);
    host.setHealth(8_188, "healthy", { isBusy: true, isStuck: true });
    await clock.advance(5_000);
    expect(host.ends).toEqual(["comfyui-gpu0 removed"]);
  });

  test("that is lost meanwhile ends its instance in the time for draining", async () => {
    await busyOnIt();
    await clock.advance(60_000);
    expect(host.ends).toEqual([]);
    cardsRunOn.clear();
    await clock.advance(5_000);
    expect(host.ends).toEqual(["comfyui-gpu0 removed"]);
  });
});

describe("another base port", () => {
  const moved = (index: number, by: number): InstancePlan =>
    gpuPlan(index, { port: 8_188 + index + by, url: urlOf(8_188 + index + by) });
  const old = (): void => {
    host.add({ name: "comfyui-cpu0", digest: "r-1", port: 9_000 });
    busy(9_000);
  };

  test("what runs on the port of before is adopted, judged and drained there, then started anew", async () => {
    old();
    const supervisor = await supervise([plan()]);
    expect(supervisor.status("comfyui-cpu0")).toMatchObject({
      url: "http://127.0.0.1:9000",
      port: 9_000,
      runtime: { state: "running" },
      check: { state: "passing" },
    });
    await clock.advance(300_000);
    expect(host.ends).toEqual([]);
    expect(host.paused).toContain("http://127.0.0.1:9000");
    host.jobEnds(9_000);
    await clock.advance(10_000);
    expect(host.ends).toEqual(["comfyui-cpu0 removed"]);
    expect(host.of("comfyui-cpu0").port).toBe(8_188);
    expect(supervisor.status("comfyui-cpu0")?.url).toBe("http://127.0.0.1:8188");
  });

  test.each([1, 2])(
    "moved by %i, a job has its own instance restarted by its address",
    async (by) => {
      const indices = [0, 1, 2];
      for (const index of indices) {
        host.add({ name: `comfyui-gpu${index}`, digest: "r-1", port: 8_188 + index });
        busy(8_188 + index);
      }
      const supervisor = await supervise(indices.map((index) => moved(index, by)));
      // Where gpu2 runs, another one is to run.
      const restarted = supervisor.restart(urlOf(8_190), "out of memory", NOBODY);
      await clock.advance(60_000);
      expect(host.ends).toEqual(["comfyui-gpu2 removed"]);
      await restarted;
      expect(host.of("comfyui-gpu2").port).toBe(8_190 + by);
      expect([host.of("comfyui-gpu0").port, host.of("comfyui-gpu1").port]).toEqual([8_188, 8_189]);
    },
  );

  test("one that the process manager lost is found there too", async () => {
    old();
    const left = host.of("comfyui-cpu0");
    left.isManaged = false;
    await supervise([plan()]);
    await clock.advance(60_000);
    expect(host.ends).toEqual([]);
    expect(left.isAlive).toBe(true);
  });

  test("while nobody has told what is in it, it counts as busy for the time of a drain", async () => {
    old();
    host.healthOf.clear();
    await supervise([plan()]);
    await clock.advance(20_000);
    expect(host.ends).toEqual([]);
    busy(9_000);
    await clock.advance(120_000);
    expect(host.ends).toEqual([]);
  });
});

describe("starting", () => {
  test("what is planned is started, locked and told", async () => {
    const supervisor = await supervise([gpuPlan(0), gpuPlan(1)]);
    expect(host.starts.map(({ name }) => name)).toEqual(["comfyui-gpu0", "comfyui-gpu1"]);
    expect(supervisor.statuses().map(({ runtime, check }) => [runtime.state, check.state])).toEqual(
      [
        ["running", "passing"],
        ["running", "passing"],
      ],
    );
    expect(locks.recorded).toHaveLength(2);
    expect(changes).toContain("comfyui-gpu0");
  });

  test("the instant of its start is the process manager's, as the next agent will tell it", async () => {
    const start = host.start.bind(host);
    host.start = async (spec) => ({ ...(await start(spec)), startedAt: 1_234 });
    const supervisor = await supervise([plan()]);
    expect(supervisor.status("comfyui-cpu0")?.runtime.startedAt).toBe(1_234);
  });

  test("it is starting until it answers, and killed when it never does", async () => {
    host.onStart = () => undefined;
    const supervisor = await supervise([plan()]);
    expect(supervisor.status("comfyui-cpu0")).toMatchObject({
      runtime: { state: "starting", restarts: 0, detail: expect.stringMatching(/does not answer/) },
      check: { state: "pending" },
    });
    await clock.advance(59_000);
    expect(host.ends).toEqual(["comfyui-cpu0 SIGINT"]);
    await clock.advance(3_000);
    expect(host.starts).toHaveLength(2);
    expect(supervisor.status("comfyui-cpu0")?.exits).toMatchObject([
      { wasAsked: false, reason: "it does not answer 60 s after its start" },
    ]);
  });

  test("without a release nothing is started and what runs goes on", async () => {
    host.add({ name: "comfyui-cpu0", digest: "old-1", port: 8_188 });
    host.setHealth(8_188, "healthy");
    const supervisor = await supervise([plan(), plan({ name: "comfyui-cpu1", port: 8_189 })], null);
    await clock.advance(600_000);
    expect(host.starts).toEqual([]);
    expect(host.ends).toEqual([]);
    expect(supervisor.status("comfyui-cpu0")?.runtime.state).toBe("running");
    expect(supervisor.status("comfyui-cpu1")?.runtime).toMatchObject({
      state: "stopped",
      detail: "there is nothing to start it from",
    });
    await expect(supervisor.restart("comfyui-cpu0", "why not", NOBODY)).rejects.toThrow(
      /install one first/,
    );
  });

  test("a lock of another agent keeps an instance from everything, until it is given back", async () => {
    locks.refusal = "GPU-00000000 is in use by comfyui-gpu0 of the agent in /srv/other (process 7)";
    const supervisor = await supervise([gpuPlan(0)]);
    await clock.advance(30_000);
    expect(host.starts).toEqual([]);
    expect(supervisor.status("comfyui-gpu0")?.blocked).toContain("/srv/other");
    const refused = failureOf(supervisor.restart("comfyui-gpu0", "now", NOBODY));
    await clock.advance(5_000);
    expect(await refused).toMatch(/comfyui-gpu0 cannot be started: .*in use by/);
    locks.refusal = null;
    await clock.advance(10_000);
    expect(host.starts).toHaveLength(1);
  });

  test("a stranger on the port is named, and the instance starts when it has gone", async () => {
    host.strangers.set(8_188, { pid: 77, command: "python -m http.server 8188" });
    const supervisor = await supervise([plan()]);
    expect(host.starts).toEqual([]);
    const status = supervisor.status("comfyui-cpu0");
    expect(status?.runtime.state).toBe("stopped");
    expect(status?.blocked).toContain("process 77 (python -m http.server 8188)");
    expect(status?.isHindered).toBe(true);
    const refused = failureOf(supervisor.restart("comfyui-cpu0", "now", NOBODY));
    await clock.advance(5_000);
    expect(await refused).toContain("port 8188 is held by process 77");
    host.strangers.clear();
    await clock.advance(5_000);
    expect(host.starts).toHaveLength(1);
  });

  test("a process manager that is not ready is told, and asked again", async () => {
    host.managerError = new Error("pm2 could not be installed");
    const supervisor = await supervise([plan()]);
    const status = supervisor.status("comfyui-cpu0");
    expect(status?.blocked).toContain("pm2 could not be installed");
    // That will pass, and tells nothing of this very instance.
    expect(status?.isHindered).toBe(false);
    expect(supervisor.managerProblem()).toContain("pm2 could not be installed");
    host.managerError = null;
    await clock.advance(10_000);
    expect(host.starts).toHaveLength(1);
    expect(supervisor.managerProblem()).toBeNull();
  });
});

describe("what lives on", () => {
  test("a new agent adopts what runs, without a restart", async () => {
    const first = await supervise([plan()]);
    const left = first.leave();
    await clock.advance(1_000);
    await left;
    const { pid } = host.of("comfyui-cpu0");
    const second = await supervise([plan()]);
    expect(second.status("comfyui-cpu0")).toMatchObject({
      runtime: { state: "running", pid, restarts: 0 },
      isCurrent: true,
    });
    expect(host.starts).toHaveLength(1);
    expect(locks.recorded).toEqual([pid, pid]);
  });

  test("what the process manager forgot goes on serving, and is taken over when its job ends", async () => {
    const supervisor = await supervise([plan()]);
    busy(8_188);
    host.of("comfyui-cpu0").isManaged = false; // The daemon was killed, the next one knows nothing.
    await clock.advance(65_000);
    expect(supervisor.status("comfyui-cpu0")).toMatchObject({
      isManaged: false,
      draining: "its process manager does not know it and takes it over",
      check: { state: "passing" },
    });
    expect(host.ends).toEqual([]);
    host.jobEnds(8_188);
    await clock.advance(2_000);
    expect(host.ends).toEqual(["comfyui-cpu0 SIGINT"]);
    expect(host.starts).toHaveLength(2);
    expect(supervisor.status("comfyui-cpu0")).toMatchObject({ isManaged: true });
    expect(host.paused.size).toBe(0);
  });

  test("agent and process manager both died: the orphan on the port is adopted", async () => {
    const orphan = host.add({
      name: "comfyui-cpu0",
      digest: digestOf(plan(), release()),
      port: 8_188,
      isManaged: false,
    });
    busy(8_188);
    const supervisor = await supervise([plan()]);
    expect(supervisor.status("comfyui-cpu0")).toMatchObject({
      runtime: { state: "running", pid: orphan.pid },
      isManaged: false,
    });
    expect(host.starts).toEqual([]);
  });

  test("one in a long job is not ended for what a new agent cannot know yet", async () => {
    const { pid } = host.add({
      name: "comfyui-cpu0",
      digest: digestOf(plan(), release()),
      port: 8_188,
    });
    host.setHealth(8_188, "starting");
    const long = plan({ drainMs: 1_800_000 });
    const supervisor = await supervise([long]);
    expect(supervisor.status("comfyui-cpu0")).toMatchObject({
      runtime: { state: "starting", pid },
      check: { state: "pending", detail: expect.stringContaining("runs from before") },
    });
    await clock.advance(5_000);
    host.setHealth(8_188, "starting", { isBusy: true });
    await clock.advance(600_000);
    host.setHealth(8_188, "unhealthy", { isBusy: true, reason: "a check waits" });
    await clock.advance(600_000);
    expect(host.ends).toEqual([]);
  });

  test("one from an older release waits until it is known what is in it, for a limited time", async () => {
    host.add({ name: "comfyui-cpu0", digest: digestOf(plan(), release("r0")), port: 8_188 });
    host.setHealth(8_188, "starting");
    await supervise([plan()]);
    await clock.advance(15_000);
    expect(host.ends).toEqual([]);
    host.setHealth(8_188, "starting", { isBusy: true });
    await clock.advance(60_000);
    expect(host.ends).toEqual([]);
    host.jobEnds(8_188);
    await clock.advance(3_000);
    expect(host.ends).toEqual(["comfyui-cpu0 removed"]);
  });

  test("one of which nothing becomes known is started anew after the time for draining", async () => {
    host.add({ name: "comfyui-cpu0", digest: digestOf(plan(), release("r0")), port: 8_188 });
    host.setHealth(8_188, "starting");
    await supervise([plan()]);
    await clock.advance(32_000);
    expect(host.ends).toEqual(["comfyui-cpu0 removed"]);
  });

  test("an orphan that does not listen is ended before the start", async () => {
    host.add({
      name: "comfyui-cpu0",
      digest: "x",
      port: 8_188,
      isManaged: false,
      isListening: false,
    });
    await supervise([plan()]);
    expect(host.ends).toEqual(["comfyui-cpu0 SIGINT"]);
    expect(host.alive("comfyui-cpu0")).toBe(1);
    expect(host.starts).toHaveLength(1);
  });

  test("what of an earlier plan cannot be ended is tried again; the others are ended at once", async () => {
    host.add({ name: "comfyui-gpu0", digest: "x", port: 8_190 });
    host.add({ name: "comfyui-gpu1", digest: "x", port: 8_191 });
    host.add({ name: "comfyui-gpu2", digest: "x", port: 8_192, isManaged: false });
    host.add({ name: "comfyui-gpu3", digest: "x", port: 8_193, isManaged: false });
    let isIll = true;
    let tries = 0;
    const [remove, terminate] = [host.remove.bind(host), host.terminate.bind(host)];
    host.remove = (name) => {
      if (name !== "comfyui-gpu0") return remove(name);
      tries += 1;
      return isIll ? Promise.reject(new Error("it hangs")) : remove(name);
    };
    const gpu0 = host.of("comfyui-gpu0").pid;
    const gpu2 = host.of("comfyui-gpu2").pid;
    host.terminate = (pid, startTime, graceMs) =>
      isIll && (pid === gpu2 || pid === gpu0)
        ? Promise.resolve(false)
        : terminate(pid, startTime, graceMs);
    await supervise([plan()]);
    expect(host.ends.toSorted()).toEqual(["comfyui-gpu1 removed", "comfyui-gpu3 SIGINT"]);
    await clock.advance(120_000);
    expect(tries).toBeGreaterThan(3);
    expect(tries).toBeLessThan(12);
    isIll = false;
    await clock.advance(120_000);
    expect(host.ends.slice(2)).toEqual(["comfyui-gpu0 removed", "comfyui-gpu2 SIGINT"]);
    const done = tries;
    await clock.advance(300_000);
    expect(tries).toBe(done);
  });

  test("by a plan that is not complete nothing else is ended; by one that is, it is", async () => {
    host.add({ name: "comfyui-gpu0", digest: "x", port: 8_188 });
    host.add({ name: "comfyui-gpu1", digest: "x", port: 8_189, isManaged: false });
    const supervisor = await supervise([], release(), {}, false);
    await clock.advance(120_000);
    // Not for its port either.
    await supervisor.setDesired([plan({ port: 8_188 })], release(), false);
    await clock.advance(120_000);
    expect(host.ends).toEqual([]);
    expect(supervisor.status("comfyui-cpu0")?.blocked).toMatch(/comfyui-gpu0/);
    await supervisor.setDesired([], release());
    await clock.advance(5_000);
    expect(host.ends.toSorted()).toEqual(["comfyui-gpu0 removed", "comfyui-gpu1 SIGINT"]);
  });

  test("instances of an earlier plan are ended, other processes are not", async () => {
    host.add({ name: "comfyui-gpu5", digest: "x", port: 9_000 });
    host.add({ name: "comfyui-gpu6", digest: "x", port: 9_001, isManaged: false });
    host.add({ name: "mlflow", digest: "x", port: 9_002 });
    // Only what carries an instance's name is found by its environment.
    const all = host.instances.bind(host);
    host.instances = async () =>
      (await all()).filter(({ instance }) => instance.startsWith("comfyui"));
    await supervise([plan()]);
    expect(host.ends.sort()).toEqual(["comfyui-gpu5 removed", "comfyui-gpu6 SIGINT"]);
    expect(host.alive("mlflow")).toBe(1);
  });
});

describe("failing", () => {
  test("a killed instance comes back after a pause, with the process manager asked first", async () => {
    const supervisor = await supervise([plan()]);
    const asked = host.lists;
    host.die(host.of("comfyui-cpu0"));
    await clock.advance(900);
    expect(host.starts).toHaveLength(1);
    await clock.advance(5_000);
    expect(host.lists).toBeGreaterThan(asked);
    expect(host.lists).toBeLessThanOrEqual(asked + 2);
    expect(host.starts).toHaveLength(2);
    expect(supervisor.status("comfyui-cpu0")).toMatchObject({
      runtime: { state: "running", restarts: 1 },
      exits: [{ wasAsked: false }],
    });
  });

  test("one that dies at once ends in a crash loop, is tried seldom, and by hand", async () => {
    host.onStart = (process) => host.die(process);
    const supervisor = await supervise([plan()]);
    await clock.advance(60_000);
    expect(host.starts).toHaveLength(5);
    const status = supervisor.status("comfyui-cpu0");
    expect(status?.runtime.state).toBe("crash_loop");
    expect(status?.nextStartAt).toBeGreaterThan(clock.now() + 500_000);
    await clock.advance(600_000);
    expect(host.starts).toHaveLength(6);
    const failed = failureOf(supervisor.restart(urlOf(8_188), "by hand", NOBODY));
    await clock.advance(2_000);
    expect(await failed).toContain("comfyui-cpu0 failed: it ended at its start");
    expect(host.starts).toHaveLength(7);
    host.onStart = (process, spec) => host.serve(process, spec);
    const restarted = supervisor.restart("comfyui-cpu0", "mended", NOBODY);
    await clock.advance(2_000);
    await restarted;
    await clock.advance(61_000);
    expect(supervisor.status("comfyui-cpu0")?.runtime.state).toBe("running");
  });

  test("a zombie is killed although it is busy; one that a restart cannot mend is not", async () => {
    const supervisor = await supervise([plan(), plan({ name: "comfyui-cpu1", port: 8_189 })]);
    host.setHealth(8_188, "unhealthy", {
      reason: "its queue stands still",
      isBusy: true,
      isStuck: true,
    });
    host.setHealth(8_189, "unhealthy", { reason: "lacks x", isMendedByRestart: false });
    await clock.advance(29_000);
    expect(host.ends).toEqual([]);
    expect(supervisor.status("comfyui-cpu0")?.check).toMatchObject({
      state: "failing",
      detail: "its queue stands still",
    });
    await clock.advance(600_000);
    expect(host.ends).toEqual(["comfyui-cpu0 SIGINT"]);
    expect(supervisor.status("comfyui-cpu1")?.check.state).toBe("failing");
  });

  test("over its memory limit it is killed at once, over the other one only between jobs", async () => {
    const limits = { recycleAboveBytes: 1_000, memoryLimitBytes: 2_000 };
    const supervisor = await supervise([plan(limits)], release(), { recycleRestMs: 0 });
    busy(8_188);
    host.of("comfyui-cpu0").memoryBytes = 1_500;
    await clock.advance(120_000);
    expect(host.ends).toEqual([]);
    expect(supervisor.status("comfyui-cpu0")?.draining).toContain("its memory grew");
    host.jobEnds(8_188);
    await clock.advance(2_000);
    expect(host.ends).toEqual(["comfyui-cpu0 removed"]);
    expect(supervisor.status("comfyui-cpu0")?.exits.at(-1)?.wasAsked).toBe(true);
    busy(8_188);
    host.of("comfyui-cpu0").memoryBytes = 2_500;
    await clock.advance(12_000);
    expect(host.ends).toEqual(["comfyui-cpu0 removed", "comfyui-cpu0 SIGKILL"]);
  });
});

describe("a new start by hand", () => {
  test("waits for the job, and resolves when it is healthy", async () => {
    const supervisor = await supervise([plan()]);
    busy(8_188);
    let isDone = false;
    const restarted = supervisor.restart("comfyui-cpu0", "new driver", NOBODY).then(() => {
      isDone = true;
    });
    await clock.advance(10_000);
    expect(host.ends).toEqual([]);
    host.onStart = () => undefined;
    host.jobEnds(8_188);
    await clock.advance(3_000);
    expect(host.ends).toEqual(["comfyui-cpu0 removed"]);
    expect(isDone).toBe(false);
    host.serve(host.of("comfyui-cpu0"), host.starts.at(-1) ?? { args: [] });
    await clock.advance(2_000);
    await restarted;
    expect(supervisor.status("comfyui-cpu0")?.exits.at(-1)).toMatchObject({ wasAsked: true });
  });

  test("waits no longer than the time for draining", async () => {
    const supervisor = await supervise([plan()]);
    busy(8_188);
    const restarted = supervisor.restart("comfyui-cpu0", "new driver", NOBODY);
    await clock.advance(32_000);
    await restarted;
    expect(host.ends).toEqual(["comfyui-cpu0 removed"]);
  });

  test("throws when it does not become healthy, or is unknown; the signal ends the waiting", async () => {
    const supervisor = await supervise([plan()]);
    await expect(supervisor.restart("comfyui-gpu9", "x", NOBODY)).rejects.toThrow(
      "expected one of the instances (comfyui-cpu0), found comfyui-gpu9",
    );
    host.onStart = (process) => {
      process.isListening = true;
      host.setHealth(8_188, "unhealthy", { reason: "lacks KSampler", isMendedByRestart: false });
    };
    const failed = failureOf(supervisor.restart("comfyui-cpu0", "x", NOBODY));
    await clock.advance(65_000);
    expect(await failed).toBe("comfyui-cpu0 was not healthy 60 s after its start: lacks KSampler");
    const patience = new AbortController();
    const waiting = failureOf(supervisor.restart("comfyui-cpu0", "x", patience.signal));
    patience.abort(new Error("no patience"));
    expect(await waiting).toBe("no patience");
  });
});

describe("another release", () => {
  test("one instance after the other, each when its job is over and the one before serves", async () => {
    const supervisor = await supervise([gpuPlan(0), gpuPlan(1), gpuPlan(2)]);
    busy(8_188);
    busy(8_189);
    busy(8_190);
    host.onStart = () => undefined;
    await supervisor.setDesired([gpuPlan(0), gpuPlan(1), gpuPlan(2)], release("r2"));
    await clock.advance(100_000);
    expect(host.ends).toEqual([]);
    expect([...host.paused]).toEqual([urlOf(8_188)]);
    host.jobEnds(8_188);
    await clock.advance(20_000);
    expect(host.ends).toEqual(["comfyui-gpu0 removed"]);
    expect(host.paused.size).toBe(0);
    host.serve(host.of("comfyui-gpu0"), host.starts.at(-1) ?? { args: [] });
    await clock.advance(5_000);
    expect([...host.paused]).toEqual([urlOf(8_189)]);
    host.onStart = (process, spec) => host.serve(process, spec);
    host.jobEnds(8_189);
    await clock.advance(5_000);
    host.jobEnds(8_190);
    await clock.advance(5_000);
    expect(supervisor.statuses().every(({ isCurrent }) => isCurrent)).toBe(true);
    expect(failures).toEqual([]);
  });

  test("one that does not come up stops the roll; the others go on, also through a crash", async () => {
    const plans = [gpuPlan(0), gpuPlan(1)];
    const supervisor = await supervise(plans);
    const old = host.of("comfyui-gpu1").digest;
    host.onStart = (process, spec) => {
      if (spec.cwd.includes("/r1/")) host.serve(process, spec);
    };
    await supervisor.setDesired(plans, release("r2"));
    await clock.advance(30_000);
    host.die(host.of("comfyui-gpu1"));
    await clock.advance(20_000);
    expect(host.of("comfyui-gpu1").digest).toBe(old);
    await clock.advance(120_000);
    expect(failures).toEqual([
      { release: "r2", instance: "comfyui-gpu0", reason: expect.stringContaining("60 s") },
    ]);
    expect(host.of("comfyui-gpu1").digest).toBe(old);
    expect(supervisor.status("comfyui-gpu1")?.check.state).toBe("passing");
    await supervisor.setDesired(plans, release("r1"));
    await clock.advance(30_000);
    expect(supervisor.statuses().map(({ check }) => check.state)).toEqual(["passing", "passing"]);
    expect(host.of("comfyui-gpu1").digest).toBe(old);
    expect(failures).toHaveLength(1);
  });

  test.each(["card", "lock"])(
    "whose turn is cut off by its %s condemns no release: the next one has its turn",
    async (what) => {
      const supervisor = await supervise([gpuPlan(0), gpuPlan(1)]);
      host.onStart = (process, spec) => {
        if (spec.name === "comfyui-gpu1") host.serve(process, spec);
      };
      const isLocked = what === "lock";
      const plans = [gpuPlan(0, isLocked ? { port: 9_000, url: urlOf(9_000) } : {}), gpuPlan(1)];
      if (isLocked) locks.refusalOf.set("comfyui-gpu0", "held by another");
      await supervisor.setDesired(plans, release("r2"));
      await clock.advance(10_000);
      if (!isLocked) cardFaults.set("GPU-00000000", "GPU 0 has fallen off the bus. Reboot");
      await clock.advance(300_000);
      expect(failures).toEqual([]);
      expect(supervisor.status("comfyui-gpu1")).toMatchObject({
        isCurrent: true,
        check: { state: "passing" },
      });
      expect(host.of("comfyui-gpu1").digest).toBe(digestOf(gpuPlan(1), release("r2")));
    },
  );

  test("a change that is taken back ends the drain", async () => {
    const supervisor = await supervise([plan()]);
    busy(8_188);
    await supervisor.setDesired([plan()], release("r2"));
    await clock.advance(5_000);
    expect(host.paused.size).toBe(1);
    await supervisor.setDesired([plan()], release("r1"));
    await clock.advance(5_000);
    expect(host.paused.size).toBe(0);
    expect(host.ends).toEqual([]);
  });

  test("ports that change hands are given on", async () => {
    const supervisor = await supervise([gpuPlan(0), gpuPlan(1)]);
    await supervisor.setDesired(
      [gpuPlan(0, { port: 8_189 }), gpuPlan(1, { port: 8_188 })].map((one) => ({
        ...one,
        url: urlOf(one.port),
      })),
      release(),
    );
    await clock.advance(60_000);
    expect(supervisor.statuses().map(({ isCurrent, check }) => [isCurrent, check.state])).toEqual([
      [true, "passing"],
      [true, "passing"],
    ]);
    expect(failures).toEqual([]);
  });

  test("an instance that is no longer in the plan is drained, ended and forgotten", async () => {
    const supervisor = await supervise([gpuPlan(0), gpuPlan(1)]);
    busy(8_189);
    await supervisor.setDesired([gpuPlan(0)], release());
    await clock.advance(5_000);
    expect(host.alive("comfyui-gpu1")).toBe(1);
    host.jobEnds(8_189);
    await clock.advance(5_000);
    expect(host.alive("comfyui-gpu1")).toBe(0);
    expect(supervisor.statuses().map(({ name }) => name)).toEqual(["comfyui-gpu0"]);
    expect(JSON.stringify(locks.kept)).not.toContain("8189");
  });
});

describe("a process that ended", () => {
  const reasons = (supervisor: Supervisor): unknown =>
    supervisor.status("comfyui-cpu0")?.exits.map(({ reason }) => reason);
  /** The manager lists the ended one too, as PM2 does until it is removed or started anew. */
  const listEnded = (): void => {
    const list = host.list.bind(host);
    host.list = async () => {
      const living = await list();
      if (living.length > 0) return living;
      const more = { digest: null, startedAt: null, exitCode: 0 };
      return [{ ...more, name: "comfyui-cpu0", state: "stopped", pid: null }];
    };
  };

  test("has the reason that was found out", async () => {
    explained = { kind: "oom", words: "killed by the kernel" };
    const supervisor = await supervise([plan()]);
    listEnded();
    host.die(host.of("comfyui-cpu0"));
    await clock.advance(10_000);
    expect(host.alive("comfyui-cpu0")).toBe(1);
    expect(reasons(supervisor)).toEqual(["killed by the kernel"]);
  });

  test("keeps what was seen where nothing can be found out", async () => {
    const supervisor = await supervise([plan()]);
    listEnded();
    host.die(host.of("comfyui-cpu0"));
    await clock.advance(10_000);
    expect(reasons(supervisor)).toEqual([
      "its process ended by itself, or was killed from outside",
    ]);
  });
});

describe("the end", () => {
  test("all are drained, then ended", async () => {
    const supervisor = await supervise([gpuPlan(0), gpuPlan(1)]);
    busy(8_188);
    const stopped = supervisor.stop();
    await clock.advance(10_000);
    expect(host.ends).toEqual([]);
    expect(host.paused.size).toBe(2);
    host.jobEnds(8_188);
    await clock.advance(1_000);
    await stopped;
    expect(host.ends).toEqual(["comfyui-gpu1 removed", "comfyui-gpu0 removed"]);
    expect(locks.isLeft).toBe(true);
    expect(supervisor.statuses().map(({ runtime }) => runtime.state)).toEqual([
      "stopped",
      "stopped",
    ]);
  });

  test("one that takes its time does not hold up the end of the others", async () => {
    const supervisor = await supervise([gpuPlan(0), gpuPlan(1)]);
    const remove = host.remove.bind(host);
    let letGo = (): void => undefined;
    const slow = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    host.remove = async (name) => {
      if (name === "comfyui-gpu1") await slow;
      await remove(name);
    };
    const stopped = supervisor.stop();
    await clock.advance(1_000);
    expect(host.ends).toEqual(["comfyui-gpu0 removed"]);
    expect(supervisor.status("comfyui-gpu1")?.runtime).toMatchObject({
      state: "stopping",
      detail: "the machine is being stopped",
    });
    letGo();
    await stopped;
    expect(host.ends).toEqual(["comfyui-gpu0 removed", "comfyui-gpu1 removed"]);
  });

  test("instances that another agent holds are left alone", async () => {
    host.add({ name: "comfyui-cpu0", digest: "x", port: 8_188 });
    locks.refusal = "held by another";
    const supervisor = await supervise([plan()]);
    expect(supervisor.status("comfyui-cpu0")?.isHindered).toBe(true);
    await supervisor.stop();
    expect(host.ends).toEqual([]);
    expect(host.alive("comfyui-cpu0")).toBe(1);
  });

  test("one that cannot be ended does not keep the others from it", async () => {
    const supervisor = await supervise([gpuPlan(0), gpuPlan(1)]);
    host.managerError = new Error("gone");
    const terminate = host.terminate.bind(host);
    host.terminate = (pid, startTime, graceMs) =>
      pid === host.of("comfyui-gpu0").pid && host.alive("comfyui-gpu1") === 0
        ? Promise.resolve(false)
        : terminate(pid, startTime, graceMs);
    await expect(supervisor.stop()).rejects.toThrow("some instances could not be ended");
    expect(host.ends).toEqual(["comfyui-gpu1 SIGINT"]);
    running.splice(0); // Its end has been told.
  });
});

test("with nothing to do the process manager is asked once a minute, and nothing is scanned", async () => {
  await supervise([gpuPlan(0), gpuPlan(1)]);
  const { lists, scans } = host;
  await clock.advance(600_000);
  expect(host.lists - lists).toBeLessThanOrEqual(10);
  expect(host.scans).toBe(scans);
});
