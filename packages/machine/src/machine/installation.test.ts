import type { ToldRun } from "@holdfast/agent";
import { seededRandom } from "@holdfast/runtime";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { beforeEach, expect, test } from "vitest";
import { rememberingLog } from "../../testing/fake-host.ts";
import type { InstallOutcome, Installer, InstallRequest } from "../install/installer.ts";
import type { StepResult } from "../install/model.ts";
import type { ReleaseHold } from "../install/release/release-hold.ts";
import { decideServiceState } from "../services/service-state.ts";
import { Installation } from "./installation.ts";

let clock: FakeClock;
let log: ReturnType<typeof rememberingLog>;
let changes: number;
let told: ToldRun[];
let releases: number;
let installation: Installation;

beforeEach(() => {
  clock = createFakeClock();
  log = rememberingLog();
  changes = 0;
  told = [];
  releases = 0;
  installation = new Installation({
    clock,
    random: seededRandom(1),
    log,
    onChange: () => (changes += 1),
    onEvent: undefined,
    tellRun: (run) => told.push(run),
  });
  installation.note({ isConfigured: true });
});

const result = (over: Partial<StepResult> = {}): StepResult => ({
  id: "comfyui",
  title: "ComfyUI",
  isOptional: false,
  outcome: "failed",
  startedAt: 0,
  durationMs: 0,
  detail: "no network",
  advice: null,
  ...over,
});
const INSTALLED: InstallOutcome = {
  kind: "installed",
  release: "r1",
  isChanged: true,
  results: [],
  hold: null,
  warnings: ["old driver"],
  logFile: "/logs/run",
};
const FAILED: InstallOutcome = {
  kind: "failed",
  serving: null,
  results: [result()],
  logFile: "/logs/run",
};
/** Answers one call after the other, and the last for ever. */
const installing = (
  ...answers: readonly (InstallOutcome | Error | ((request: InstallRequest) => Promise<unknown>))[]
): Installer & { calls(): number } => {
  let calls = 0;
  const install = async (request: InstallRequest): Promise<InstallOutcome> => {
    const answer = answers[Math.min(calls, answers.length - 1)];
    calls += 1;
    if (answer instanceof Error) throw answer;
    return (await (typeof answer === "function" ? answer(request) : answer)) as InstallOutcome;
  };
  return { install, calls: () => calls } as unknown as Installer & { calls(): number };
};
const begin = (installer: Installer, signal = new AbortController().signal) => {
  const onRelease = () => {
    releases += 1;
    return Promise.resolve();
  };
  const state = { ended: "" };
  const done = installation.untilInstalled(installer, onRelease, signal).then(
    () => (state.ended = "installed"),
    (error: unknown) => (state.ended = String(error)),
  );
  return { done, state };
};
const told2 = () => decideServiceState(installation.source().facts());

test("what is installed is told, with its warnings and its log", async () => {
  const { done } = begin(installing(INSTALLED));
  await done;
  expect(releases).toBe(1);
  expect(told2().state).toBe("healthy");
  expect(installation.source().details()).toMatchObject({
    phase: "installed",
    warnings: ["old driver"],
  });
  expect(installation.source().logFiles()).toEqual(["/logs/run"]);
});

test("a failure is tried again after growing pauses, each told with its instant", async () => {
  const installer = installing(FAILED, FAILED, new Error("disk gone"), INSTALLED);
  const { state } = begin(installer);
  await clock.advance(0);
  expect(told2()).toMatchObject({ state: "unhealthy" });
  expect(told2().reason).toContain("ComfyUI: no network");
  const { retryAt } = installation.source().details() as { retryAt: number };
  expect(retryAt - clock.now()).toBeGreaterThan(20_000);
  await clock.advance(retryAt - clock.now());
  expect(installer.calls()).toBe(2);
  const second = (installation.source().details() as { retryAt: number }).retryAt - clock.now();
  expect(second).toBeGreaterThan(40_000);
  await clock.advance(second);
  expect(told2().reason).toContain("disk gone");
  await clock.advance(200_000);
  expect([state.ended, releases]).toEqual(["installed", 4]);
  expect(clock.sleeperCount()).toBe(0);
});

test("another installer at work is waited for, and is no failure", async () => {
  const busy: InstallOutcome = { kind: "busy", holder: "process 7" };
  const { state } = begin(installing(busy, busy, INSTALLED));
  await clock.advance(0);
  expect(told2()).toMatchObject({ state: "starting" });
  expect(told2().reason).toContain("another installer is at work: process 7");
  await clock.advance(10_000);
  expect(state.ended).toBe("installed");
  expect(log.lines.join()).not.toContain("installation failed");
});

