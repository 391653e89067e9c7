import { seededRandom } from "@holdfast/runtime";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, describe, expect, test } from "vitest";
import type { ManagedProcess, ProcessManager, ProcessSpec } from "../process-manager/model.ts";
import { createHttpCheck, type HttpCheck } from "./http-check.ts";
import type { ServiceState } from "./model.ts";
import type { ProcessHost } from "./process-host.ts";
import { createProcessService, type ProcessService } from "./process-service.ts";
import { decideServiceState } from "./service-state.ts";

const log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** A manager and an operating system that agree on which pids live. */
const createWorld = () => {
  const clock = createFakeClock();
  const calls: string[] = [];
  const alive = new Set<number>();
  const listed = new Map<string, ManagedProcess>();
  const world = {
    clock,
    calls,
    alive,
    listed,
    lists: 0,
    nextPid: 100,
    specs: [] as ProcessSpec[],
    fails: undefined as string | undefined,
    missing: undefined as string | undefined,
    states: new Map<string, ServiceState>(),
    changes: 0,
    /** Ends the process as a crash does; the manager knows. */
    crash(name: string, exitCode: number | null = 1) {
      const process = listed.get(name);
      if (typeof process?.pid !== "number") throw new Error("does not run");
      alive.delete(process.pid);
      listed.set(name, { ...process, state: "errored", pid: null, exitCode });
    },
  };
  const refuse = (): void => {
    if (world.fails !== undefined) throw new Error(world.fails);
  };
  const manager: ProcessManager = {
    ensureReady: async () => refuse(),
    list: async () => {
      world.lists += 1;
      refuse();
      return [...listed.values()];
    },
    start: async (spec) => {
      refuse();
      calls.push(`start ${spec.name}`);
      world.specs.push(spec);
      const pid = (world.nextPid += 1);
      alive.add(pid);
      const process: ManagedProcess = {
        name: spec.name,
        state: "online",
        pid,
        digest: spec.digest,
        startedAt: clock.now(),
        exitCode: null,
      };
      listed.set(spec.name, process);
      return process;
    },
    remove: async (name) => {
      refuse();
      calls.push(`remove ${name}`);
      const pid = listed.get(name)?.pid;
      if (typeof pid === "number") alive.delete(pid);
      listed.delete(name);
    },
    reopenLogs: async () => undefined,
    kill: async () => undefined,
  };
  const host: ProcessHost = {
    findCommand: async (command) =>
      world.missing === undefined
        ? { kind: "found", path: `/bin/${command}` }
        : { kind: "missing", reason: world.missing },
    makeFolder: async (path) => void calls.push(`folder ${path}`),
    startTime: async (pid) => `t${pid}`,
    isSame: async (pid) => alive.has(pid),
    end: async (pid) => {
      calls.push(`end ${pid}`);
      alive.delete(pid);
    },
  };
  return { ...world, world, manager, host };
};
type World = ReturnType<typeof createWorld>;

const services: ProcessService[] = [];
afterEach(async () => {
  for (const service of services.splice(0)) await service.letGo();
});

const make = (
  { world, manager, host }: World,
  over: { dependsOn?: string[]; env?: Record<string, string>; check?: HttpCheck } = {},
): ProcessService => {
  const service = createProcessService({
    service: { name: "web", dependsOn: over.dependsOn ?? [] },
    process: { command: ["serve", "--port", "1"], env: over.env ?? { A: "1" }, stopTimeoutSec: 10 },
    check: over.check ?? null,
    manager,
    host,
    clock: world.clock,
    random: seededRandom(1),
    log,
    folder: "/machine/services",
    baseEnv: { PATH: "/bin" },
    stateOf: (name) => world.states.get(name),
    onChange: () => void (world.changes += 1),
  });
  services.push(service);
  return service;
};
const told = (service: ProcessService) => decideServiceState(service.source.facts());

