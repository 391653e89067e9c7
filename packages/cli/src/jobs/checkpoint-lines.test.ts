import { expect, it } from "vitest";
import { checkpointLines } from "./checkpoint-lines.ts";

const SAVED = {
  nodeId: "3",
  sizeBytes: 66_000,
  percent: 60,
  spentMs: 9_100,
  savedAt: "2026-11-27T10:00:00.000Z",
  keptUntil: "2026-11-29T10:00:00.000Z",
  problem: null,
};

it("tells what was put away, how large, until when, and what a resume saved", () => {
  expect(
    checkpointLines([
      { number: 1, resume: null, checkpoints: [SAVED] },
      {
        number: 2,
        resume: { nodeIds: ["3"], fromAttempt: 1, savedMs: 9_100 },
        checkpoints: [{ ...SAVED, nodeId: "11", problem: "no such bytes" }],
      },
    ]),
  ).toEqual([
    "try 1 put away node 3: 66.0 kB after 9.1 s, kept until 2026-11-29T10:00:00.000Z",
    "try 2 went on from try 1: node 3 not run again, 9.1 s saved",
    "checkpoint of node 11 is of no use: no such bytes",
  ]);
});

it("says nothing where a server says nothing", () => {
  expect(checkpointLines([{ number: 1 }])).toEqual([]);
});
