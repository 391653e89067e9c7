import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import type { HostProcesses } from "./host-processes.ts";
import { linuxProcesses } from "./linux-processes.ts";
import { ENV_INSTANCE, ENV_MACHINE, ENV_SPEC } from "./process-spec.ts";

const ROOT = "/srv/test-machine";
const children: ChildProcess[] = [];

/** A Node program that says a line when it is ready. */
async function program(code: string, instance?: string): Promise<{ pid: number; said: string }> {
  const marks =
    instance === undefined
      ? {}
      : { [ENV_MACHINE]: ROOT, [ENV_INSTANCE]: instance, [ENV_SPEC]: "r1-a" };
  const child = spawn(process.execPath, ["-e", code], {
    env: { PATH: process.env["PATH"] ?? "", ...marks },
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  const [said] = (await once(child.stdout, "data")) as [Buffer];
  return { pid: child.pid ?? -1, said: said.toString().trim() };
}
const LISTEN = `require("net").createServer().listen(0, "127.0.0.1", 1, function () {
  console.log(this.address().port);
});`;
const WAIT = `console.log("ready"); setInterval(() => {}, 1000);`;
const STUBBORN = `process.on("SIGINT", () => {}); ${WAIT}`;
const WITH_CHILD = `const child = require("child_process").spawn(process.execPath, ["-e",
  "process.on('SIGINT', () => {}); globalThis.kept = Buffer.alloc(64e6, 1); console.log(1); setInterval(() => {}, 1000)"],
  { stdio: ["ignore", "pipe", "inherit"] });
child.stdout.once("data", () => console.log(child.pid));
setInterval(() => {}, 1000);`;

describe.skipIf(process.platform !== "linux")("processes of Linux", () => {
  let host: HostProcesses;
  beforeAll(() => {
    host = linuxProcesses(ROOT, systemClock);
  });
  afterEach(async () => {
    // With all that they started, which would outlive them.
    for (const { pid = -1 } of children.splice(0)) {
      await host.terminate(pid, host.startTimeOf(pid) ?? "", 0);
    }
  });

  test("a process is known by pid and start time together", async () => {
    const { pid } = await program(WAIT);
    const startTime = host.startTimeOf(pid) ?? "";
    expect(host.isAlive(pid, startTime)).toBe(true);
    expect(host.isAlive(pid, `${startTime}0`)).toBe(false);
    expect(host.accountOf(pid)).toBe(process.getuid?.());
    expect(await host.terminate(pid, startTime, 2_000)).toBe(true);
    expect(host.isAlive(pid, startTime)).toBe(false);
    expect(host.startTimeOf(-1)).toBeUndefined();
    expect(host.accountOf(2 ** 22 + 1)).toBeUndefined();
    expect(await host.terminate(pid, startTime, 1_000)).toBe(true);
  });

  test("who listens on a port is told, ours by their variables", async () => {
    const ours = await program(LISTEN, "comfyui-cpu0");
    const stranger = await program(LISTEN);
    const port = Number(ours.said);
    expect(await host.listenerOf(port)).toMatchObject({
      pid: ours.pid,
      isOurs: true,
      instance: "comfyui-cpu0",
      digest: "r1-a",
    });
    expect(await host.listenerOf(Number(stranger.said))).toMatchObject({
      pid: stranger.pid,
      command: expect.stringContaining("node"),
      isOurs: false,
      instance: null,
    });
    const other = linuxProcesses("/srv/other-machine", systemClock);
    expect(await other.listenerOf(port)).toMatchObject({ isOurs: false, digest: null });
    expect(await host.listenerOf(1)).toBeUndefined();
  });

  test("whether somebody takes connections is tried, with a limit", async () => {
    const { pid, said } = await program(LISTEN);
    const url = `http://127.0.0.1:${said}`;
    expect(await host.isListening(url)).toBe(true);
    // It stands still and its queue is full: the kernel answers nobody any more.
    process.kill(pid, "SIGSTOP");
    const clients = Array.from({ length: 8 }, () => connect(Number(said), "127.0.0.1"));
    for (const client of clients) client.on("error", () => undefined);
    await Promise.race(clients.map((client) => once(client, "connect")));
    expect(await host.isListening(url)).toBe(false);
    for (const client of clients) client.destroy();
    await host.terminate(pid, host.startTimeOf(pid) ?? "", 0);
    expect(await host.isListening(url)).toBe(false);
    expect(await host.isListening("http://[::1]:1")).toBe(false);
  });

  test("instances are found by their variables, and not the children that inherit them", async () => {
    const { pid, said } = await program(WITH_CHILD, "comfyui-cpu0");
    await program(WAIT);
    const found = await host.instances();
    expect(found).toEqual([
      { pid, instance: "comfyui-cpu0", digest: "r1-a", startTime: host.startTimeOf(pid) },
    ]);
    expect(Number(said)).not.toBe(pid);
    expect(await linuxProcesses("/srv/other-machine", systemClock).instances()).toEqual([]);
  });

  test("memory is that of the whole tree", async () => {
    const { pid, said } = await program(WITH_CHILD);
    const sizes = await host.residentBytes([pid, Number(said), 2 ** 22 + 1]);
    expect([...sizes.keys()]).toEqual([pid, Number(said)]);
    expect(sizes.get(Number(said))).toBeGreaterThan(64e6);
    expect(sizes.get(pid)).toBeGreaterThan((sizes.get(Number(said)) ?? 0) + 5e6);
  });

  test("what does not heed SIGINT is killed, and the children with it", async () => {
    const stubborn = await program(STUBBORN);
    const startTime = host.startTimeOf(stubborn.pid) ?? "";
    expect(await host.terminate(stubborn.pid, startTime, 200)).toBe(true);
    expect(host.isAlive(stubborn.pid, startTime)).toBe(false);

    const parent = await program(WITH_CHILD);
    const child = Number(parent.said);
    expect(await host.terminate(parent.pid, host.startTimeOf(parent.pid) ?? "", 2_000)).toBe(true);
    expect(host.startTimeOf(child)).toBeUndefined();
  });

  test("another account's process is not ended, and no lie is told about it", async () => {
    if (process.getuid?.() === 0) return; // Root may end anything.
    expect(await host.terminate(1, host.startTimeOf(1) ?? "", 100)).toBe(false);
  });
});