describe("a process of the manifest", () => {
  test("is started with its whole environment and its own logs, and is healthy", async () => {
    const { world, ...rest } = createWorld();
    const service = make({ world, ...rest });
    expect(told(service)).toEqual({ state: "stopped", reason: "not running: not started yet" });
    await service.start();
    await world.clock.advance(0);
    expect(told(service).state).toBe("healthy");
    expect(world.specs[0]).toMatchObject({
      name: "web",
      command: "/bin/serve",
      args: ["--port", "1"],
      cwd: "/machine/services",
      env: { PATH: "/bin", A: "1" },
      outFile: "/machine/services/web/out.log",
      errorFile: "/machine/services/web/error.log",
      stopTimeoutMs: 10_000,
    });
    expect(world.calls).toEqual(["folder /machine/services/web", "start web"]);
    expect(service.source.facts().runtime).toMatchObject({
      state: "running",
      pid: 101,
      restarts: 0,
    });
    expect(service.source.logFiles()).toHaveLength(2);
    expect(service.source.details()).toEqual({ command: "serve" });
    expect(world.changes).toBeGreaterThan(0);
  });

  test("is left as it is while it runs, and the manager is hardly asked", async () => {
    const all = createWorld();
    const service = make(all);
    await service.start();
    await all.clock.advance(10 * 60_000);
    expect(all.calls.filter((call) => call.startsWith("start"))).toHaveLength(1);
    expect(all.world.lists).toBeLessThanOrEqual(11);
  });

  test("waits for what it needs, and is not stopped when that falls ill later", async () => {
    const all = createWorld();
    const service = make(all, { dependsOn: ["redis"] });
    await service.start();
    await all.clock.advance(10_000);
    expect(told(service)).toEqual({
      state: "stopped",
      reason: "not running: waits for redis (not_configured)",
    });
    all.world.states.set("redis", "healthy");
    await all.clock.advance(2_000);
    expect(told(service).state).toBe("healthy");
    all.world.states.set("redis", "unhealthy");
    await all.clock.advance(120_000);
    expect(told(service).state).toBe("healthy");
    expect(all.calls.filter((call) => call.startsWith("remove"))).toEqual([]);
  });

  test("is started again after it ended, later each time, and left alone in the end", async () => {
    const all = createWorld();
    const service = make(all);
    await service.start();
    await all.clock.advance(0);
    for (let n = 0; n < 4; n += 1) {
      all.world.crash("web");
      await all.clock.advance(2_000);
      expect(told(service).reason).toMatch(/it ended \(exit code 1\)/);
      await all.clock.advance(20_000);
      expect(told(service).state).toBe("healthy");
    }
    expect(service.source.facts().runtime.restarts).toBe(4);
    all.world.crash("web", 0);
    await all.clock.advance(600_000);
    expect(all.calls.filter((call) => call.startsWith("start"))).toHaveLength(5);
    expect(service.source.facts().runtime.state).toBe("crash_loop");
    expect(told(service).reason).toMatch(
      /ended too often.*exit code 0, or a signal.*5 times in a row/,
    );
  });

  test("one that outlived the agent is taken over, one from another manifest started anew", async () => {
    const all = createWorld();
    const first = make(all);
    await first.start();
    await all.clock.advance(0);
    await first.letGo();
    expect(all.alive.size).toBe(1);
    const second = make(all);
    await second.start();
    await all.clock.advance(0);
    expect(second.source.facts().runtime).toMatchObject({
      state: "running",
      pid: 101,
      restarts: 0,
    });
    expect(all.world.specs).toHaveLength(1);
    await second.letGo();
    const third = make(all, { env: { A: "2" } });
    await third.start();
    await all.clock.advance(0);
    expect(all.world.specs).toHaveLength(2);
  });

  test("one that the manager has lost is ended before another is started", async () => {
    const all = createWorld();
    const service = make(all);
    await service.start();
    await all.clock.advance(0);
    all.listed.clear(); // Its daemon was killed; the process lives on.
    await all.clock.advance(70_000);
    expect(all.calls.filter((call) => !call.startsWith("folder"))).toEqual([
      "start web",
      "end 101",
      "start web",
    ]);
    expect(all.alive.size).toBe(1);
    expect(told(service).state).toBe("healthy");
  });

  test("one that somebody started anew behind our back is followed to its new pid", async () => {
    const all = createWorld();
    const service = make(all);
    await service.start();
    await all.clock.advance(0);
    const process = all.listed.get("web");
    if (process === undefined) throw new Error("not listed");
    all.alive.delete(101);
    all.alive.add(500);
    all.listed.set("web", { ...process, pid: 500 });
    await all.clock.advance(2_000);
    expect(service.source.facts().runtime).toMatchObject({ pid: 500, restarts: 1 });
  });

  test("a pid that is dead does not run, though the manager has not seen it", async () => {
    const all = createWorld();
    const service = make(all);
    await service.start();
    await all.clock.advance(0);
    all.alive.delete(101);
    await all.clock.advance(2_000);
    expect(told(service).state).toBe("stopped");
  });
});

