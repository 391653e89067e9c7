import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parsePm2List } from "./pm2-list.ts";

const env = {
  HOLDFAST_SPEC: "d1",
  HOLDFAST_MACHINE: "/m",
  HOLDFAST_PROCESS: "a",
  HOLDFAST_STOP_MS: "5",
};
const entry = (more: Record<string, unknown>, pid: number | null = 12): unknown => ({
  name: "a",
  pm_id: 3,
  pid,
  monit: { memory: 1 },
  pm2_env: { status: "online", pm_uptime: 1_000, env, ...more },
});
const read = (...entries: unknown[]) => parsePm2List(JSON.stringify(entries));

test("a running process, with the digest of its environment", () => {
  expect(read(entry({}))).toEqual([
    {
      pmId: 3,
      marks: env,
      process: {
        name: "a",
        state: "online",
        pid: 12,
        digest: "d1",
        startedAt: 1_000,
        exitCode: null,
      },
    },
  ]);
});

test("an end: pid 0 is none, and the exit code is told as a number", () => {
  expect(read(entry({ status: "stopped", exit_code: 3 }, 0))[0]?.process).toMatchObject({
    state: "stopped",
    pid: null,
    exitCode: 3,
  });
  expect(read(entry({ status: "stopped", exit_code: "x" }, 0))[0]?.process.exitCode).toBeNull();
  expect(read(entry({ exit_code: 3 }))[0]?.process.exitCode).toBeNull();
});

test("what somebody else started has neither marks nor digest", () => {
  const [one] = read(entry({ env: { HOLDFAST_SPEC: "d1" }, pm_uptime: undefined }));
  expect(one).toMatchObject({ marks: null, process: { digest: null, startedAt: null } });
  expect(read(entry({ env: null, ...env }))[0]?.marks).toEqual(env);
  expect(read(entry({ env: { ...env, HOLDFAST_SPEC: 7 } }))[0]?.marks).toBeNull();
});

test.each([
  ["online", 12, "online"],
  ["online", 0, "stopped"],
  ["launching", 12, "launching"],
  ["launching", null, "stopped"],
  ["one-launch-status", 12, "launching"],
  ["stopping", 12, "stopping"],
  ["stopped", 0, "stopped"],
  ["errored", 0, "errored"],
  // Used up its restarts and says so for ever.
  ["waiting restart", 0, "errored"],
  ["waiting restart", 12, "online"],
  [null, 12, "online"],
] as const)("status %s with pid %s is %s", (status, pid, state) => {
  expect(read(entry({ status }, pid))[0]?.process.state).toBe(state);
});

test("noise before the list is passed over", () => {
  const noise = "[PM2] Spawning PM2 daemon\n(node:1) Warning: x\n[1, 2]\n";
  expect(parsePm2List(`${noise}${JSON.stringify([entry({})])}\n`)).toHaveLength(1);
  expect(parsePm2List(`${noise}[]\n`)).toEqual([]);
  fc.assert(
    fc.property(fc.array(fc.string()), (lines) => {
      const text = [...lines, JSON.stringify([entry({})])].join("\n");
      expect(parsePm2List(text)).toHaveLength(1);
    }),
  );
});

test("no list is an error that shows what came instead", () => {
  expect(() => parsePm2List("Segmentation fault")).toThrow(/found: Segmentation fault/);
  expect(() => parsePm2List("")).toThrow(/found: nothing/);
  expect(() => parsePm2List('[{"name":1}]')).toThrow(/expected a list of processes/);
});
