import { describe, expect, it } from "vitest";
import { checkNode } from "./machine-checks.ts";

describe("the doctor's look at Node", () => {
  it.each([
    ["20.19.0", "ok"],
    ["22.1.0", "ok"],
    ["20.18.9", "fail"],
    ["18.20.0", "fail"],
  ])("says of %s: %s", (version, state) => {
    expect(checkNode(version).state).toBe(state);
  });
});
