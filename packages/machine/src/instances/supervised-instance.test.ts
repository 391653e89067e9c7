import { seededRandom } from "@holdfast/runtime";
import { expect, test } from "vitest";
import { gpuPlan, plan } from "../../testing/instance-facts.ts";
import {
  isSamePlace,
  newProcess,
  placeOf,
  SupervisedInstance,
  watchProcess,
  type ProcessSeen,
} from "./supervised-instance.ts";
import { DEFAULT_SUPERVISOR_POLICY } from "./supervisor-options.ts";

const record = newProcess({
  pid: 1,
  startTime: "s",
  digest: "d",
  isManaged: true,
  isNew: false,
  startedAt: 0,
  startedAtEpoch: null,
  adoptedAt: null,
  place: placeOf(plan()),
});
const health = (
  state: "starting" | "healthy" | "unhealthy" | "stopped",
  more: Partial<NonNullable<ProcessSeen["health"]>> = {},
): ProcessSeen["health"] => ({ state, reason: null, isBusy: false, ...more });

test("it is healthy only while its port is listened on, whatever the runner still believes", () => {
  expect(
    watchProcess(record, { now: 5, isListening: false, health: health("healthy") }, 30_000),
  ).toMatchObject({ isHealthy: false, answeredAt: null, silentSince: null });
  expect(
    watchProcess(record, { now: 5, isListening: true, health: health("healthy") }, 30_000),
  ).toMatchObject({ isHealthy: true, answeredAt: 5, healthySince: 5 });
});

test("without a runner, listening has to do", () => {
  const seen = { now: 5, isListening: true, health: undefined };
  expect(watchProcess(record, seen, 30_000)).toMatchObject({ isHealthy: true, isBusy: false });
});

test("instants are those of the first look, and end with what they tell", () => {
  let now = 0;
  const look = (of: ProcessSeen["health"], from = record, isListening = true): typeof record =>
    watchProcess(from, { now: (now += 10), isListening, health: of }, 30_000);
  const bad = look(health("unhealthy", { reason: "zombie" }), look(health("unhealthy")));
  expect(bad).toMatchObject({ unhealthySince: 10, healthReason: "zombie", healthySince: null });
  const well = look(health("healthy"), look(health("healthy"), bad));
  expect(well).toMatchObject({ unhealthySince: null, healthySince: 30, answeredAt: 10 });
  const silent = look(health("stopped"), look(health("starting"), well), false);
  expect(silent).toMatchObject({ silentSince: 50, healthySince: null });
  expect(look(health("unhealthy", { isMendedByRestart: false }), record).unhealthySince).toBeNull();
});

test("a place is address and card", () => {
  expect(placeOf(gpuPlan(1)).things).toEqual([
    { kind: "gpu", uuid: "GPU-00000001" },
    { kind: "port", port: 8_189 },
  ]);
  expect(isSamePlace(gpuPlan(1), gpuPlan(1, { flags: ["--lowvram"] }))).toBe(true);
  expect(isSamePlace(gpuPlan(1), gpuPlan(1, { port: 1 }))).toBe(false);
});

test("of ends so many are kept, and only those that nobody asked for are failures", () => {
  const one = new SupervisedInstance(plan());
  for (let at = 1; at <= 30; at += 1) {
    one.found({ ...record, pid: at });
    one.ended(
      { endedAt: at, wasAsked: at !== 7, reason: "x", exitCode: null },
      at,
      DEFAULT_SUPERVISOR_POLICY,
      seededRandom(1),
    );
  }
  expect(one.exits).toHaveLength(20);
  expect(one.processes).toBe(30);
  expect(one.failures.inRow).toBe(1);
  one.ended(
    { endedAt: 0, wasAsked: false, reason: "none", exitCode: null },
    0,
    DEFAULT_SUPERVISOR_POLICY,
    seededRandom(1),
  );
  expect(one.exits).toHaveLength(20);
});

test("what was decided about a process is not told of it once it has ended", () => {
  const one = new SupervisedInstance(plan());
  one.found(record);
  one.lastAction = { kind: "nothing", reason: "it is as it should be" };
  const end = { endedAt: 5, wasAsked: false, reason: "it ended", exitCode: null };
  one.ended(end, 5, DEFAULT_SUPERVISOR_POLICY, seededRandom(1));
  expect(one.lastAction).toBeNull();
});
