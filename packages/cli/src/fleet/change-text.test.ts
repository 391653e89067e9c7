import { expect, it } from "vitest";
import { CLOSED, fleet, LEVER, machine } from "../../testing/fleet-facts.ts";
import { changeLine } from "./change-text.ts";

const FIRST =
  "spawning BLOCKED (open, resumes 2026-01-31T12:32:30.000Z); failure rate 85.7% (6/7 machines in last 30 minutes); machines 1 healthy of 2, 1 starting; tasks 42 queued, 3 running";

it("the first look is a line", () => {
  expect(changeLine(undefined, fleet())).toBe(FIRST);
});

it("older heartbeats and waits are no change", () => {
  const later = fleet({ machines: [machine({ heartbeatAgeMs: 3_000 })], oldestQueuedMs: 305_000 });
  expect(changeLine(fleet(), later)).toBeNull();
});

it("a change of state is the whole line", () => {
  expect(changeLine(fleet(), fleet({ breaker: CLOSED, isLed: false }))).toBe(
    "spawning ALLOWED (closed); failure rate 0.0% (0/1 machine in last 30 minutes); machines 1 healthy of 2, 1 starting; tasks 42 queued, 3 running; no leader",
  );
});

it("a lever that is set or undone is told with who and why", () => {
  expect(changeLine(fleet({ levers: [] }), fleet())).toBe(
    `${FIRST}; key_ann set: threshold 90% (the image is mended)`,
  );
  expect(changeLine(fleet({ levers: [LEVER] }), fleet({ levers: [] }))).toBe(
    `${FIRST}; no longer in force: threshold 90%`,
  );
});
