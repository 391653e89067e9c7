import { DEFAULT_BREAKER_POLICY } from "@holdfast/fleet";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { leverProblem, leversInForce, PAUSES_MAX, standingProblem } from "./levers.ts";
import type { Lever, LeverKind } from "./model.ts";
import { toLeverView } from "./views.ts";

const NOW = Date.parse("2026-01-31T12:00:00Z");
const lever = (kind: LeverKind, value: unknown, undoneAt: number | null = null): Lever => ({
  id: `lev_${kind}`,
  kind,
  value,
  reason: "because",
  madeBy: "key_a",
  madeAt: NOW,
  undoneBy: undoneAt === null ? null : "key_b",
  undoneAt,
  undoneReason: null,
});

describe("levers in force", () => {
  it("go before the settings, each for its part", () => {
    const levers = [lever("threshold", 0.9), lever("window", 15), lever("clear", NOW - 1)];
    expect(leversInForce(DEFAULT_BREAKER_POLICY, levers)).toEqual({
      breaker: { threshold: 0.9, windowMs: 900_000, minimum: 5, clearedBefore: NOW - 1 },
      pauses: [],
      levers,
    });
  });

  it("leave out what was undone, and machines that were started", () => {
    const levers = [
      lever("minimum", 8, NOW),
      lever("pause", true, NOW),
      lever("force", { pool: "gpu", count: 1, isForced: true }),
    ];
    expect(leversInForce(DEFAULT_BREAKER_POLICY, levers)).toEqual({
      breaker: DEFAULT_BREAKER_POLICY,
      pauses: [],
      levers: [],
    });
  });

  it("name the pause", () => {
    const pause = lever("pause", true);
    expect(leversInForce(DEFAULT_BREAKER_POLICY, [pause]).pauses).toEqual([pause]);
  });
});

describe("a lever beside those in force", () => {
  it("may clear as far as another and further, never less far", () => {
    fc.assert(
      fc.property(fc.nat(NOW), fc.nat(NOW), (before, value) => {
        const problem = standingProblem("clear", value, [lever("clear", before)]);
        expect(problem === null).toBe(value >= before);
      }),
    );
  });

  it("of another kind is no matter, nor is one that is set anew", () => {
    expect(standingProblem("clear", 1, [lever("threshold", 0.9), lever("window", 15)])).toBeNull();
    expect(standingProblem("threshold", 0.1, [lever("threshold", 0.9)])).toBeNull();
    expect(standingProblem("pause", true, [lever("pause", true)])).toBeNull();
  });

  it("is no pause where there are so many already", () => {
    const pauses = Array.from({ length: PAUSES_MAX }, () => lever("pause", true));
    expect(standingProblem("pause", true, pauses)).toMatch(/^pause: 20 are in force already/);
  });
});

describe("a lever's value", () => {
  it.each<[LeverKind, unknown, RegExp]>([
    ["threshold", 1.5, /^threshold: expected a share over 0 and at most 1, found 1\.5$/],
    ["threshold", 0, /found 0$/],
    ["threshold", "abc", /^threshold: expected a number, found "abc"$/],
    ["window", 0, /^window: expected more than 0 and at most 10080 minutes, found 0$/],
    ["window", 10_081, /found 10081$/],
    ["minimum", 0, /^minimum: expected a whole number of machines from 1 to 10000, found 0$/],
    ["minimum", 2.5, /found 2\.5$/],
    ["clear", "noon", /^clear: expected an instant, found "noon"$/],
    ["clear", NOW + 1, /^clear: expected an instant that is past/],
    ["clear", -1e20, /^clear: expected an instant, found -1/],
    ["pause", "yes", /^pause: expected true, found "yes"$/],
  ])("%s %s is refused in words", (kind, value, words) => {
    expect(leverProblem(kind, value, NOW)).toMatch(words);
  });

  it.each<[LeverKind, unknown]>([
    ["threshold", 1],
    ["window", 0.5],
    ["window", 10_080],
    ["minimum", 1],
    ["clear", NOW],
    ["clear", 0],
    ["pause", true],
  ])("%s %s is taken", (kind, value) => {
    expect(leverProblem(kind, value, NOW)).toBeNull();
  });

  it("that is taken can be shown, whatever it is", () => {
    fc.assert(
      fc.property(
        fc.constantFrom<LeverKind>("threshold", "window", "minimum", "clear", "pause"),
        fc.oneof(fc.double(), fc.integer(), fc.string(), fc.boolean(), fc.constant(-8.7e15)),
        (kind, value) => {
          if (leverProblem(kind, value, NOW) !== null) return;
          expect(toLeverView(lever(kind, value)).kind).toBe(kind);
        },
      ),
    );
  });
});
