import { expect, it } from "vitest";
import type { Lifespan } from "../lifespan.ts";
import { desiredInstances, startAllowance } from "./desired-size.ts";

const DEMAND = { waitingJobs: 0, runningJobs: 0, jobMs: 60_000, oldestWaitMs: null };
const TARGET = { targetWaitMs: 120_000 };

it.each([
  ["nothing to do", {}, 0],
  ["one job", { waitingJobs: 1 }, 1],
  ["what one instance starts in time", { waitingJobs: 2 }, 1],
  ["what two do", { waitingJobs: 4 }, 2],
  ["a hundred", { waitingJobs: 100 }, 50],
  ["a hundred that are late already", { waitingJobs: 100, oldestWaitMs: 180_000 }, 75],
  ["at most twice as many however late", { waitingJobs: 100, oldestWaitMs: 9e9 }, 100],
  ["running jobs count for half", { waitingJobs: 2, runningJobs: 4 }, 2],
  ["jobs longer than the target need one each", { waitingJobs: 3, jobMs: 600_000 }, 3],
  ["jobs of unknown length are taken for 30 s", { waitingJobs: 8, jobMs: null }, 2],
])("%s", (_, demand, instances) => {
  expect(desiredInstances({ ...DEMAND, ...demand }, TARGET)).toBe(instances);
});

const cameUp = (at: number, failedAt?: number): Lifespan => ({
  machineId: `up${at}`,
  spawnedAt: 0,
  healthyAt: at,
  end: failedAt === undefined ? null : { at: failedAt, cause: "failed", kind: "crash" },
});
const never = (at: number): Lifespan => ({
  machineId: `never${at}`,
  spawnedAt: 0,
  healthyAt: null,
  end: { at, cause: "failed", kind: "no_start" },
});

it.each<[string, readonly Lifespan[], number]>([
  ["one while none has come up", [], 1],
  ["two after the first", [cameUp(1)], 2],
  ["four after a wave of two", [1, 2, 3].map((at) => cameUp(at)), 4],
  ["half as many after one that never did", [...[1, 2, 3].map((at) => cameUp(at)), never(4)], 2],
  ["one after some that never did", [cameUp(1), never(2), never(3)], 1],
  ["as many though those that worked have died", [1, 2, 3].map((at) => cameUp(at, 9)), 4],
])("starts %s", (_, lifespans, allowed) => {
  expect(startAllowance(lifespans, { startAtOnce: 1, growth: 2 })).toBe(allowed);
  expect(startAllowance(lifespans, { startAtOnce: 3, growth: 1 })).toBe(3);
});
