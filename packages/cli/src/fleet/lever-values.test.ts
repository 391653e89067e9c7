import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NOW } from "../../testing/fleet-facts.ts";
import { readClearBefore, readMinimum, readThreshold, readWindow } from "./lever-values.ts";

const READERS = {
  threshold: readThreshold,
  window: readWindow,
  minimum: readMinimum,
  clear: (text: string) => readClearBefore(text, NOW),
};
type Kind = keyof typeof READERS;

describe("a lever's value as it is typed", () => {
  it.each<[Kind, string, number | string]>([
    ["threshold", "0.9", 0.9],
    ["threshold", "90%", 0.9],
    ["threshold", "1", 1],
    ["window", "15", 15],
    ["window", "90s", 1.5],
    ["window", "2h", 120],
    ["minimum", "8", 8],
    ["clear", "10min", "2026-01-31T12:00:00.000Z"],
    ["clear", "2h", "2026-01-31T10:10:00.000Z"],
    ["clear", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z"],
    ["clear", "2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00.000Z"],
    ["clear", String(NOW), "2026-01-31T12:10:00.000Z"],
  ])("%s %s", (kind, text, value) => {
    expect(READERS[kind](text)).toEqual({ kind: "ok", value });
  });

  it.each<[Kind, string, RegExp]>([
    ["threshold", "1.5", /^threshold: expected a share .* such as 0\.9, or 90%, found "1\.5"$/],
    ["threshold", "150%", /found "150%"$/],
    ["threshold", "0", /found "0"$/],
    ["threshold", "abc", /found "abc"$/],
    ["threshold", "", /found ""$/],
    ["window", "0", /^window: expected minutes over 0 and at most 10080, or 90s, 2h, found "0"$/],
    ["window", "8d", /found "8d"$/],
    ["window", "soon", /found "soon"$/],
    ["minimum", "2.5", /^minimum: expected a whole number of machines from 1 to 10000/],
    ["minimum", " ", /found " "$/],
    ["clear", "noon", /^--before: expected an instant .* or so long ago: 10min, 2h, found "noon"$/],
    ["clear", "2026-01-31T12:00:00", /^--before: expected an instant/],
    ["clear", "9".repeat(30), /^--before: expected an instant/],
    ["clear", "-1", /^--before: expected an instant/],
  ])("%s %s is refused in words", (kind, text, words) => {
    expect(READERS[kind](text)).toEqual({ kind: "wrong", message: expect.stringMatching(words) });
  });

  it("is read or refused, whatever it is", () => {
    fc.assert(
      fc.property(
        fc.constantFrom<Kind>("threshold", "window", "minimum", "clear"),
        fc.oneof(
          fc.string(),
          fc.double().map(String),
          fc.integer().map((n) => `${n}d`),
        ),
        (kind, text) => {
          expect(["ok", "wrong"]).toContain(READERS[kind](text).kind);
        },
      ),
    );
  });
});
