import { expect, it } from "vitest";
import { failure, machine, NOW } from "../../testing/fleet-facts.ts";
import { failureLines, machineLines } from "./machines-text.ts";

const LOOK = { now: NOW, columns: 140 };

it("machines are lines: how they are, for how long, and why", () => {
  const machines = [
    machine(),
    machine({
      name: "hf-gpu-2",
      state: "asked",
      isHealthy: false,
      heartbeatAgeMs: null,
      createdAt: null,
      pricePerHour: null,
      jobs: 0,
      reason: "no GPU",
      forcedBy: "key_ann",
    }),
    failure(4),
  ];
  expect(machineLines(machines, LOOK)).toEqual([
    "NAME       POOL  STATE           HEARTBEAT  JOBS          AGE   $/H  WHY",
    "hf-gpu-1   gpu   ready, healthy  1.5 s ago     1    1 h 9 min  1.20",
    "hf-gpu-2   gpu   asked               never     0   1 h 10 min        no GPU; started by key_ann",
    "hf-gpu-f4  gpu   ended, failed                 1  14 min 30 s  1.20  no_start: not healthy within 10 min",
  ]);
});

it("machines without a price leave the room of it, and a reason is never cut", () => {
  const reason = "its provider says that it ended: the process ended with exit code 3";
  const one = failure(4, { name: "hf-gpu-abcdef-bcdfghjkmn", pricePerHour: null, reason });
  const lines = machineLines([one], { now: NOW, columns: 80 });
  expect(lines[0]).not.toContain("$/H");
  expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(80);
  expect(lines.join("\n")).toContain(`    no_start: ${reason.slice(0, -2)}\n    3`);
  expect(machineLines([one], { now: NOW, columns: Number.POSITIVE_INFINITY })[1]).toContain(reason);
});

it("without failures there is no table of them", () => {
  expect(failureLines([], LOOK)).toEqual([]);
});
