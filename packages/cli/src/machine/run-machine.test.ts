import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { machinePlaces, type InstallOutcome, type MachineFolder } from "@holdfast/machine";
import { afterEach, beforeEach, expect, test } from "vitest";
import { recordingTerminal, type RecordingTerminal } from "../../testing/recording-terminal.ts";
import { EXIT } from "../exit-codes.ts";
import type { MachineCommandOptions } from "./options.ts";
import {
  clean,
  install,
  plan as planCommand,
  rollback,
  status,
  update,
  type OpenFolder,
} from "./run-machine.ts";

let home = "";
let terminal: RecordingTerminal;
/** What is asked of the folder, in order. */
let did: string[];
let outcome: unknown;
let refused: readonly string[] | undefined;
let seen: Parameters<OpenFolder>[0] | undefined;

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "hf-cli-"));
  terminal = recordingTerminal();
  did = [];
  outcome = undefined;
  refused = undefined;
  seen = undefined;
});
afterEach(() => rm(home, { recursive: true }));

const answer = async (what: string): Promise<never> => {
  did.push(what);
  if (outcome instanceof Error) throw outcome;
  return (typeof outcome === "function" ? await (outcome as () => unknown)() : outcome) as never;
};
const commands = { clean, install, plan: planCommand, rollback, status, update };
const open: OpenFolder = async (options) => {
  seen = options;
  if (refused !== undefined) return { kind: "refused", problems: refused };
  const folder: MachineFolder = {
    places: machinePlaces(options.root),
    warnings: ["a warning"],
    healthTokenFile: null,
    installer: {
      plan: ({ update, verify }) => answer(`plan ${update} ${verify}`),
      install: ({ update, verify, endHold, signal }) => {
        signal.addEventListener("abort", () => did.push("aborted"));
        return answer(`install ${update} ${verify}${endHold === true ? " end hold" : ""}`);
      },
      rollback: () => answer("rollback"),
      clean: (_signal, request) =>
        answer(request?.isDryRun === true ? "rehearse cleaning" : "clean"),
      status: () => answer("status"),
      current: () => answer("current"),
    },
    apply: async () => {
      did.push("apply");
    },
    close: async () => {
      did.push("close");
    },
  };
  return { kind: "opened", folder };
};
const run = (name: keyof typeof commands, options: MachineCommandOptions = {}): Promise<void> =>
  commands[name]({ home, ...options }, { terminal, env: {} }, open);
const failure = (name: keyof typeof commands, options: MachineCommandOptions = {}) =>
  run(name, options).then(
    () => ({ exitCode: EXIT.ok, message: "" }),
    (error: { exitCode: number; message: string }) => error,
  );
const installed = (over: Partial<Extract<InstallOutcome, { kind: "installed" }>> = {}) => ({
  kind: "installed",
  release: "r1",
  isChanged: true,
  results: [],
  hold: null,
  warnings: ["old driver"],
  logFile: "/log",
  ...over,
});
const plan = (problems: readonly unknown[] = []) => ({
  releaseId: "r1",
  isNewRelease: true,
  hold: null,
  torchBackend: "cpu",
  refs: [],
  steps: [],
  needBytes: 0,
  freeBytes: 0,
  diskNote: null,
  warnings: [],
  problems,
});
const PROBLEM = { subject: "comfyui", message: "there is no ref v9", advice: "Name another." };

test("a plan without problems exits with 0, one with problems with 2; both are printed", async () => {
  outcome = plan();
  await run("plan", { update: true });
  expect(terminal.lines.join("\n")).toContain("release r1: to be made");
  expect(terminal.notes).toEqual(["warning: a warning"]);
  expect(did).toEqual(["plan true false", "close"]);
  outcome = plan([PROBLEM]);
  expect(await failure("plan")).toMatchObject({
    exitCode: 2,
    message: "the plan has a problem: nothing would be changed",
  });
  expect(terminal.lines.at(-2)).toContain("PROBLEM comfyui");
  outcome = plan([PROBLEM, PROBLEM]);
  expect(await failure("plan", { json: true })).toMatchObject({ exitCode: 2 });
  expect(JSON.parse(terminal.lines.at(-1) ?? "")).toMatchObject({ problems: [PROBLEM, PROBLEM] });
});

