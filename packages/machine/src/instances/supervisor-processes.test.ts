/** The supervisor with real processes, ports, memory and lock files; only the process manager is small. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { freePort, until } from "../../../../test/support/processes.ts";
import { ChildManager } from "../../testing/child-manager.ts";
import { rememberingLog } from "../../testing/fake-host.ts";
import { plan, release } from "../../testing/instance-facts.ts";
import { machinePlaces } from "../machine-places.ts";
import { HostLocks } from "./host-locks.ts";
import { linuxProcesses } from "./linux-processes.ts";
import type { InstanceHealth, InstancePlan, InstanceRunner, Release } from "./model.ts";
import { Supervisor } from "./supervisor.ts";
import type { InstanceStatus } from "./supervisor-status.ts";

/** Listens as ComfyUI would; grows when asked to. Run as `python -u main.py --port …`. */
const INSTANCE = `
const kept = [];
const port = Number(process.argv[process.argv.lastIndexOf("--port") + 1]);
require("node:http").createServer((request, response) => {
  if (request.url === "/grow") kept.push(Buffer.alloc(200e6, 1));
  response.end(String(process.pid));
}).listen(port, "127.0.0.1");
process.on("SIGINT", () => process.exit(0));
`;
const LIMIT_MS = 20_000;

let base: string;
let ports: number[];
let manager: ChildManager;
let supervisors: Supervisor[];
let sleepers: ChildProcess[];
let built: Release;
const busy = new Set<string>();
const log = rememberingLog();

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), "hf-sup-"));
  ports = [await freePort(), await freePort()];
  manager = new ChildManager(join(base, "machine"));
  supervisors = [];
  sleepers = [];
  busy.clear();
  built = await build("r1");
});
afterEach(async () => {
  for (const supervisor of supervisors) await supervisor.leave().catch(() => undefined);
  await manager.kill();
  for (const sleeper of sleepers) {
    sleeper.kill("SIGKILL");
    await once(sleeper, "exit");
  }
  await rm(base, { recursive: true, force: true });
});

async function build(id: string, program = INSTANCE): Promise<Release> {
  const folder = join(base, "releases", id);
  const python = join(folder, "venv", "bin", "python");
  await mkdir(join(folder, "venv", "bin"), { recursive: true });
  await mkdir(join(folder, "comfyui"));
  await writeFile(python, `#!${process.execPath}\n${program}`);
  await chmod(python, 0o755);
  return release(id, { comfyuiFolder: join(folder, "comfyui"), python });
}

const own = (index = 0, changes: Partial<InstancePlan> = {}): InstancePlan =>
  plan({
    name: `comfyui-cpu${index}`,
    port: ports[index] ?? 0,
    startTimeoutMs: 15_000,
    ...changes,
  });

/** Busy as the test says, and otherwise as well as its port. */
const runner: InstanceRunner = {
  health: (url): InstanceHealth | undefined =>
    busy.has(url) ? { state: "healthy", reason: null, isBusy: true } : undefined,
  async pause(url, withinMs, signal) {
    const deadline = systemClock.elapsed() + withinMs;
    while (busy.has(url)) {
      if (systemClock.elapsed() > deadline) return false;
      await systemClock.sleep(20, signal);
    }
    return true;
  },
  resume: () => undefined,
};

async function supervise(
  plans: readonly InstancePlan[],
  options: { readonly root?: string; readonly pid?: number; readonly manager?: ChildManager } = {},
): Promise<Supervisor> {
  const root = options.root ?? join(base, "machine");
  const host = linuxProcesses(root, systemClock);
  const supervisor = new Supervisor({
    places: machinePlaces(root),
    account: { home: base },
    clock: systemClock,
    random: seededRandom(1),
    log,
    manager: options.manager ?? manager,
    host,
    runner,
    locks: new HostLocks({
      folders: [join(base, "locks")],
      root,
      clock: systemClock,
      host,
      pid: options.pid ?? process.pid,
    }),
    policy: {
      tickMs: 50,
      listEveryMs: 300,
      memoryEveryMs: 200,
      blockedRetryMs: 200,
      recycleRestMs: 0,
      settleMs: 300,
      backoff: { initialMs: 100, factor: 2, maxMs: 1_000, jitter: 0 },
    },
  });
  supervisors.push(supervisor);
  await supervisor.setDesired(plans, built);
  await supervisor.start();
  return supervisor;
}
/** Waits for a status of an instance. */
const seen = (
  supervisor: Supervisor,
  what: string,
  is: (status: InstanceStatus) => boolean,
  name = "comfyui-cpu0",
): Promise<InstanceStatus> =>
  until(
    what,
    () => {
      const status = supervisor.status(name);
      return status !== undefined && is(status) ? status : undefined;
    },
    LIMIT_MS,
  );
const serving = (supervisor: Supervisor, name?: string): Promise<InstanceStatus> =>
  seen(supervisor, "it serves", ({ check }) => check.state === "passing", name);
const ask = async (port: number, path = "/"): Promise<string> =>
  await (await fetch(`http://127.0.0.1:${port}${path}`)).text();

