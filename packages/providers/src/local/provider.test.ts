import { appendFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { MachineRequest, Provided, ProvidedMachine } from "@holdfast/fleet";
import { isProcessAlive } from "@holdfast/runtime/host";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, expect, test } from "vitest";
import { openLocalWorld, type LocalOverrides, type LocalWorld } from "../../testing/local-world.ts";
import { CONTRACT_LABEL } from "../../testing/provider-contract.ts";
import type { MachineProvider } from "../port.ts";

const signal = new AbortController().signal;
const offer = { gpuType: null, zone: null, isSpot: false };
let world: LocalWorld;
let opened: MachineProvider[] = [];
afterEach(async () => {
  for (const one of opened) await one.close();
  opened = [];
  await world.close();
});

function open(over: LocalOverrides = {}): MachineProvider {
  const made = world.provider(CONTRACT_LABEL, over);
  opened.push(made);
  return made;
}

const ask = (name: string): MachineRequest => ({ name, offer, env: { TOKEN: "of-the-request" } });

function value<T>(answer: Provided<T>): T {
  if (answer.kind === "trouble") throw new Error(answer.trouble.message);
  return answer.value;
}

async function seen(name: string, by: MachineProvider): Promise<ProvidedMachine | undefined> {
  return value(await by.list(signal)).find((one) => one.name === name);
}

function becomes(name: string, by: MachineProvider, state: ProvidedMachine["state"]) {
  return expect.poll(async () => (await seen(name, by))?.state, { timeout: 15_000 }).toBe(state);
}

function inFolder(name: string, file: string): Promise<string> {
  return readFile(join(world.root, name, file), "utf8").catch(() => "");
}

async function pidsIn(name: string): Promise<readonly number[]> {
  return (await inFolder(name, "pids")).trim().split(/\s+/).map(Number).filter(Boolean);
}

async function livingIn(name: string): Promise<number> {
  const alive = await Promise.all((await pidsIn(name)).map((pid) => isProcessAlive(pid)));
  return alive.filter(Boolean).length;
}

