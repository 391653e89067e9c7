import { describe, expect, it } from "vitest";
import { CLOSED, fleet, health, machine } from "../../testing/fleet-facts.ts";
import { healthLine, healthLines, stateOf, type HealthSight } from "./health-text.ts";
import { answered, fakeApi, refused } from "../../testing/fake-api.ts";
import type { ApiAnswer } from "../api/api-client.ts";
import { firingAlerts, healthExitCode, toHealthSight } from "./run-health.ts";

const told = (more: Parameters<typeof health>[0] = {}): HealthSight => ({
  kind: "told",
  health: health(more),
});
const SILENT: HealthSight = {
  kind: "silent",
  url: "http://127.0.0.1:8328",
  reason: "nothing listens there",
};

describe("the system's health as a page", () => {
  it("is the state, the problems with their advice, and the fleet", () => {
    expect(healthLines(told(), 160)).toEqual([
      "DEGRADED: work gets done, and something is wrong",
      "",
      "degraded  failure rate 85.7% (6/7 machines in last 30 minutes): spawning BLOCKED",
      "          → wait: 1 machine works",
      "",
      "Machines         1 of 2, heartbeat 1.5 s ago (hf-gpu-1)",
      "Queued tasks     42, the oldest has waited for 5 min 3 s; 3 running",
      "Failure rate     85.7% (6/7 machines in last 30 minutes)",
      expect.stringMatching(/^Spawning {9}BLOCKED: failure rate/),
      "Cost             $2.40 an hour",
      "Advice           WAIT: 1 machine works",
    ]);
  });

  it("is short while all is well", () => {
    const lines = healthLines(
      told({ state: "healthy", problems: [], fleet: fleet({ breaker: CLOSED }) }),
      100,
    );
    expect(lines.slice(0, 3)).toEqual([
      "HEALTHY: work gets done",
      "",
      "Machines         1 of 2, heartbeat 1.5 s ago (hf-gpu-1)",
    ]);
  });

  it("of a server that does not answer is down, where it was looked for, and what to do", () => {
    expect(stateOf(SILENT)).toBe("down");
    const text = healthLines(SILENT, 160).join("\n");
    expect(text).toMatch(/^DOWN: no work can be done/);
    expect(text).toContain("http://127.0.0.1:8328 does not answer: nothing listens there");
    expect(text).toContain("HOLDFAST_URL");
  });

  it("has a line of alerts that fire, where there are any", async () => {
    const firing = (answer: ApiAnswer) => firingAlerts(fakeApi(() => answer));
    const two = await firing(answered({ items: [{}, {}], next: null }));
    expect(healthLines(told(), 160, two)).toContain(
      "Alerts           2 firing: holdfast alerts list",
    );
    const many = await firing(answered({ items: [{}, {}], next: "c" }));
    expect(healthLines(told(), 160, many).at(-1)).toContain("over 2 firing");
    for (const answer of [answered({ items: [], next: null }), refused(403, "forbidden", "no")]) {
      expect(healthLines(told(), 160, await firing(answer)).join()).not.toContain("Alerts");
    }
  });

  it("says what its cost leaves out, and folds what is too wide", () => {
    const machines = [machine({ pricePerHour: null })];
    const lines = healthLines(told({ fleet: fleet({ machines }) }), 60);
    expect(lines).toContain("Cost             $2.40 an hour, and 1 whose price is not");
    expect(lines[2]).toBe("degraded  failure rate 85.7% (6/7 machines in last 30");
    expect(lines[3]).toBe("          minutes): spawning BLOCKED");
  });

  it("is one line for a log, without what changes by the second", () => {
    expect(healthLine(told())).toBe(
      "DEGRADED; failure rate 85.7% (6/7 machines in last 30 minutes): spawning BLOCKED",
    );
  });

  it("lets nothing from outside steer the screen", () => {
    const problems = [{ severity: "down", what: "\u001B[2J", advice: "\u0007" }] as const;
    expect(healthLines(told({ problems: [...problems] }), 160).join("")).not.toMatch(/\p{Cc}/u);
  });
});

it.each([
  ["healthy", 0],
  ["degraded", 1],
  ["down", 2],
] as const)("%s exits %d", (state, code) => {
  expect(healthExitCode(state)).toBe(code);
});

describe("what a server answers", () => {
  const at = (body: unknown) => toHealthSight({ kind: "seen", body }, "http://x");

  it("is taken as it is", () => {
    expect(at(health())).toEqual(told());
  });

  it.each([["<html>"], [{}], [{ ...health(), state: "splendid" }], [{ ...health(), fleet: null }]])(
    "is down where it is none of Holdfast's",
    (body) => {
      const sight = at(body);
      expect(stateOf(sight)).toBe("down");
      expect(healthLines(sight, 160).join("\n")).toContain("is it a Holdfast server");
    },
  );
});