describe.skipIf(process.platform !== "linux")("with real processes", { timeout: 60_000 }, () => {
  test("an instance serves, is adopted by the next agent, and ended by it", async () => {
    const first = await supervise([own(0), own(1)]);
    const pids = [await serving(first), await serving(first, "comfyui-cpu1")].map(
      ({ runtime }) => runtime.pid,
    );
    expect(await Promise.all(ports.map((port) => ask(port)))).toEqual(pids.map(String));
    await first.leave();

    const second = await supervise([own(0), own(1)]);
    expect((await serving(second)).runtime).toMatchObject({ pid: pids[0], restarts: 0 });
    expect((await serving(second, "comfyui-cpu1")).runtime.pid).toBe(pids[1]);
    await second.stop();
    expect(manager.removed.toSorted()).toEqual(["comfyui-cpu0", "comfyui-cpu1"]);
    await expect(ask(ports[0] ?? 0)).rejects.toThrow();
  });

  test("killed with SIGKILL it comes back", async () => {
    const supervisor = await supervise([own()]);
    const { pid } = (await serving(supervisor)).runtime;
    process.kill(pid ?? -1, "SIGKILL");
    const back = await seen(
      supervisor,
      "it is back",
      ({ runtime, check }) => runtime.pid !== pid && check.state === "passing",
    );
    expect(back.runtime.restarts).toBe(1);
    expect(back.exits).toMatchObject([{ pid, wasAsked: false }]);
  });

  test("forgotten by its manager it serves on, is adopted as such, and taken over when idle", async () => {
    const first = await supervise([own()]);
    const { pid } = (await serving(first)).runtime;
    await first.leave();
    manager.forget();
    busy.add(own().url);
    const second = await supervise([own()]);
    expect(await seen(second, "it is adopted", ({ runtime }) => runtime.pid === pid)).toMatchObject(
      { isManaged: false },
    );
    await systemClock.sleep(1_000);
    expect(second.status("comfyui-cpu0")?.runtime.pid).toBe(pid); // In mid-job.
    busy.clear();
    const taken = await seen(
      second,
      "it is taken over",
      ({ runtime, isManaged, check }) =>
        runtime.pid !== pid && isManaged && check.state === "passing",
    );
    expect(await ask(ports[0] ?? 0)).toBe(String(taken.runtime.pid));
  });

  test("a stranger on its port is named and left alone", async () => {
    const stranger = createServer().listen(ports[0], "127.0.0.1");
    await once(stranger, "listening");
    const supervisor = await supervise([own()]);
    const { blocked } = await seen(
      supervisor,
      "it is blocked",
      (status) => status.blocked !== null,
    );
    expect(blocked).toContain(`port ${ports[0]} is held by process ${process.pid}`);
    await expect(
      supervisor.restart("comfyui-cpu0", "now", new AbortController().signal),
    ).rejects.toThrow(/is held by process/);
    expect(stranger.listening).toBe(true);
    await new Promise((resolve) => {
      stranger.close(resolve);
    });
    await serving(supervisor);
  });

  test("a second agent gets a reason, never the same port; and the port when the first is done", async () => {
    const first = await supervise([own()]);
    const { pid } = (await serving(first)).runtime;
    const sleeper = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], {
      stdio: "ignore",
    });
    sleepers.push(sleeper);
    await once(sleeper, "spawn");
    const second = await supervise([own()], {
      root: join(base, "other"),
      pid: sleeper.pid ?? -1,
      manager: new ChildManager(join(base, "other")),
    });
    const { blocked } = await seen(second, "it is refused", (status) => status.blocked !== null);
    expect(blocked).toContain(`in use by comfyui-cpu0 of the agent in ${join(base, "machine")}`);
    expect(blocked).toContain(String(pid));
    await first.stop();
    expect((await serving(second)).runtime.pid).not.toBe(pid);
    await second.stop();
  });

  test("what grew over its limit is started anew, but only after its job", async () => {
    const supervisor = await supervise([own(0, { recycleAboveBytes: 150e6, drainMs: 60_000 })]);
    const { pid } = (await serving(supervisor)).runtime;
    busy.add(own().url);
    await ask(ports[0] ?? 0, "/grow");
    const draining = await seen(supervisor, "it is drained", (status) => status.draining !== null);
    expect(draining.memoryBytes).toBeGreaterThan(150e6);
    await systemClock.sleep(500);
    expect(await ask(ports[0] ?? 0)).toBe(String(pid));
    busy.clear();
    const after = await seen(
      supervisor,
      "it is recycled",
      ({ runtime, check }) => runtime.pid !== pid && check.state === "passing",
    );
    expect(after.exits.at(-1)).toMatchObject({ wasAsked: true });
  });

  test("over the hard limit it is killed in mid-job", async () => {
    const supervisor = await supervise([own(0, { memoryLimitBytes: 150e6 })]);
    const { pid } = (await serving(supervisor)).runtime;
    busy.add(own().url);
    await ask(ports[0] ?? 0, "/grow").catch(() => undefined); // It may be killed before it answers.
    const after = await seen(supervisor, "it is killed", ({ runtime }) => runtime.pid !== pid);
    expect(after.exits.at(-1)).toMatchObject({
      wasAsked: false,
      reason: expect.stringMatching(/it holds \d+ MB, its limit is 143 MB/),
    });
  });

  test("another release that dies at once leaves the other instance serving from the old one", async () => {
    const supervisor = await supervise([own(0), own(1)]);
    await serving(supervisor);
    const { pid } = (await serving(supervisor, "comfyui-cpu1")).runtime;
    const broken = await build("r2", "process.exit(3)");
    await supervisor.setDesired([own(0), own(1)], broken);
    await seen(supervisor, "it loops", ({ runtime }) => runtime.state === "crash_loop");
    expect(supervisor.status("comfyui-cpu1")?.runtime.pid).toBe(pid);
    await supervisor.setDesired([own(0), own(1)], built);
    await serving(supervisor);
    expect((await serving(supervisor, "comfyui-cpu1")).runtime.pid).toBe(pid);
  });
});