test("an end from outside ends the run and the pause, with its reason", async () => {
  const stop = new AbortController();
  const paused = begin(installing(FAILED), stop.signal);
  await clock.advance(0);
  stop.abort(new Error("stopping"));
  await paused.done;
  expect(paused.state.ended).toBe("Error: stopping");
  const again = new AbortController();
  const run = begin(
    installing(async ({ signal }) => {
      await clock.sleep(60_000, signal).catch(() => undefined);
      return { ...FAILED, kind: "aborted" };
    }),
    again.signal,
  );
  await clock.advance(1_000);
  again.abort(new Error("stopping"));
  await run.done;
  expect(run.state.ended).toBe("Error: stopping");
  expect(clock.sleeperCount()).toBe(0);
});

test("a release that cannot be taken ends it: that is somebody else's failure", async () => {
  const done = installation.untilInstalled(
    installing(INSTALLED),
    () => Promise.reject(new Error("cannot be read")),
    new AbortController().signal,
  );
  await expect(done).rejects.toThrow("cannot be read");
  expect(told2().state).toBe("starting");
});

test("a thousand pieces of one step change what is told a hundred times", async () => {
  const { done } = begin(
    installing(({ onEvent }) => {
      onEvent?.({ kind: "step.started", at: 0, id: "m", title: "Model" });
      changes = 0;
      for (let piece = 0; piece < 1_000; piece += 1) {
        const progress = { done: piece, total: 1_000, unit: "bytes", detail: null } as const;
        onEvent?.({ kind: "step.progress", at: 0, id: "m", progress });
      }
      expect(changes).toBe(100);
      expect(told2().reason).toContain("Model: 99 %");
      return Promise.resolve(INSTALLED);
    }),
  );
  await done;
});

test("a run is told to the control plane, as an update when something serves", async () => {
  const withStep = (outcome: InstallOutcome) =>
    installing(({ onEvent }) => {
      onEvent?.({ kind: "step.ended", at: 0, result: result({ outcome: "done" }) });
      return Promise.resolve(outcome);
    });
  await begin(withStep(INSTALLED)).done;
  installation.note({ serving: "r1" });
  await clock.advance(1_000);
  await begin(withStep(INSTALLED)).done;
  expect(told.map(({ kind }) => kind)).toEqual(["install", "install", "update", "update"]);
  expect(new Set(told.map(({ runId }) => runId)).size).toBe(2);
});

const heldBy = (by: ReleaseHold["by"], at = 5): ReleaseHold => {
  const left = { from: "r2", to: "r1", at, by, reason: "gpu0: it ends again and again" };
  return { version: 1, manifests: ["d"], ...left };
};

test("a manifest that is held back is told as long as it is", async () => {
  await begin(installing(INSTALLED)).done;
  installation.note({ serving: "r1", hold: heldBy("operator") });
  expect(told2()).toMatchObject({ state: "healthy" });
  expect(told2().reason).toMatch(/held back since .*: release r1 serves instead of r2 \(somebody/);
  expect(installation.source().details()).toMatchObject({ hold: { from: "r2" } });
  expect(log.lines.join()).toContain("manifest is held back");
  changes = 0;
  installation.note({ serving: "r1", hold: heldBy("operator") });
  expect(changes).toBe(0);
  // That a release did not work needs a person.
  installation.note({ hold: heldBy("machine", 6) });
  expect(told2()).toMatchObject({ state: "unhealthy" });
  expect(told2().reason).toContain("r2 did not work: gpu0: it ends again and again");
  installation.note({ hold: null });
  expect(told2()).toMatchObject({ state: "healthy" });
});

test("that what is held is damaged is told, and logged once", async () => {
  await begin(installing(INSTALLED)).done;
  const damage = "release r1 serves and is damaged: main.py is gone";
  for (let again = 0; again < 2; again += 1) {
    installation.note({ serving: "r1", hold: heldBy("operator"), damage });
  }
  expect(told2()).toMatchObject({ state: "unhealthy", reason: expect.stringContaining(damage) });
  expect(installation.source().details()).toMatchObject({ damage });
  expect(log.lines.filter((line) => line.includes("release that is held is damaged"))).toHaveLength(
    1,
  );
  installation.note({ serving: "r2", hold: null, damage: null });
  expect(told2()).toMatchObject({ state: "healthy" });
});

test("what is noted is told once, and what serves stays as it is unless it is said", () => {
  changes = 0;
  installation.note({ isConfigured: true });
  expect(changes).toBe(0);
  installation.note({ serving: "r1" });
  installation.note({ isConfigured: false });
  installation.note({ isConfigured: true });
  expect(changes).toBe(3);
  expect(installation.status()).toMatchObject({ state: "installed", version: "r1" });
  installation.refuse("release r2 did not work");
  expect(installation.source().details()).toMatchObject({ phase: "failed", retryAt: null });
});
