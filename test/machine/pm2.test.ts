/** The process manager on the real PM2: every trap of PM2 7.0.4 that can be brought about. */
import { execFile } from "node:child_process";
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { isProcessAlive, processCommand, waitForExit } from "@holdfast/runtime/host";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { createExitExplainer } from "../../packages/machine/src/process-manager/exit-evidence.ts";
import { rotateLogFile } from "../../packages/machine/src/process-manager/log-rotation.ts";
import type {
  ManagedProcess,
  ProcessManager,
  ProcessSpec,
} from "../../packages/machine/src/process-manager/model.ts";
import { findPortOwner } from "../../packages/machine/src/process-manager/orphans.ts";
import { createPm2Cli } from "../../packages/machine/src/process-manager/pm2-cli.ts";
import { createPm2ProcessManager } from "../../packages/machine/src/process-manager/pm2-process-manager.ts";
import { findPm2 } from "../../packages/machine/src/process-manager/pm2-tool.ts";
import { freePort, until } from "../support/processes.ts";
import { findPm2Program, TEST_PM2 } from "./ground/tools.ts";

const run = promisify(execFile);
const program = await findPm2Program();
const NODE = process.execPath;
const SECRET = "hf-agent-secret-5f1c";

let root: string;
let pm2Home: string;
const manager = (): ProcessManager =>
  createPm2ProcessManager({ ...TEST_PM2, machine: root, pm2Home });
const homes: string[] = [];
const daemons = new Set<number>();
const signal = (): AbortSignal => AbortSignal.timeout(100_000);

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "hf-pm2-"));
  pm2Home = join(root, "pm2");
  homes.push(pm2Home);
  process.env["HOLDFAST_TOKEN_FOR_THIS_TEST"] = SECRET;
});
afterEach(async () => {
  delete process.env["HOLDFAST_TOKEN_FOR_THIS_TEST"];
  await noteDaemons();
  await manager().kill(signal());
  await rm(root, { recursive: true, force: true });
});
afterAll(async () => {
  const left = await Promise.all(homes.map(daemonsOf));
  for (const pid of daemons) if (await isProcessAlive(pid)) left.push([pid]);
  if (left.flat().length > 0) throw new Error(`PM2's daemons are left: ${left.flat().join(", ")}`);
});

/** The daemons of a home, by the title that PM2 gives them. */
async function daemonsOf(home: string): Promise<number[]> {
  return await processesWith(`God Daemon (${home})`);
}
async function processesWith(title: string): Promise<number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const found: number[] = [];
  for (const pid of pids) {
    const command = (await processCommand(pid)) ?? "";
    if (command.includes(title)) found.push(pid);
  }
  return found;
}
async function noteDaemons(): Promise<void> {
  for (const pid of await daemonsOf(pm2Home)) daemons.add(pid);
}
async function daemonPid(): Promise<number> {
  return Number(await readFile(join(pm2Home, "pm2.pid"), "utf8"));
}
async function killDaemon(): Promise<void> {
  await noteDaemons();
  const pid = await daemonPid();
  process.kill(pid, "SIGKILL");
  await waitForExit(pid, 5_000, systemClock);
}

const spec = (name: string, source: string, more: Partial<ProcessSpec> = {}): ProcessSpec => ({
  name,
  command: NODE,
  args: ["-e", source],
  cwd: root,
  env: { PATH: "/usr/bin:/bin" },
  outFile: join(root, "logs", `${name}.out.log`),
  errorFile: join(root, "logs", `${name}.err.log`),
  stopTimeoutMs: 3_000,
  digest: "d1",
  ...more,
});
const SLEEPER = "setInterval(() => {}, 1000)";
const pidOf = (one: ManagedProcess | undefined): number => {
  if (one?.pid === null || one === undefined) throw new Error(`no pid: ${JSON.stringify(one)}`);
  return one.pid;
};
const named = (list: readonly ManagedProcess[], name: string): ManagedProcess | undefined =>
  list.find((one) => one.name === name);
const ended = (pm: ProcessManager, name: string): Promise<ManagedProcess> =>
  until(`${name} has ended`, async () => {
    const one = named(await pm.list(signal()), name);
    return one?.state === "stopped" ? one : undefined;
  });
