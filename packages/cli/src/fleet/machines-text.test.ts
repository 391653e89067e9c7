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

it("without failures there is no table of them", () => {
  expect(failureLines([], LOOK)).toEqual([]);
});