test("what was installed is put into force", async () => {
  outcome = installed();
  await run("install", { verify: true });
  expect(did).toEqual(["install false true", "apply", "close"]);
  expect(terminal.lines).toEqual(["installed: release r1 serves"]);
  expect(terminal.notes).toContain("warning: old driver");
  outcome = installed({ isChanged: false, release: null });
  await run("update");
  expect(did).toContain("install true false");
  expect(terminal.lines.at(-1)).toBe("nothing to do: no ComfyUI serves");
  outcome = installed();
  await run("install", { json: true });
  expect(JSON.parse(terminal.lines.at(-1) ?? "")).toMatchObject({ kind: "installed" });
});

test.each<[string, unknown, number, RegExp]>([
  ["busy", { kind: "busy", holder: "held by process 7" }, 3, /held by process 7.*--wait/],
  ["refused", { kind: "refused", plan: plan([PROBLEM]) }, 2, /nothing was changed/],
  [
    "failed",
    { kind: "failed", serving: "r0", results: [], logFile: "/log" },
    1,
    /the installation failed; release r0 serves on\. Log: \/log/,
  ],
  [
    "aborted",
    { kind: "aborted", serving: null, results: [], logFile: "/log" },
    130,
    /stopped before its end; nothing serves yet/,
  ],
])("an installation that is %s is not put into force", async (_, ended, exitCode, message) => {
  outcome = ended;
  const error = await failure("install");
  expect(error.exitCode).toBe(exitCode);
  expect(error.message).toMatch(message);
  expect(did).toEqual(["install false false", "close"]);
  const printed = terminal.lines.join("\n");
  expect(printed.includes("PROBLEM comfyui")).toBe(exitCode === 2);
});

test("Ctrl-C ends what is done, in order, with the code that shells have for it", async () => {
  outcome = () => {
    process.emit("SIGINT");
    throw new Error("asked to stop");
  };
  expect(await failure("install")).toMatchObject({
    exitCode: 130,
    message: "stopped before its end",
  });
  expect(did).toEqual(["install false false", "aborted", "close"]);
  expect(process.listenerCount("SIGINT")).toBe(0);
});

test("what breaks is told as it is, and the folder is closed", async () => {
  outcome = new Error("EIO");
  await expect(run("install")).rejects.toThrow("EIO");
  expect(did.at(-1)).toBe("close");
});

test("what a rollback holds back is gone by again when somebody says so", async () => {
  outcome = installed();
  await run("install", { endHold: true });
  await run("update", { endHold: true });
  const done = (what: string) => [`install ${what} false end hold`, "apply", "close"];
  expect(did).toEqual([...done("false"), ...done("true")]);
});

