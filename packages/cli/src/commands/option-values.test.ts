import { expect, it } from "vitest";
import { durationWithUnit } from "./option-values.ts";

it("a duration that is elsewhere read as minutes has to name its unit", () => {
  expect(durationWithUnit("90s")).toBe(90_000);
  expect(durationWithUnit("10 min")).toBe(600_000);
  expect(() => durationWithUnit("5")).toThrow(/expected a duration with its unit/);
  expect(() => durationWithUnit("5 parsecs")).toThrow(/expected a duration/);
});
