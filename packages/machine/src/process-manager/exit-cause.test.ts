import { expect, test } from "vitest";
import { exitCause, lastExitIn, type ExitFacts } from "./exit-cause.ts";
import { oomCounterFiles } from "./exit-evidence.ts";

const at = "2026-11-27T07:59:59: PM2 log:";
const exitLine = (name: string, code: number, signal: string): string =>
  `${at} App [${name}:0] exited with code [${code}] via signal [${signal}]`;
const facts = (more: Partial<ExitFacts>): ExitFacts => ({
  wasAsked: false,
  exitCode: 0,
  logged: null,
  oomKills: { cgroup: null, host: null },
  ...more,
});

test("the last end of the name that is asked for, unless it has started since", () => {
  const log = [
    exitLine("a", 1, "SIGINT"),
    `${at} App [a:0] starting in -fork mode-`,
    exitLine("b", 0, "SIGTERM"),
    exitLine("a", 0, "SIGKILL"),
    `${at} App [a:0] stale exit event ignored (pid 5)`,
  ].join("\n");
  expect(lastExitIn(log, "a")).toEqual({ code: 0, signal: "SIGKILL" });
  expect(lastExitIn(log, "b")).toEqual({ code: 0, signal: "SIGTERM" });
  expect(lastExitIn(log, "c")).toBeNull();
  const again = `${log}\n${at} App [a:1] starting in -fork mode-`;
  expect(lastExitIn(again, "a")).toBeNull();
});

test("what we ended was asked for, however it went", () => {
  const logged = { code: 0, signal: "SIGKILL" };
  expect(exitCause(facts({ wasAsked: true, logged })).kind).toBe("asked");
});

test.each([
  [{ logged: { code: 3, signal: "SIGINT" } }, "exit", /exit code 3/],
  [{ logged: null, exitCode: 3 }, "exit", /exit code 3/],
  [{ logged: { code: 0, signal: "SIGINT" } }, "exit", /exit code 0 \(or was interrupted/],
  [{ logged: { code: 126, signal: "SIGINT" } }, "exit", /may not be run/],
  [{ logged: { code: 127, signal: "SIGINT" } }, "exit", /was not found/],
  [{ logged: null, exitCode: 0 }, "unknown", /PM2 tells 0 for both/],
  [{ logged: null, exitCode: null }, "unknown", /nothing tells how/],
  [{ logged: { code: 0, signal: "SIGSEGV" } }, "signal", /SIGSEGV: it touched memory/],
  [{ logged: { code: 139, signal: "SIGINT" } }, "signal", /SIGSEGV/],
  [{ logged: null, exitCode: 137 }, "signal", /SIGKILL: somebody/],
  [{ logged: { code: 0, signal: "SIGUSR1" } }, "signal", /^ended by SIGUSR1$/],
  [{ logged: { code: 0, signal: "SIGKILL" } }, "signal", /somebody killed it, not Holdfast/],
] as const)("%j is %s", (more, kind, words) => {
  const cause = exitCause(facts(more));
  expect(cause.kind).toBe(kind);
  expect(cause.words).toMatch(words);
});

test("a SIGKILL is the kernel's when it killed for memory meanwhile", () => {
  const killed = { logged: { code: 0, signal: "SIGKILL" } };
  const kind = (cgroup: number | null, host: number | null): string =>
    exitCause(facts({ ...killed, oomKills: { cgroup, host } })).kind;
  expect(kind(1, null)).toBe("oom");
  expect(kind(0, 1)).toBe("oom");
  expect(kind(null, 1)).toBe("oom");
  expect(kind(0, 0)).toBe("signal");
  const other = { logged: { code: 0, signal: "SIGSEGV" }, oomKills: { cgroup: 1, host: 1 } };
  expect(exitCause(facts(other)).kind).toBe("signal");
});

test("where the kernel counts: both kinds of cgroups, within a container too", () => {
  expect(oomCounterFiles("0::/system.slice/holdfast.service\n")).toEqual([
    "/sys/fs/cgroup/system.slice/holdfast.service/memory.events",
    "/sys/fs/cgroup/memory.events",
  ]);
  expect(oomCounterFiles("5:cpu:/x\n4:hugetlb,memory:/docker/1\nnonsense\n")).toEqual([
    "/sys/fs/cgroup/memory/docker/1/memory.oom_control",
    "/sys/fs/cgroup/memory/memory.oom_control",
  ]);
  expect(oomCounterFiles("0::/\n")[0]).toBe("/sys/fs/cgroup/memory.events");
  expect(oomCounterFiles("")).toEqual([]);
});
