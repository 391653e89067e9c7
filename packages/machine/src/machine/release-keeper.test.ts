import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { beforeEach, expect, test } from "vitest";
import { rememberingLog } from "../../testing/fake-host.ts";
import type { RollbackOutcome } from "../install/installer.ts";
import { ReleaseKeeper, type ReleaseKeeperOptions } from "./release-keeper.ts";

let clock: FakeClock;
let log: ReturnType<typeof rememberingLog>;
let current: string;
let outcomes: (RollbackOutcome | Error)[];
let calls: string[];
/** For what and why, as the installer is told. */
let leaving: string[];
/** What the installer is told to find, and to leave alone when it finds another one. */
let expected: (string | undefined)[];
let keeper: ReleaseKeeper;

type OwnInstaller = NonNullable<ReturnType<ReleaseKeeperOptions["installer"]>>;

beforeEach(() => {
  clock = createFakeClock();
  log = rememberingLog();
  current = "r2";
  outcomes = [{ kind: "rolled_back", from: "r2", to: "r1", hold: null }];
  calls = [];
  leaving = [];
  expected = [];
  const rollback: OwnInstaller["rollback"] = (_signal, request) => {
    calls.push("rollback");
    expected.push(request?.from);
    leaving.push(`${request?.to}: ${request?.leaving}`);
    const outcome = outcomes.shift();
    if (outcome === undefined) return Promise.reject(new Error("asked too often"));
    if (outcome instanceof Error) return Promise.reject(outcome);
    if (outcome.kind === "rolled_back") current = outcome.to;
    return Promise.resolve(outcome);
  };
  const status = () => Promise.resolve({ current });
  const installer = { status, rollback } as unknown as OwnInstaller;
  keeper = new ReleaseKeeper({
    clock,
    log,
    installer: () => installer,
    refresh: () => {
      calls.push(`refresh ${current}`);
      return Promise.resolve();
    },
    passOver: () => calls.push("pass over"),
  });
  const seen = { healthy: new Set(["comfyui-gpu0"]), ill: new Set(["comfyui-gpu1"]) };
  keeper.switched("r1", "r2", seen);
});
const failure = { release: "r2", instance: "comfyui-gpu0", reason: "it ends again and again" };

test("a new release that does not work is left for the one before, and that is told", async () => {
  keeper.failed(failure);
  await clock.advance(0);
  expect(calls).toEqual(["rollback", "refresh r1"]);
  expect(leaving).toEqual(["r1: comfyui-gpu0: it ends again and again"]);
  expect(expected).toEqual(["r2"]);
  expect(log.lines.join()).toContain("release is left for the one before");
  await keeper.end();
});

test("one that has proved itself is kept: something else has changed", async () => {
  keeper.looked([{ name: "comfyui-gpu0", isHealthy: true, isHindered: false }]);
  keeper.failed(failure);
  await clock.advance(60_000);
  expect(calls).toEqual([]);
  expect(log.lines.join()).toContain("release is not left");
});

test("one that was ill before is passed over", async () => {
  keeper.failed({ ...failure, instance: "comfyui-gpu1" });
  await clock.advance(0);
  expect(calls).toEqual(["pass over"]);
  expect(log.lines.join()).toContain("instance was ill before, its release is not left for it");
  keeper.failed(failure);
  await clock.advance(0);
  expect(calls).toEqual(["pass over", "rollback", "refresh r1"]);
});

test("one that was not there before is passed over, in words of its own", async () => {
  keeper.failed({ ...failure, instance: "comfyui-gpu2" });
  await clock.advance(0);
  expect(calls).toEqual(["pass over"]);
  expect(log.lines.join()).toContain("instance had not been healthy before, its release is not");
});

test("it is not passed over when none that was healthy is planned any more", async () => {
  keeper.planned(["comfyui-gpu1", "comfyui-gpu2"]);
  keeper.failed({ ...failure, instance: "comfyui-gpu2" });
  await clock.advance(0);
  expect(calls).toEqual(["rollback", "refresh r1"]);
});

test("one that does not serve any more needs no leaving", async () => {
  current = "r3";
  keeper.failed(failure);
  await clock.advance(0);
  expect(calls).toEqual([]);
});

test("an installer at work is waited for", async () => {
  outcomes.unshift({ kind: "busy", holder: "process 7" });
  keeper.failed(failure);
  await clock.advance(4_999);
  expect(calls).toEqual(["rollback"]);
  await clock.advance(1);
  expect(calls.slice(0, 3)).toEqual(["rollback", "rollback", "refresh r1"]);
});

test("when the installer at work has linked another one, that is not undone", async () => {
  outcomes.unshift({ kind: "busy", holder: "process 7" });
  keeper.failed(failure);
  await clock.advance(0);
  current = "r3";
  await clock.advance(5_000);
  expect(calls).toEqual(["rollback"]);
});

test("nor when it was linked while the lock was waited for", async () => {
  outcomes.unshift({ kind: "nothing", reason: "another one serves", serving: "r3" });
  keeper.failed(failure);
  await clock.advance(60_000);
  expect(calls).toEqual(["rollback"]);
  expect(log.lines.join()).toContain("release is not left");
  expect(log.lines.join()).not.toContain("could not be taken again");
});

test.each<[string, RollbackOutcome | Error]>([
  ["there is none before", { kind: "nothing", reason: "there is none", serving: "r2" }],
  ["the disk fails", new Error("EIO")],
])("it is said when %s, and the next failure is handled all the same", async (_, outcome) => {
  outcomes.unshift(outcome);
  keeper.failed(failure);
  keeper.failed(failure);
  await clock.advance(0);
  expect(log.lines.join()).toContain("the release before could not be taken again");
  expect(calls.slice(0, 3)).toEqual(["rollback", "rollback", "refresh r1"]);
});

test("an end waits for what is on its way, and begins nothing new", async () => {
  outcomes.unshift({ kind: "busy", holder: "process 7" });
  keeper.failed(failure);
  await clock.advance(0);
  await keeper.end();
  keeper.failed(failure);
  await clock.advance(60_000);
  expect(calls).toEqual(["rollback"]);
  expect(clock.sleeperCount()).toBe(0);
  expect(log.lines.join()).not.toContain("could not be taken again");
});