describe("what keeps it from starting", () => {
  test("a program that is not there is told as not installed, and found when it comes", async () => {
    const all = createWorld();
    all.world.missing = "no program serve in /bin";
    const service = make(all);
    await service.start();
    await all.clock.advance(60_000);
    expect(told(service)).toEqual({
      state: "not_installed",
      reason: "not installed: no program serve in /bin",
    });
    all.world.missing = undefined;
    await all.clock.advance(2_000);
    expect(told(service).state).toBe("healthy");
  });

  test("a manager that fails is tried again for ever, more slowly, and never a crash loop", async () => {
    const all = createWorld();
    all.world.fails = "PM2 is not there";
    const service = make(all);
    await service.start();
    await all.clock.advance(30 * 60_000);
    expect(told(service)).toEqual({
      state: "stopped",
      reason: "not running: the process manager fails: PM2 is not there",
    });
    expect(all.world.lists).toBeLessThan(50);
    all.world.fails = undefined;
    await all.clock.advance(61_000);
    expect(told(service).state).toBe("healthy");
  });

  test("a start that fails is told and tried again", async () => {
    const all = createWorld();
    const service = make(all);
    const start = all.manager.start.bind(all.manager);
    let attempts = 0;
    all.manager.start = async (spec, signal) => {
      attempts += 1;
      if (attempts <= 6) throw new Error("script not found");
      return await start(spec, signal);
    };
    await service.start();
    await all.clock.advance(0);
    expect(told(service).reason).toBe("not running: could not be started: script not found");
    await all.clock.advance(120_000);
    expect(told(service).state).toBe("healthy");
  });

  test("a process that is gone right after its start was not started", async () => {
    const all = createWorld();
    const service = make(all);
    const start = all.manager.start.bind(all.manager);
    all.manager.start = async (spec, signal) => ({
      ...(await start(spec, signal)),
      pid: null,
      state: "errored",
    });
    await service.start();
    await all.clock.advance(0);
    expect(told(service).reason).toMatch(/it is errored right after its start/);
  });
});

describe("its check", () => {
  test("counts while it runs, with a grace after each start", async () => {
    const all = createWorld();
    let isWell = false;
    const check = createHttpCheck({
      url: "http://x/",
      timeoutMs: 1_000,
      everyMs: 15_000,
      failures: 2,
      graceMs: 30_000,
      clock: all.clock,
      probe: async () =>
        isWell ? { kind: "passed", detail: "HTTP 200" } : { kind: "failed", detail: "refused" },
      onChange: () => undefined,
    });
    const service = make(all, { check });
    await service.start();
    await all.clock.advance(10_000);
    expect(told(service).state).toBe("starting");
    await all.clock.advance(25_000);
    expect(told(service).state).toBe("unhealthy");
    isWell = true;
    await all.clock.advance(15_000);
    expect(told(service).state).toBe("healthy");
    all.world.crash("web");
    await all.clock.advance(2_000);
    expect(told(service).state).toBe("stopped");
    isWell = false;
    await all.clock.advance(4_000);
    expect(told(service)).toMatchObject({ state: "starting" });
    await service.letGo();
    expect(all.clock.sleeperCount()).toBe(0);
  });
});

describe("stopping", () => {
  test("ends the process; letting go leaves it", async () => {
    const all = createWorld();
    const service = make(all);
    await service.start();
    await all.clock.advance(0);
    await service.stop();
    expect(all.calls.at(-1)).toBe("remove web");
    expect(told(service)).toEqual({
      state: "stopped",
      reason: "not running: stopped with the agent",
    });
    await all.clock.advance(600_000);
    expect(all.world.specs).toHaveLength(1);
    await service.stop();
    expect(all.calls.filter((call) => call === "remove web")).toHaveLength(1);
  });

  test("one that cannot be ended is told, and still said to run", async () => {
    const all = createWorld();
    const service = make(all);
    await service.start();
    await all.clock.advance(0);
    all.world.fails = "PM2 hangs";
    await expect(service.stop()).rejects.toThrow("web could not be stopped: PM2 hangs");
    expect(service.source.facts().runtime).toMatchObject({ state: "running", pid: 101 });
  });

  test("a manager that never answers holds the stop no longer than its limit", async () => {
    const all = createWorld();
    const service = make(all);
    await service.start();
    await all.clock.advance(0);
    all.manager.remove = (_name, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason as Error));
      });
    const failure = service.stop().catch((error: unknown) => String(error));
    await all.clock.advance(25_000);
    expect(await failure).toContain("it took longer than 25 s");
  });
});
