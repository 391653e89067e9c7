import type { FileLockTry } from "@holdfast/runtime/host";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { beforeEach, expect, test } from "vitest";
import { rememberingLog } from "../../testing/fake-host.ts";
import { FolderOwner } from "./folder-owner.ts";

let clock: FakeClock;
let log: ReturnType<typeof rememberingLog>;
/** Process that has the folder; null for nobody. */
let holder: number | null;
let failure: Error | null;
let releases: number;

beforeEach(() => {
  clock = createFakeClock();
  log = rememberingLog();
  holder = null;
  failure = null;
  releases = 0;
});

const owner = (): FolderOwner =>
  new FolderOwner({
    root: "/srv/m",
    clock,
    log,
    tryLock: (): Promise<FileLockTry> => {
      if (failure !== null) return Promise.reject(failure);
      if (holder !== null) return Promise.resolve({ kind: "theirs", pid: holder });
      holder = 1;
      const release = (): Promise<void> => {
        releases += 1;
        holder = null;
        return Promise.resolve();
      };
      return Promise.resolve({ kind: "ours", release });
    },
  });

test("a folder that is free is taken once, and given back once", async () => {
  const one = owner();
  expect(await one.isFree()).toBe(true);
  expect(releases).toBe(1);
  expect(await Promise.all([one.tryTake(), one.tryTake()])).toEqual([null, null]);
  expect([one.isOwner(), await one.isFree()]).toEqual([true, true]);
  await Promise.all([one.release(), one.release()]);
  expect(releases).toBe(2);
  expect(await one.tryTake()).toBe("/srv/m was given back");
});

test("whoever has it is named with what to do, and it is taken within a second of its end", async () => {
  holder = 77;
  const one = owner();
  expect(await one.isFree()).toBe(false);
  const told: string[] = [];
  const taking = one.untilTaken((reason) => told.push(reason), new AbortController().signal);
  await clock.advance(5_000);
  expect(told).toEqual([expect.stringMatching(/process 77 .*\/srv\/m.*HOLDFAST_MACHINE_DIR/)]);
  expect(one.isOwner()).toBe(false);
  holder = null;
  await clock.advance(1_000);
  await taking;
  expect(one.isOwner()).toBe(true);
  expect(log.lines).toHaveLength(2);
});

test("a folder that cannot be locked is tried again, and the reason is told", async () => {
  failure = new Error("EACCES: permission denied");
  const one = owner();
  const told: string[] = [];
  const taking = one.untilTaken((reason) => told.push(reason), new AbortController().signal);
  await clock.advance(2_000);
  expect(told).toEqual([
    "the machine folder /srv/m cannot be locked for this agent: EACCES: permission denied",
  ]);
  failure = null;
  await clock.advance(1_000);
  await taking;
});

test("a stop ends the wait at once", async () => {
  holder = 77;
  const stop = new AbortController();
  const taking = owner().untilTaken(() => undefined, stop.signal);
  await clock.advance(100);
  stop.abort(new Error("stopped"));
  await expect(taking).rejects.toThrow("stopped");
});
