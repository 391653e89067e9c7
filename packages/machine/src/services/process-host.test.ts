import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, expect, test } from "vitest";
import { until } from "../../../../test/support/processes.ts";
import { createProcessHost } from "./process-host.ts";

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});
const run = async (script: string): Promise<number> => {
  const child = spawn(
    process.execPath,
    ["-e", `${script}; setInterval(() => 0, 1e6); console.log("up")`],
    {
      stdio: ["ignore", "pipe", "ignore"],
    },
  );
  children.push(child);
  if (child.stdout === null) throw new Error("no output");
  await once(child.stdout, "data");
  return child.pid ?? -1;
};
const host = createProcessHost(systemClock, "");

test("a process that heeds SIGINT ends by it, one that does not by SIGKILL", async () => {
  const meek = await run("");
  const startTime = await host.startTime(meek);
  expect(await host.isSame(meek, startTime)).toBe(true);
  await host.end(meek, 5_000);
  expect(await host.isSame(meek, startTime)).toBe(false);
  const stubborn = await run('process.on("SIGINT", () => 0)');
  await host.end(stubborn, 100);
  expect(await host.isSame(stubborn, undefined)).toBe(false);
  await until("both exits were heard of", () =>
    children.every((child) => child.signalCode !== null),
  );
  expect(children.map((child) => child.signalCode)).toEqual(["SIGINT", "SIGKILL"]);
});

test("another process with the pid is not the same, and one that is gone needs no end", async () => {
  const pid = await run("");
  expect(await host.isSame(pid, "another start time")).toBe(false);
  await host.end(pid, 5_000);
  await host.end(pid, 5_000);
});