test("a rollback says what serves, or why nothing changed", async () => {
  const left = { from: "r2", to: "r1", at: 0, by: "operator", reason: null };
  outcome = { kind: "rolled_back", from: "r2", to: "r1", hold: { ...left, manifests: ["d"] } };
  await run("rollback");
  expect(terminal.lines[0]).toBe(
    "release r1 serves instead of r2; a running agent takes it at once",
  );
  expect(terminal.lines[1]).toMatch(/^machine\.yaml is held back since 1970.*--end-hold`$/);
  outcome = { kind: "rolled_back", from: null, to: "r1", hold: null };
  await run("rollback", { json: true });
  expect(JSON.parse(terminal.lines[2] ?? "")).toMatchObject({ to: "r1" });
  outcome = { kind: "nothing", reason: "there is no release before this one" };
  expect(await failure("rollback")).toMatchObject({
    exitCode: 2,
    message: "there is no release before this one",
  });
  outcome = { kind: "busy", holder: "process 7" };
  expect(await failure("rollback")).toMatchObject({ exitCode: 3 });
});

test("cleaning tells what went and what was kept", async () => {
  const gone = { what: "release r0", freedBytes: 2_000_000, sharedBytes: 3_000_000 };
  const log = { what: "log x", freedBytes: 4_096, sharedBytes: 0 };
  const kept = [{ what: "release r1", reason: "it serves" }];
  const skipped = { kind: "skipped", reason: "there is none" };
  const some = { removed: [gone, log], kept, freedBytes: 2_004_096, isDryRun: false };
  outcome = { ...some, uvCache: { kind: "pruned", detail: "Removed 7 files (1.2MiB)" } };
  await run("clean");
  expect(terminal.lines).toEqual([
    "removed release r0 (2.0 MB; 3.0 MB more are held by others too)",
    "removed log x (4.1 kB)",
    "kept release r1: it serves",
    "2.0 MB freed",
    "uv's cache: Removed 7 files (1.2MiB)",
  ]);
  terminal.lines.length = 0;
  outcome = { ...some, uvCache: skipped, isDryRun: true };
  await run("clean", { dryRun: true });
  expect(did).toContain("rehearse cleaning");
  expect(terminal.lines).toEqual([
    "would remove release r0 (2.0 MB; 3.0 MB more are held by others too)",
    "would remove log x (4.1 kB)",
    "would keep release r1: it serves",
    "2.0 MB would be freed",
    "uv's cache is left as it is: there is none",
  ]);
  const none = { removed: [], kept: [], freedBytes: 0, uvCache: skipped, isDryRun: false };
  outcome = none;
  await run("clean");
  expect(terminal.lines.slice(-2)).toEqual([
    "nothing to remove",
    "uv's cache is left as it is: there is none",
  ]);
  await run("clean", { json: true });
  expect(JSON.parse(terminal.lines.at(-1) ?? "")).toEqual(none);
  outcome = { kind: "busy", holder: "process 7" };
  expect(await failure("clean")).toMatchObject({ exitCode: 3 });
});

test("status, rollback and cleaning go by what is in force when the file is wrong", async () => {
  outcome = {
    lock: null,
    current: null,
    previous: null,
    releases: [],
    hold: null,
    damage: null,
    busyPid: null,
  };
  await run("status");
  expect(seen?.orApplied).toBe(true);
  expect(terminal.lines).toEqual([
    "nothing is installed: holdfast machine install",
    "no agent runs on this machine folder",
  ]);
  await run("status", { json: true });
  expect(JSON.parse(terminal.lines.at(-1) ?? "")).toMatchObject({ agent: { kind: "none" } });
  const uvCache = { kind: "skipped", reason: "there is none" };
  outcome = { removed: [], kept: [], freedBytes: 0, uvCache, isDryRun: false };
  await run("clean");
  expect(seen?.orApplied).toBe(true);
  outcome = installed();
  await run("install");
  expect(seen?.orApplied).toBeUndefined();
});

test("a manifest that cannot be used is refused with its problems; status tells them", async () => {
  refused = ["machine.yaml:3:1: nodess: unknown key"];
  expect(await failure("install")).toMatchObject({
    exitCode: 2,
    message: "machine.yaml cannot be used:\nmachine.yaml:3:1: nodess: unknown key",
  });
  await run("status");
  expect(terminal.lines).toEqual([...refused, "no agent runs on this machine folder"]);
  await run("status", { json: true });
  expect(JSON.parse(terminal.lines.at(-1) ?? "")).toEqual({
    problems: refused,
    agent: { kind: "none" },
  });
});

test("another installer is waited for as long as is said", async () => {
  outcome = installed();
  await run("install", { wait: 60_000 });
  expect(seen?.lockWaitMs).toBe(60_000);
  await run("install");
  expect(seen?.lockWaitMs).toBe(2_000);
});
