import { seededRandom } from "@holdfast/runtime";
import { expect, it } from "vitest";
import { decideTry, MAX_TRIES } from "./retry.ts";

const random = seededRandom(1);

it("tries again soon, at most a minute apart, until it is given up", () => {
  for (let attempt = 1; attempt < MAX_TRIES; attempt += 1) {
    const decision = decideTry({ kind: "failed", reason: "503" }, attempt, random);
    expect(decision.kind).toBe("retry");
    const delayMs = decision.kind === "retry" ? decision.delayMs : 0;
    expect(delayMs).toBeGreaterThanOrEqual(4_000);
    expect(delayMs).toBeLessThanOrEqual(60_000);
  }
  expect(decideTry({ kind: "unknown", reason: "cut" }, MAX_TRIES, random)).toEqual({
    kind: "dead",
    error: "cut",
  });
});

it("tries a test once", () => {
  expect(decideTry({ kind: "failed", reason: "503" }, 1, random, "test")).toEqual({
    kind: "dead",
    error: "503",
  });
});

it("gives up at once what would not be taken another time, and cuts long words", () => {
  const decision = decideTry({ kind: "refused", reason: "x".repeat(9_999) }, 1, random);
  expect(decision.kind === "dead" && decision.error.length).toBe(500);
  expect(decideTry({ kind: "sent" }, 1, random)).toEqual({ kind: "delivered" });
});
