import { expect, it } from "vitest";
import { parseWhen } from "./instants.ts";

const NOW = Date.parse("2026-01-31T12:00:00Z");

it.each([
  ["2h", NOW - 7_200_000],
  ["10min", NOW - 600_000],
  ["2025-11-25T10:00:00Z", Date.parse("2025-11-25T10:00:00Z")],
  ["2025-11-25", Date.parse("2025-11-25T00:00:00Z")],
  ["2026-02-30", undefined],
  ["2026-02-30T00:00:00Z", undefined],
  ["noon", undefined],
  ["3 parsecs", undefined],
])("reads %s", (text, at) => {
  expect(parseWhen(text, NOW)).toBe(at);
});