test("a machine has its own folder, and no more in its environment than it was given", async () => {
  world = await openLocalWorld("env > env.txt; echo told; echo wrong >&2; exec sleep 600");
  const provider = open();
  await provider.create(ask("m-1"), signal);
  await expect.poll(() => inFolder("m-1", "machine.log")).toBe("told\nwrong\n");
  const lines = (await inFolder("m-1", "env.txt")).trim().split("\n");
  const env = Object.fromEntries(lines.map((line) => line.split(/=(.*)/s).slice(0, 2)));
  for (const name of ["PWD", "OLDPWD", "SHLVL", "_"]) delete env[name];
  expect(env).toEqual({
    PATH: process.env["PATH"],
    HOME: join(world.root, ".."),
    TOKEN: "of-the-request",
    HOLDFAST_HOME: join(world.root, "m-1"),
    HOLDFAST_FLEET: "studio-a",
    HOLDFAST_POOL: "gpu",
    HOLDFAST_LOCAL_MACHINE: expect.stringMatching(/\/machines\/m-1#\d+$/),
  });
  // What the machine may do is in no file of ours.
  expect(await inFolder("m-1", "provided-machine.json")).not.toContain("of-the-request");
});

test("a machine whose control plane ended between start and record is found, and can be ended", async () => {
  world = await openLocalWorld();
  const crash = new Error("the control plane ended");
  const failpoints = {
    hit: (name: string) => (name === "local.started" ? Promise.reject(crash) : undefined),
  };
  await expect(open({ failpoints }).create(ask("m-1"), signal)).rejects.toBe(crash);
  expect(await inFolder("m-1", "provided-machine.json")).toContain('"main": null');
  const next = open();
  expect(await seen("m-1", next)).toMatchObject({ state: "running" });
  expect(value(await next.create(ask("m-1"), signal))).toMatchObject({ state: "running" });
  expect(await inFolder("m-1", "provided-machine.json")).toContain('"pid"');
  await next.terminate("m-1", signal);
  await becomes("m-1", next, "ended");
});

test("a name whose control plane ended before the start is a machine that never was", async () => {
  world = await openLocalWorld();
  const crash = new Error("the control plane ended");
  const clock = createFakeClock();
  const failpoints = {
    hit: (name: string) => (name === "local.claimed" ? Promise.reject(crash) : undefined),
  };
  await expect(open({ failpoints, clock }).create(ask("m-1"), signal)).rejects.toBe(crash);
  const next = open({ clock });
  expect(await seen("m-1", next)).toMatchObject({ state: "pending" });
  await clock.advance(30_000);
  expect(await seen("m-1", next)).toMatchObject({
    state: "ended",
    reason: "it was never started: the control plane ended before",
  });
});

test("what ignores SIGTERM is killed after its time, with all that it started", async () => {
  world = await openLocalWorld(
    `trap '' TERM
sleep 600 & echo $! >> pids
setsid sleep 600 & echo $! >> pids
env -i setsid sh -c 'trap "" TERM; echo $$ >> pids; while :; do sleep 1; done' &
echo $$ >> pids
while :; do sleep 1; done`,
  );
  const provider = open();
  await provider.create(ask("m-1"), signal);
  await expect.poll(() => livingIn("m-1")).toBe(4);
  await provider.terminate("m-1", signal);
  expect(await seen("m-1", provider)).toMatchObject({
    state: "ending",
    reason: "it was told to end",
  });
  await becomes("m-1", provider, "ended");
  expect((await seen("m-1", provider))?.reason).toBe("it was ended by SIGKILL");
  expect(await livingIn("m-1")).toBe(0);
});

test("SIGTERM goes to the machine's own process alone, which ends its children in its own order", async () => {
  world = await openLocalWorld(
    `trap 'echo bye >> order; kill -9 $child; exit 0' TERM
sh -c 'trap "echo child >> order" TERM; while :; do sleep 0.1; done' & child=$!
echo $child $$ > pids
while :; do sleep 0.1; done`,
  );
  const provider = open();
  await provider.create(ask("m-1"), signal);
  await expect.poll(() => livingIn("m-1")).toBe(2);
  await provider.terminate("m-1", signal);
  await becomes("m-1", provider, "ended");
  expect(await inFolder("m-1", "order")).toBe("bye\n");
  expect((await seen("m-1", provider))?.reason).toBe("it ended with exit code 0");
});

test("what it started and hid is ended with it, though its own process went at once", async () => {
  world = await openLocalWorld(
    // For five seconds it lives on, and nothing tells whose it is once its parent is gone.
    `env -i setsid sh -c 'trap "" TERM; echo $$ >> pids; while :; do sleep 1; done' &
trap 'exit 0' TERM
echo $$ >> pids
while :; do sleep 0.1; done`,
  );
  const provider = open();
  await provider.create(ask("m-1"), signal);
  await expect.poll(() => livingIn("m-1")).toBe(2);
  await provider.terminate("m-1", signal);
  await becomes("m-1", provider, "ended");
  expect(await livingIn("m-1")).toBe(0);
});

test("an end goes on after a restart of the control plane, and is told once", async () => {
  world = await openLocalWorld(
    `trap 'echo term >> terms' TERM
echo $$ > pids
while :; do sleep 0.1; done`,
  );
  const first = open({ settings: { graceSeconds: 3_600 } });
  await first.create(ask("m-1"), signal);
  await expect.poll(() => livingIn("m-1")).toBe(1);
  await first.terminate("m-1", signal);
  await expect.poll(() => inFolder("m-1", "terms")).toBe("term\n");
  await expect.poll(() => inFolder("m-1", "provided-machine.json")).toContain('"wasTold": true');
  await first.close();
  const next = open({ settings: { graceSeconds: 1 } });
  expect(await seen("m-1", next)).toMatchObject({ state: "ending" });
  await becomes("m-1", next, "ended");
  expect(await inFolder("m-1", "terms")).toBe("term\n");
});

test("what a machine left running when it ended by itself is ended too", async () => {
  world = await openLocalWorld("setsid sleep 600 & echo $! > pids; exit 3");
  const provider = open();
  value(await provider.create(ask("m-1"), signal));
  await becomes("m-1", provider, "ended");
  expect((await seen("m-1", provider))?.reason).toBe("it ended with exit code 3");
  expect(await livingIn("m-1")).toBe(0);
});

test("what an agent let go of with an environment of its own is known by the folder in it", async () => {
  world = await openLocalWorld(
    `for value in "PM2_HOME=$HOLDFAST_HOME/machine/pm2" "HOLDFAST_MACHINE=$HOLDFAST_HOME/machine"; do
  env -i "$value" setsid sleep 600 & echo $! >> pids
done
env -i "HOLDFAST_MACHINE=$HOLDFAST_HOME-2/machine" setsid sleep 600 & echo $! > other
echo $$ > main; exec sleep 600`,
  );
  const provider = open();
  await provider.create(ask("m-1"), signal);
  await expect.poll(() => inFolder("m-1", "main")).not.toBe("");
  // As when an agent is killed: nobody has seen who started whom.
  process.kill(Number(await inFolder("m-1", "main")), "SIGKILL");
  await becomes("m-1", provider, "ended");
  expect(await livingIn("m-1")).toBe(0);
  const other = Number(await inFolder("m-1", "other"));
  expect(await isProcessAlive(other)).toBe(true);
  process.kill(other, "SIGKILL");
});

test("a machine that ended unwatched, and one whose number another process has, has ended", async () => {
  world = await openLocalWorld("echo $$ > pids; exec sleep 600");
  const first = open();
  await first.create(ask("m-1"), signal);
  await expect.poll(() => livingIn("m-1")).toBe(1);
  const record = join(world.root, "m-1", "provided-machine.json");
  const kept = JSON.parse(await readFile(record, "utf8")) as { main: { pid: number } };
  process.kill(kept.main.pid, "SIGKILL");
  await expect.poll(() => livingIn("m-1")).toBe(0);
  // This very process stands in for whoever was given the number.
  kept.main.pid = process.pid;
  await writeFile(record, JSON.stringify(kept));
  const next = open();
  expect(await seen("m-1", next)).toMatchObject({
    state: "ended",
    reason: "it ended while nobody watched",
  });
  expect(await next.terminate("m-1", signal)).toEqual({ kind: "ok", value: null });
  // A name is used once: asked for again it is that machine.
  expect(value(await next.create(ask("m-1"), signal)).state).toBe("ended");
});

test("a machine that is ending takes room until it has ended", async () => {
  world = await openLocalWorld("trap '' TERM; echo $$ > pids; while :; do sleep 0.1; done");
  const provider = open({ settings: { maxMachines: 1 } });
  await provider.create(ask("m-1"), signal);
  await expect.poll(() => livingIn("m-1")).toBe(1);
  await provider.terminate("m-1", signal);
  // It is there soon: no reason to go elsewhere, nor to ask ever more seldom.
  expect(await provider.create(ask("m-2"), signal)).toMatchObject({
    trouble: {
      kind: "rate_limited",
      message: expect.stringContaining("1 of them end, and `maxMachines` is 1") as string,
      retryAfterMs: 10_000,
      mayHaveHappened: false,
    },
  });
  await becomes("m-1", provider, "ended");
  expect(await provider.create(ask("m-2"), signal)).toMatchObject({ kind: "ok" });
});

test("there is room for as many machines as its pool may have, unless the settings say more", async () => {
  world = await openLocalWorld();
  const provider = open({ settings: { maxMachines: undefined }, poolMax: 1 });
  await provider.create(ask("m-1"), signal);
  expect(await provider.create(ask("m-2"), signal)).toMatchObject({
    trouble: { kind: "capacity", retryAfterMs: 10_000 },
  });
  const wider = open({ settings: { maxMachines: 2 }, poolMax: 1 });
  expect(await wider.create(ask("m-2"), signal)).toMatchObject({ kind: "ok" });
});

test("a log is kept within its size while the machine goes on writing it", async () => {
  world = await openLocalWorld(
    `i=0; while [ -e ../go ] || [ $i -lt 1 ]; do i=$((i+1)); echo "line $i"; sleep 0.02; done; exec sleep 600`,
  );
  const provider = open({ settings: { logMaxMb: 1 } });
  await mkdir(world.root, { recursive: true });
  await writeFile(join(world.root, "go"), "");
  await provider.create(ask("m-1"), signal);
  const log = join(world.root, "m-1", "machine.log");
  await expect.poll(() => inFolder("m-1", "machine.log")).toContain("line 2");
  await appendFile(log, `${"x".repeat(1_200_000)}\nthe end of what was there\n`);
  await provider.list(signal);
  await expect.poll(() => inFolder("m-1", "machine.log")).toMatch(/^(?:line \d+\n){2,}$/);
  const older = await inFolder("m-1", "machine.log.1");
  expect(older).toContain("the end of what was there\n");
  expect(older.length).toBeLessThan(1_048_576);
});

test("folders of ended machines are kept up to a number, the latest ones", async () => {
  world = await openLocalWorld("exit 0");
  const provider = open({ settings: { keepEnded: 2 } });
  for (const name of ["m-1", "m-2", "m-3", "m-4"]) {
    await provider.create(ask(name), signal);
    await becomes(name, provider, "ended");
  }
  await expect
    .poll(async () => {
      await provider.list(signal);
      return (await readdir(world.root)).sort();
    })
    .toEqual(["m-3", "m-4"]);
});

test("folders and records of others are left alone", async () => {
  world = await openLocalWorld();
  await mkdir(join(world.root, "theirs"), { recursive: true });
  await mkdir(join(world.root, "torn"));
  await writeFile(join(world.root, "torn", "provided-machine.json"), '{"version": 1, "name": "to');
  const provider = open();
  expect(await provider.list(signal)).toEqual({ kind: "ok", value: [] });
  expect(await provider.terminate("theirs", signal)).toEqual({ kind: "ok", value: null });
  expect(await provider.create(ask("torn"), signal)).toMatchObject({
    trouble: { kind: "unavailable", message: expect.stringContaining("cannot be read") as string },
  });
  expect(value(await provider.create(ask("theirs"), signal)).state).toBe("running");
});

test("check says what of this host does not do", async () => {
  world = await openLocalWorld();
  await mkdir(world.root);
  await writeFile(join(world.root, "file"), "");
  const findings = async (settings: Readonly<Record<string, unknown>>) =>
    value(await open({ settings }).check(signal));
  expect(await findings({ root: join(world.root, "file") })).toEqual([
    expect.stringMatching(/^`root`: the folder .*file cannot be used \((?:EEXIST|ENOTDIR)\)/),
  ]);
  expect(await findings({ command: ["no-such-program", "agent"] })).toEqual([
    expect.stringMatching(/^`command`: no program no-such-program was found in /),
  ]);
  expect(await findings({ command: ["/no/such", "agent"] })).toHaveLength(1);
  expect(await findings({ command: ["sh"] })).toEqual([]);
});

test("a disk on which nothing can be written down keeps no machine from being ended", async () => {
  world = await openLocalWorld("echo $$ > pids; exec sleep 600");
  const provider = open();
  await provider.create(ask("m-1"), signal);
  await expect.poll(() => livingIn("m-1")).toBe(1);
  // Root writes in every folder: a folder in the way of the new record refuses it to everybody.
  const inTheWay = join(world.root, "m-1", `provided-machine.json.${process.pid}.new`);
  await mkdir(join(inTheWay, "x"), { recursive: true });
  expect(await provider.terminate("m-1", signal)).toMatchObject({
    trouble: { kind: "unavailable", message: expect.stringContaining("EISDIR") as string },
  });
  await expect.poll(() => livingIn("m-1")).toBe(0);
  await becomes("m-1", provider, "ended");
  await rm(inTheWay, { recursive: true });
  await provider.list(signal);
  expect(await inFolder("m-1", "provided-machine.json")).toContain('"ended": {');
});

test("what the disk refuses is trouble, not a throw", async () => {
  world = await openLocalWorld();
  await mkdir(world.root);
  await writeFile(join(world.root, "file"), "");
  const provider = open({ settings: { root: join(world.root, "file", "below") } });
  expect(await provider.create(ask("m-1"), signal)).toMatchObject({
    trouble: { kind: "unavailable", message: expect.stringContaining("ENOTDIR") as string },
  });
  expect(await provider.list(signal)).toMatchObject({ trouble: { kind: "unavailable" } });
});

test("an offer of another provider is not this host", async () => {
  world = await openLocalWorld();
  const other = { gpuType: "NVIDIA L40S", zone: null, isSpot: false };
  expect(await open().create({ ...ask("m-1"), offer: other }, signal)).toMatchObject({
    trouble: { kind: "invalid" },
  });
});
