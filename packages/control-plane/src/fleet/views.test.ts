import { DEFAULT_BREAKER_POLICY, lookAtBreaker, NO_SIGNS, wantedMachine } from "@holdfast/fleet";
import { describe, expect, it } from "vitest";
import type { Lever } from "./model.ts";
import { toEnded, toStored } from "./stored-machine.ts";
import { toBreakerView, toFailures, toLeverView, toMachineView } from "./views.ts";

const NOW = Date.parse("2026-01-31T12:00:00Z");
const MINUTE = 60_000;
const wanted = (id: string) =>
  toStored(
    wantedMachine(
      {
        id,
        name: `hf-gpu-${id}`,
        pool: "gpu",
        provider: "runpod",
        offer: { gpuType: "A", zone: null, isSpot: false },
        pricePerHour: 1.5,
      },
      NOW - 60 * MINUTE,
    ),
    {},
  );
const failed = (id: string, agoMs: number) =>
  toEnded(wanted(id), { cause: "failed", kind: "no_start", reason: "never healthy" }, NOW - agoMs);

describe("the breaker as people see it", () => {
  const lifespans = Array.from({ length: 7 }, (_, n) => ({
    machineId: `m${n}`,
    spawnedAt: NOW - 20 * MINUTE,
    healthyAt: null,
    end: n === 0 ? null : ({ at: NOW - 10 * MINUTE, cause: "failed", kind: "crash" } as const),
  }));
  const { view } = lookAtBreaker(lifespans, DEFAULT_BREAKER_POLICY, NOW);

  it("is in the words of the contract", () => {
    expect(toBreakerView(view, DEFAULT_BREAKER_POLICY, [])).toMatchObject({
      state: "open",
      text: "85.7% (6/7 machines in last 30 minutes)",
      spawning: "BLOCKED",
      windowMinutes: 30,
      resumesAt: new Date(NOW + 20 * MINUTE).toISOString(),
      causes: { crash: 6, no_start: 0 },
    });
  });

  const spread = (failures: number, policy = DEFAULT_BREAKER_POLICY) => {
    const over = Array.from({ length: failures }, (_, n) => ({
      machineId: `m${n}`,
      spawnedAt: NOW - 25 * MINUTE,
      healthyAt: null,
      end: { at: NOW - 20 * MINUTE + n, cause: "failed", kind: "crash" } as const,
    }));
    const living = { machineId: "m", spawnedAt: NOW - MINUTE, healthyAt: null, end: null };
    const looked = lookAtBreaker([...over, living], policy, NOW).view;
    return { looked, shown: (max?: number) => toBreakerView(looked, policy, [], max) };
  };
  const instants = ({ timeline }: { readonly timeline: readonly { readonly at: string }[] }) =>
    timeline.map(({ at }) => at);

  it("has a timeline of bounded length, the soonest points of it, and says what it leaves out", () => {
    const { looked, shown } = spread(250);
    const all = looked.timeline.map(({ at }) => new Date(at).toISOString());
    expect(all).toHaveLength(250);
    // Spawning resumes with the 247th.
    const resumesAt = shown().resumesAt ?? "";
    expect(all.indexOf(resumesAt)).toBeGreaterThan(200);
    expect(instants(shown())).toEqual([...all.slice(0, 99), resumesAt]);
    expect(shown().timelineLeftOut).toBe(150);
    expect(instants(shown(1))).toEqual([resumesAt]);
    expect(shown(250)).toMatchObject({ timelineLeftOut: 0 });
    expect(instants(shown(1_000))).toEqual(all);
  });

  it("of a breaker that is closed is the soonest points alone", () => {
    const { looked, shown } = spread(3, { ...DEFAULT_BREAKER_POLICY, threshold: 1 });
    expect(looked.resumesAt).toBeNull();
    expect(shown(2)).toMatchObject({ timelineLeftOut: 1 });
    expect(instants(shown(2))).toHaveLength(2);
  });

  it("is blocked by a pause, with who set it and why, whatever the rate is", () => {
    const { view: calm } = lookAtBreaker([], DEFAULT_BREAKER_POLICY, NOW);
    const lever = { madeBy: "key_ann", reason: "an outage" } as Lever;
    expect(toBreakerView(calm, DEFAULT_BREAKER_POLICY, []).spawning).toBe("ALLOWED");
    expect(toBreakerView(calm, DEFAULT_BREAKER_POLICY, [lever])).toMatchObject({
      state: "closed",
      spawning: "BLOCKED",
      reason: "the fleet is paused by key_ann: an outage",
    });
  });
});

describe("a machine as people see it", () => {
  it("is healthy as its agent tells, until it is to end", () => {
    const signs = { ...NO_SIGNS, isHealthy: true, heartbeatAt: NOW - 1_500 };
    const machine = toMachineView(wanted("a"), signs, NOW);
    expect(machine).toMatchObject({ isHealthy: true, heartbeatAgeMs: 1_500, gpuType: "A" });
    expect(toMachineView(failed("a", 1), signs, NOW)).toMatchObject({
      isHealthy: false,
      endCause: "failed",
      endKind: "no_start",
      reason: "never healthy",
    });
  });

  it("has no heartbeat from the future, where clocks differ", () => {
    const signs = { ...NO_SIGNS, heartbeatAt: NOW + 5 };
    expect(toMachineView(wanted("a"), signs, NOW).heartbeatAgeMs).toBe(0);
    expect(toMachineView(wanted("a"), NO_SIGNS, NOW).heartbeatAgeMs).toBeNull();
  });

  it("tells why somebody wants it ended, and the provider's trouble before that", () => {
    const asked = { ...wanted("a"), trouble: "no GPU" };
    expect(toMachineView(asked, NO_SIGNS, NOW).reason).toBe("no GPU");
    const toEnd = { ...asked, endRequest: { by: "key_a", reason: "too dear", now: false } };
    expect(toMachineView(toEnd, NO_SIGNS, NOW).reason).toBe("too dear");
  });
});

describe("failures side by side", () => {
  const policy = { ...DEFAULT_BREAKER_POLICY, clearedBefore: NOW - 20 * MINUTE };

  it("are those that count now, the last one first", () => {
    const machines = [
      failed("out", 30 * MINUTE),
      failed("cleared", 21 * MINUTE),
      failed("first", 15 * MINUTE),
      failed("last", 1 * MINUTE),
      toEnded(wanted("meant"), { cause: "intended", kind: null, reason: "idle" }, NOW - 1),
      wanted("lives"),
    ];
    expect(toFailures(machines, policy, NOW).map(({ id }) => id)).toEqual(["last", "first"]);
  });

  it("are 20 at most", () => {
    const many = Array.from({ length: 30 }, (_, n) => failed(`m${n}`, n + 1));
    expect(toFailures(many, policy, NOW)).toHaveLength(20);
  });
});

it("an instant of a lever is told as an instant", () => {
  const lever = { id: "lev_1", kind: "clear", value: NOW, madeAt: NOW, undoneAt: null } as Lever;
  expect(toLeverView(lever)).toMatchObject({ value: "2026-01-31T12:00:00.000Z", undoneAt: null });
});
