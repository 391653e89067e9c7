import { describe, expect, it } from "vitest";
import { CLOSED, failure, fleet, machine, NOW } from "../../testing/fleet-facts.ts";
import { costText, healthyText, statusLines } from "./status-text.ts";

const LOOK = { now: NOW, columns: 120 };
const from = (lines: readonly string[], start: string, count: number) => {
  const index = lines.findIndex((line) => line.startsWith(start));
  return lines.slice(index, index + count);
};

describe("the status of a fleet", () => {
  const lines = statusLines(fleet(), LOOK);

  it("begins with the breaker and what to do, and shows failures side by side", () => {
    expect(lines[0]).toBe("Failure rate     85.7% (6/7 machines in last 30 minutes)");
    expect(lines[2]).toMatch(/^Spawning +BLOCKED: failure rate/);
    expect(lines[5]).toBe("Advice           WAIT: 1 machine works");
    expect(from(lines, "Failures by", 5)).toEqual([
      "Failures by      no_start 5, crash 1",
      "  NAME       KIND               ENDED        LIVED  WHY",
      "  hf-gpu-f5  crash     4 min 30 s ago  15 min 30 s  the pod has exited",
      "  hf-gpu-f4  no_start  5 min 30 s ago  14 min 30 s  not healthy within 10 min",
      "Timeline         the rate after each failure has left the window",
    ]);
  });

  it("shows machines, queue, cost, levers and pools", () => {
    expect(from(lines, "Healthy machines", 10)).toEqual([
      "Healthy machines 1 of 2, heartbeat 1.5 s ago (hf-gpu-1)",
      "Other machines   1 starting",
      "Queued tasks     42, the oldest has waited for 5 min 3 s; 3 running",
      "Cost             $2.40 an hour",
      "Levers in force",
      "  LEVER  SETS           BY       SET            WHY",
      "  lev_1  threshold 90%  key_ann  5 min 0 s ago  the image is mended",
      "Pools",
      "  POOL  PROVIDER  MACHINES  WANTED  MIN  MAX  HELD BACK BY",
      "  gpu   runpod           2       4    0    4  too many machines fail: the breaker is open",
    ]);
  });

  it("has room on any screen, and keeps the end of reasons", () => {
    const reason = "its provider says that it ended: the process ended with exit code 3";
    const name = "hf-gpu-abcdef-bcdfghjkmn";
    const shown = statusLines(fleet({ failures: [failure(4, { name, reason })] }), {
      now: NOW,
      columns: 80,
    });
    expect(Math.max(...shown.map(({ length }) => length))).toBeLessThanOrEqual(80);
    expect(shown).toContain(`      ${reason}`);
  });

  it("says none where there is none, and that nobody leads", () => {
    const bare = fleet({
      breaker: CLOSED,
      failures: [],
      pools: [],
      levers: [],
      machines: [],
      counts: { living: 0, healthy: 0, starting: 0, draining: 0, ending: 0 },
      queuedTasks: 0,
      runningTasks: 0,
      oldestQueuedMs: null,
      costPerHour: 0,
      isLed: false,
    });
    expect(statusLines(bare, LOOK).slice(4)).toEqual([
      "Advice           WAIT: 1 machine works",
      "Leader           none: nothing is started or ended meanwhile",
      "Healthy machines 0 of 0",
      "Queued tasks     0; 0 running",
      "Cost             $0.00 an hour",
      "Levers in force  none",
      "Pools            none",
    ]);
  });

  it("tells when a pool that has no capacity is asked again", () => {
    const [pool] = fleet().pools;
    const blockedUntil = "2026-01-31T12:11:00.000Z";
    const held = "the provider has none now: no GPU";
    const pools = pool === undefined ? [] : [{ ...pool, held, blockedUntil }];
    expect(statusLines(fleet({ pools }), LOOK).join("\n")).toContain(
      `${held}; asked again in 1 min 0 s`,
    );
  });

  it("makes up no reason where none is told", () => {
    const [pool] = fleet().pools;
    const blockedUntil = "2026-01-31T12:11:00.000Z";
    const pools = pool === undefined ? [] : [{ ...pool, held: null, blockedUntil }];
    expect(statusLines(fleet({ pools }), LOOK).join("\n")).toContain(
      "blocked, and the control plane does not tell why; asked again in 1 min 0 s",
    );
  });

  it("lets nothing from outside steer the screen", () => {
    const advice = { kind: "wait", text: "a\u001B[2Jb" } as const;
    expect(statusLines(fleet({ advice }), LOOK).join("\n")).not.toContain("\u001B");
  });
});

describe("healthy machines", () => {
  it("have the oldest heartbeat first, and are not all named", () => {
    const machines = [5, 50, 1, 20, 30].map((s) =>
      machine({ name: `m${s}`, heartbeatAgeMs: s * 1_000 }),
    );
    const counts = { ...fleet().counts, living: 5, healthy: 5 };
    expect(healthyText(fleet({ machines, counts }))).toBe(
      "5 of 5, heartbeats 50.0 s ago (m50), 30.0 s ago (m30), 20.0 s ago (m20), 5.0 s ago (m5), 1 more",
    );
  });

  it("where there is none: when something was last heard", () => {
    const machines = [machine({ isHealthy: false, heartbeatAgeMs: 90_000 })];
    const counts = { ...fleet().counts, living: 1, healthy: 0 };
    expect(healthyText(fleet({ machines, counts }))).toBe(
      "0 of 1, last heartbeat 1 min 30 s ago (hf-gpu-1)",
    );
  });
});

it("the cost says what it leaves out", () => {
  const machines = [
    machine({ pricePerHour: null }),
    machine({ pricePerHour: null, provider: "static" }),
  ];
  expect(costText(fleet({ machines, costPerHour: 0 }))).toBe(
    "$0.00 an hour, and 1 whose price is not known",
  );
});