const explain = async ({ name, exitCode }: ManagedProcess, pid: number) =>
  await createExitExplainer(pm2Home).explain({ name, pid, exitCode });
const text = (path: string): Promise<string> => readFile(path, "utf8").catch(() => "");

describe.skipIf(program === undefined)("the process manager on PM2", () => {
  test("four managers that are made ready at once start one daemon", async () => {
    const four = Array.from({ length: 4 }, manager);
    await Promise.all(four.map((pm) => pm.ensureReady(signal())));
    expect(await daemonsOf(pm2Home)).toEqual([await daemonPid()]);
    expect(await four[0]?.list(signal())).toEqual([]);
  });

  test("the question for PM2's version leaves no daemon, as `pm2 --version` does", async () => {
    const title = `God Daemon (${join(tmpdir(), "holdfast-pm2-")}`;
    expect(await findPm2(TEST_PM2, signal())).toMatchObject({ kind: "found", program });
    await systemClock.sleep(1_500);
    expect(await processesWith(title)).toEqual([]);
    // The guard matters.
    const args = [...(program?.args ?? []), "--version"];
    const env = { PATH: process.env["PATH"] ?? "", PM2_HOME: pm2Home, HOME: pm2Home };
    await run(program?.command ?? "", args, { env, cwd: root });
    await until("a daemon", async () => (await daemonsOf(pm2Home)).length > 0);
  });

  test("a process is started, listed by anybody, and removed", async () => {
    const pm = manager();
    const started = await pm.start(spec("comfyui-gpu0", `console.log("up"); ${SLEEPER}`), signal());
    expect(started).toMatchObject({ name: "comfyui-gpu0", state: "online", digest: "d1" });
    expect(Math.abs((started.startedAt ?? 0) - Date.now())).toBeLessThan(30_000);
    expect(await manager().list(signal())).toEqual([started]);
    await until(
      "it printed",
      async () => (await text(spec("comfyui-gpu0", "").outFile)) === "up\n",
    );
    await pm.remove("comfyui-gpu0", signal());
    expect(await isProcessAlive(pidOf(started))).toBe(false);
    expect(await pm.list(signal())).toEqual([]);
    await pm.remove("comfyui-gpu0", signal());
  });

  test("the same digest leaves it alone, another one starts it anew with its own settings", async () => {
    const pm = manager();
    const first = await pm.start(spec("a", SLEEPER), signal());
    const same = await pm.start(spec("a", SLEEPER), signal());
    expect(same.pid).toBe(first.pid);
    const env = { PATH: "/usr/bin:/bin", CUDA_VISIBLE_DEVICES: "GPU-2" };
    const next = await pm.start(spec("a", SLEEPER, { digest: "d2", env }), signal());
    expect(next).toMatchObject({ digest: "d2", state: "online" });
    expect(next.pid).not.toBe(first.pid);
    expect(await isProcessAlive(pidOf(first))).toBe(false);
    expect(await readFile(`/proc/${pidOf(next)}/environ`, "utf8")).toContain("GPU-2");
    expect(await pm.list(signal())).toHaveLength(1);
  });

  test("starts and removals of one name at once take turns", async () => {
    const pm = manager();
    const wanted = ["d1", "d2", "d3"].map((digest) => spec("a", SLEEPER, { digest }));
    await Promise.all(wanted.map((one) => pm.start(one, signal())));
    const list = await pm.list(signal());
    expect(list).toMatchObject([{ name: "a", digest: "d3", state: "online" }]);
  });

  test("its environment is the spec's and no more: nothing of ours, nothing of PM2's", async () => {
    const env = {
      PATH: "/usr/bin:/bin",
      // PM2 would take these for its own fields.
      name: "not-the-name",
      status: "stopped",
      QUOTES: `it's "two"\nlines $HOME \`id\``,
      TOKEN: "of-the-spec",
    };
    const started = await manager().start(spec("a", SLEEPER, { env }), signal());
    const pid = pidOf(started);
    expect(started).toMatchObject({ name: "a", state: "online" });
    const found = (await readFile(`/proc/${pid}/environ`, "utf8")).split("\0").filter(Boolean);
    const got = Object.fromEntries(
      found.map((one) => [one.slice(0, one.indexOf("=")), one.slice(one.indexOf("=") + 1)]),
    );
    for (const ofShell of ["PWD", "SHLVL", "_", "OLDPWD"]) delete got[ofShell];
    expect(got).toEqual({
      ...env,
      HOLDFAST_SPEC: "d1",
      HOLDFAST_MACHINE: root,
      HOLDFAST_PROCESS: "a",
      HOLDFAST_STOP_MS: "3000",
      HOLDFAST_PID: String(pid),
    });
    for (const other of [await daemonPid(), pid]) {
      expect(await readFile(`/proc/${other}/environ`, "utf8")).not.toContain(SECRET);
    }
    const cli = createPm2Cli({ program: program as never, pm2Home, clock: systemClock });
    const listed = await cli.run(["jlist"], signal());
    expect(listed).not.toContain(SECRET);
    expect(listed).not.toContain("of-the-spec");
    // The guard matters: PM2 hands on what its caller has.
    const env2 = {
      PATH: process.env["PATH"] ?? "",
      PM2_HOME: pm2Home,
      HOME: pm2Home,
      LEAK: SECRET,
    };
    const script = join(root, "leak.sh");
    await writeFile(script, "sleep 1000\n");
    const args = [...(program?.args ?? []), "start", script, "--name", "leak"];
    await run(program?.command ?? "", args, { env: env2, cwd: root });
    const leak = named(await manager().list(signal()), "leak");
    expect(await readFile(`/proc/${pidOf(leak)}/environ`, "utf8")).toContain(SECRET);
    // And what somebody else started is listed, and never touched.
    expect(leak?.digest).toBeNull();
    await expect(manager().remove("leak", signal())).rejects.toThrow(/Holdfast did not start/);
    expect(await isProcessAlive(pidOf(leak))).toBe(true);
  });

  test("what it prints and how it fails to start stand in its log", async () => {
    const pm = manager();
    const broken = join(root, "broken.sh");
    await writeFile(broken, "#!/no/such/interpreter\n");
    await chmod(broken, 0o755);
    await pm.start(spec("a", "", { command: broken, args: [] }), signal());
    const end = await ended(pm, "a");
    expect([126, 127]).toContain(end.exitCode);
    expect(await text(spec("a", "").errorFile)).toMatch(/broken\.sh/);
    await expect(
      pm.start(spec("b", "", { command: join(root, "none"), cwd: join(root, "no") }), signal()),
    ).rejects.toThrow(/expected a program at .*none.*expected a folder at/);
  });

  test("a process that ignores SIGINT is killed after its time, its children with it", async () => {
    const source = `
      const { spawn } = require("node:child_process");
      process.on("SIGINT", () => console.log("ignored"));
      const grandchild = 'process.on("SIGINT",()=>{});setInterval(()=>{},1000)';
      const inGroup = spawn(process.execPath, ["-e", grandchild]);
      const escaped = spawn(process.execPath, ["-e", grandchild], { detached: true, stdio: "ignore" });
      console.log("children " + inGroup.pid + " " + escaped.pid);
      ${SLEEPER}`;
    const pm = manager();
    const one = spec("stubborn", source, { stopTimeoutMs: 1_000 });
    const pid = pidOf(await pm.start(one, signal()));
    const children = await until("its children", async () => {
      const found = /children (\d+) (\d+)/.exec(await text(one.outFile));
      return found === null ? undefined : [Number(found[1]), Number(found[2])];
    });
    await systemClock.sleep(300);
    const before = performance.now();
    await pm.remove("stubborn", signal());
    expect(performance.now() - before).toBeGreaterThan(1_000);
    for (const one of [pid, ...children]) expect(await isProcessAlive(one)).toBe(false);
    expect(await text(one.outFile)).toContain("ignored");
  });

  test("children that a dead process left are ended before the next start", async () => {
    const source = `
      const child = require("node:child_process").spawn(
        process.execPath, ["-e", "setInterval(()=>{},1000)"], { detached: true, stdio: "ignore" });
      console.log("child " + child.pid);
      setTimeout(() => process.exit(3), 300);`;
    const pm = manager();
    const one = spec("a", source);
    await pm.start(one, signal());
    const end = await ended(pm, "a");
    expect(end.exitCode).toBe(3);
    const child = Number(/child (\d+)/.exec(await text(one.outFile))?.[1]);
    expect(await isProcessAlive(child)).toBe(true);
    await pm.start(spec("a", SLEEPER), signal());
    expect(await isProcessAlive(child)).toBe(false);
  });

  test("why a process ended: by a signal that PM2 tells as 0, by its exit, by us", async () => {
    const pm = manager();
    const killed = pidOf(await pm.start(spec("killed", SLEEPER), signal()));
    process.kill(killed, "SIGKILL");
    const end = await ended(pm, "killed");
    expect(end).toMatchObject({ exitCode: 0, pid: null });
    expect(await explain(end, killed)).toMatchObject({
      kind: "signal",
      words: expect.stringContaining("SIGKILL") as string,
    });
    const source = "setTimeout(() => process.exit(7), 2000)";
    const exited = pidOf(await pm.start(spec("exited", source), signal()));
    expect(await explain(await ended(pm, "exited"), exited)).toMatchObject({
      kind: "exit",
      words: expect.stringContaining("7") as string,
    });
  });

  test("PM2's daemon is killed: the processes go on, print, are listed, adopted and ended", async () => {
    const pm = manager();
    const port = await freePort();
    const source = `
      let n = 0;
      require("node:net").createServer().listen(${port}, "127.0.0.1");
      setInterval(() => console.log("line " + (n += 1)), 20);`;
    const one = spec("comfyui-gpu0", source);
    const other = spec("old", SLEEPER);
    const before = await pm.start(one, signal());
    const old = await pm.start(other, signal());
    const first = await daemonPid();
    await killDaemon();
    // It prints on: with PM2's pipes the next line would have ended it.
    const size = (await text(one.outFile)).length;
    await until("it prints on", async () => (await text(one.outFile)).length > size + 100);
    const list = await manager().list(signal());
    expect(await daemonPid()).not.toBe(first);
    expect(named(list, "comfyui-gpu0")).toMatchObject({
      pid: before.pid,
      state: "online",
      digest: "d1",
    });
    const startedAt = named(list, "comfyui-gpu0")?.startedAt ?? 0;
    expect(Math.abs(startedAt - (before.startedAt ?? 0))).toBeLessThan(5_000);
    expect(await findPortOwner(port, root, true)).toMatchObject({
      kind: "ours",
      name: "comfyui-gpu0",
      pid: before.pid,
    });
    expect(await findPortOwner(port, "/another/machine", true)).toMatchObject({
      kind: "stranger",
      words: expect.stringContaining(root) as string,
    });
    // Adopted: the same process.
    expect((await pm.start(one, signal())).pid).toBe(before.pid);
    // Another digest: ended, and started under the new daemon.
    const next = await pm.start({ ...one, digest: "d2" }, signal());
    expect(next.pid).not.toBe(before.pid);
    expect(await isProcessAlive(pidOf(before))).toBe(false);
    await pm.remove("old", signal());
    expect(await isProcessAlive(pidOf(old))).toBe(false);
    expect(await pm.list(signal())).toMatchObject([{ name: "comfyui-gpu0", digest: "d2" }]);
  });

  test("kill ends orphans too, and needs no daemon for it", async () => {
    const pm = manager();
    const pid = pidOf(await pm.start(spec("a", SLEEPER), signal()));
    await killDaemon();
    await manager().kill(signal());
    expect(await isProcessAlive(pid)).toBe(false);
    expect(await daemonsOf(pm2Home)).toEqual([]);
  });

  test("a stranger on a port is told with pid and command, a free port is nobody's", async () => {
    const port = await freePort();
    expect(await findPortOwner(port, root, false)).toEqual({ kind: "nobody" });
    const server = createServer().listen(port, "127.0.0.1");
    await until("it listens", () => server.listening);
    const owner = await findPortOwner(port, root, true);
    expect(owner).toMatchObject({ kind: "stranger", pid: process.pid });
    expect(owner.kind === "stranger" ? owner.words : "").toMatch(
      /port \d+ is held by process \d+ \(/,
    );
    await new Promise((resolve) => server.close(resolve));
  });

  test("a daemon that hangs leaves no call hanging: it is replaced, the processes go on", async () => {
    const limits = { callTimeoutMs: 3_000, pingTimeoutMs: 3_000 };
    const pm = createPm2ProcessManager({ ...TEST_PM2, machine: root, pm2Home, limits });
    const pid = pidOf(await pm.start(spec("a", SLEEPER), signal()));
    const stopped = await daemonPid();
    await noteDaemons();
    process.kill(stopped, "SIGSTOP");
    await expect(pm.list(signal())).rejects.toThrow(/did not end within 3 s.*started anew/);
    expect(await isProcessAlive(stopped)).toBe(false);
    expect(await pm.list(signal())).toMatchObject([{ name: "a", pid, state: "online" }]);
  });

  test("a call that is called off ends at once and leaves the process to the next call", async () => {
    const pm = manager();
    const source = `process.on("SIGINT",()=>{});console.log("up");${SLEEPER}`;
    const one = spec("a", source, { stopTimeoutMs: 60_000 });
    const pid = pidOf(await pm.start(one, signal()));
    await until("up", async () => (await text(one.outFile)).includes("up"));
    await expect(pm.remove("a", AbortSignal.timeout(3_000))).rejects.toThrow();
    expect(await isProcessAlive(pid)).toBe(true);
    process.kill(pid, "SIGKILL");
    await pm.remove("a", signal());
    expect(await pm.list(signal())).toEqual([]);
  });

  test("a log is rotated again and again under a writer, and no line is lost", async () => {
    const source = `
      const { writeSync } = require("node:fs");
      let n = 0;
      const write = () => {
        for (let i = 0; i < 50; i += 1) writeSync(1, "line " + (n += 1) + " " + "x".repeat(40) + "\\n");
        setTimeout(write, 1);
      };
      write();`;
    const pm = manager();
    const one = spec("writer", source);
    await pm.start(one, signal());
    const limits = { fileMaxBytes: 200_000, keep: 1_000, totalMaxBytes: 1_000_000_000 };
    const methods = new Set<string>();
    let rotations = 0;
    await until("twenty rotations", async () => {
      const outcome = await rotateLogFile(one.outFile, limits, { clock: systemClock });
      if (outcome.kind === "rotated") {
        rotations += 1;
        methods.add(outcome.method);
      }
      return rotations >= 20;
    });
    await pm.remove("writer", signal());
    const archives = (await readdir(join(root, "logs")))
      .flatMap((name) => /^writer\.out\.log\.(\d+)$/.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => b - a);
    expect(archives).toHaveLength(20);
    const parts = await Promise.all(archives.map((index) => text(`${one.outFile}.${index}`)));
    const lines = [...parts, await text(one.outFile)].join("").trimEnd().split("\n");
    const numbers = lines.map((line) => Number(/^line (\d+) x{40}$/.exec(line)?.[1]));
    const gaps = numbers.filter((n, index) => n !== index + 1).length;
    if (methods.has("truncate")) {
      console.warn("the file system cannot cut files at the front: lines may be lost in rotation");
      expect(gaps / numbers.length).toBeLessThan(0.01);
    } else expect(gaps).toBe(0);
    await pm.reopenLogs(signal());
  });
});

describe("a pm2 that hangs", () => {
  test("is ended by the time limit, with all that it started", async () => {
    const script = join(root, "hangs");
    await writeFile(script, `#!/bin/sh\nsleep 1000 &\necho "$!" > ${join(root, "child")}\nwait\n`);
    await chmod(script, 0o755);
    const hanging = { command: script, args: [], path: script, version: "7.0.4" };
    const cli = createPm2Cli({
      program: hanging,
      pm2Home: root,
      clock: systemClock,
      callTimeoutMs: 700,
    });
    await expect(cli.run(["jlist"], signal())).rejects.toThrow(
      /pm2 jlist did not end within 0.7 s/,
    );
    const child = Number(await text(join(root, "child")));
    expect(child).toBeGreaterThan(1);
    expect(await waitForExit(child, 2_000, systemClock)).toBe(true);
  });
});
