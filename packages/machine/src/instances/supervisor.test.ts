import { describe, expect, test } from "vitest";
import { urlOf } from "../../testing/fake-host.ts";
import { gpuPlan, plan, release } from "../../testing/instance-facts.ts";
import {
  NOBODY,
  busy,
  changes,
  clock,
  digestOf,
  explainEnds,
  failureOf,
  host,
  locks,
  running,
  supervise,
  useSupervision,
} from "../../testing/supervision-kit.ts";
import type { Supervisor } from "./supervisor.ts";

useSupervision();

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
    explainEnds({ kind: "oom", words: "killed by the kernel" });
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
