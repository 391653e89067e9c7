import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BUILT_IN_RULES } from "./built-in-rules.ts";
import { evaluateAlerts, NO_ALERTS, type AlertChange, type AlertMemory } from "./evaluate.ts";
import { SERIES_PER_RULE_MAX, type AlertRule, type Observation, type Sample } from "./rule.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

const rule: AlertRule = {
  name: "too_hot",
  severity: "warning",
  summary: "{machine} has {value} degrees",
  advice: null,
  when: { metric: "heat", where: {}, comparison: "above", value: 80, resolveValue: 70 },
  alongside: [],
  forMs: MINUTE,
  resolveAfterMs: 30 * SECOND,
  noDataMs: 5 * MINUTE,
  labels: { team: "render" },
};
const heat = (value: number, machine = "m1", words?: string): Sample => ({
  metric: "heat",
  labels: { machine },
  value,
  ...(words === undefined ? {} : { words }),
});
const seen = (...samples: Sample[]): Observation => ({ told: ["heat"], samples });
const NOTHING: Observation = { told: [], samples: [] };

/** Evaluates one observation after the other; the instants are seconds. */
function play(
  steps: readonly (readonly [number, Observation])[],
  rules: readonly AlertRule[] = [rule],
) {
  let memory = NO_ALERTS;
  const changes: string[] = [];
  for (const [second, observation] of steps) {
    const made = evaluateAlerts(rules, observation, memory, second * SECOND);
    memory = made.memory;
    changes.push(...made.changes.map((change) => `${second} ${text(change)}`));
  }
  return { memory, changes };
}
function text(change: AlertChange): string {
  const reason = "reason" in change ? `: ${change.reason}` : "";
  return `${change.kind} ${change.alert.labels["machine"]}${reason}`;
}

describe("an alert", () => {
  it("is pending until it has held for long enough, fires, and is resolved when it is right again for long", () => {
    const { changes } = play([
      [0, seen(heat(79))],
      [10, seen(heat(81))],
      [69, seen(heat(85))],
      [70, seen(heat(85))],
      [80, seen(heat(69))],
      [100, seen(heat(70))],
      [110, seen(heat(60))],
    ]);
    expect(changes).toEqual(["10 pending m1", "70 fired m1", "110 resolved m1: it is right again"]);
  });

  it("that does not last is dropped, and begins anew", () => {
    const { changes } = play([
      [0, seen(heat(81))],
      [50, seen(heat(80))],
      [60, seen(heat(81))],
      [110, seen(heat(81))],
      [120, seen(heat(81))],
    ]);
    expect(changes).toEqual([
      "0 pending m1",
      "50 dropped m1: it did not last",
      "60 pending m1",
      "120 fired m1",
    ]);
  });

  it("is not ended by values between threshold and resolve value, nor by a short dip", () => {
    const { changes } = play([
      [0, seen(heat(90))],
      [60, seen(heat(90))],
      [70, seen(heat(71))],
      [300, seen(heat(79))],
      [310, seen(heat(60))],
      [330, seen(heat(75))],
      [400, seen(heat(60))],
      [429, seen(heat(60))],
    ]);
    expect(changes).toEqual(["0 pending m1", "60 fired m1"]);
  });

  it("carries its labels, the rule's, the value and a summary", () => {
    const { memory } = play([[0, seen(heat(81.234))]]);
    expect(memory.alerts).toMatchObject([
      { labels: { machine: "m1", team: "render" }, value: 81.234, summary: "m1 has 81.23 degrees" },
    ]);
  });

  it("fires at once without a waiting time", () => {
    const { changes } = play([[0, seen(heat(81))]], [{ ...rule, forMs: 0 }]);
    expect(changes).toEqual(["0 fired m1"]);
  });

  it("of a value that is too low is the mirror image", () => {
    const low: AlertRule = {
      ...rule,
      forMs: 0,
      resolveAfterMs: 0,
      when: { ...rule.when, comparison: "below", value: 5, resolveValue: 8 },
    };
    const { changes } = play(
      [
        [0, seen(heat(5))],
        [1, seen(heat(4))],
        [2, seen(heat(7))],
        [3, seen(heat(8))],
      ],
      [low],
    );
    expect(changes).toEqual(["1 fired m1", "3 resolved m1: it is right again"]);
  });
});

describe("series", () => {
  it("are alerts of their own, and one of them twice is the worse", () => {
    const { memory } = play([[0, seen(heat(81), heat(95), heat(90, "m2"), heat(20, "m3"))]]);
    expect(memory.alerts.map(({ labels, value }) => [labels["machine"], value])).toEqual([
      ["m1", 95],
      ["m2", 90],
    ]);
  });

  it("that are gone while the metric is told are right again", () => {
    const { changes } = play([
      [0, seen(heat(90))],
      [60, seen(heat(90))],
      [70, seen()],
      [100, seen()],
    ]);
    expect(changes).toEqual([
      "0 pending m1",
      "60 fired m1",
      "100 resolved m1: it is not seen any more",
    ]);
  });

  it("are chosen by labels", () => {
    const one = { ...rule, when: { ...rule.when, where: { machine: "m2" } } };
    const { changes } = play([[0, seen(heat(90), heat(90, "m2"))]], [one]);
    expect(changes).toEqual(["0 pending m2"]);
  });

  it("have a limit a rule: those that are there stay, the others are counted", () => {
    const many = (count: number): Sample[] =>
      Array.from({ length: count }, (_, n) => heat(90, `m${String(n).padStart(4, "0")}`));
    const first = evaluateAlerts([rule], seen(heat(90, "z")), NO_ALERTS, 0);
    const second = evaluateAlerts([rule], seen(heat(90, "z"), ...many(250)), first.memory, 1);
    expect(second.memory.alerts).toHaveLength(SERIES_PER_RULE_MAX);
    expect(second.memory.alerts[0]?.labels["machine"]).toBe("z");
    expect(second.omitted).toEqual([{ rule: "too_hot", count: 151 }]);
  });

  it("with labels from outside do no harm", () => {
    const odd: Sample = {
      metric: "heat",
      labels: { machine: `a\nb\u001B[2J${"x".repeat(500)}`, "no-name": "y", empty: "" },
      value: 99,
    };
    const { memory } = play([[0, seen(odd)]]);
    expect(Object.keys(memory.alerts[0]?.labels ?? {})).toEqual(["team", "machine"]);
    expect(memory.alerts[0]?.labels["machine"]).toMatch(/^a b \[2Jx+…$/);
  });
});

describe("without data", () => {
  it("an alert stays for a time, and then is resolved with the reason", () => {
    const { changes } = play([
      [0, seen(heat(90))],
      [60, seen(heat(90))],
      [100, NOTHING],
      [399, NOTHING],
      [400, NOTHING],
    ]);
    expect(changes).toEqual([
      "0 pending m1",
      "60 fired m1",
      "400 resolved m1: nothing was told of it for 5 min",
    ]);
  });

  it("a gap that ends changes nothing", () => {
    const { changes } = play([
      [0, seen(heat(90))],
      [60, seen(heat(90))],
      [100, NOTHING],
      [390, seen(heat(90))],
      [400, NOTHING],
      [690, seen(heat(90))],
    ]);
    expect(changes).toEqual(["0 pending m1", "60 fired m1"]);
  });

  it("nothing begins, and what is not a number is no data", () => {
    expect(play([[0, NOTHING]]).changes).toEqual([]);
    expect(play([[0, seen(heat(Number.NaN))]]).changes).toEqual([]);
  });
});

describe("what has to hold alongside", () => {
  const both: AlertRule = {
    ...rule,
    forMs: 0,
    resolveAfterMs: 0,
    alongside: [{ metric: "load", where: {}, comparison: "above", value: 2, resolveValue: 1 }],
  };
  const load = (value: number, labels = {}): Sample => ({ metric: "load", labels, value });

  it("has to be told, and to hold", () => {
    const { changes } = play(
      [
        [0, seen(heat(90))],
        [1, seen(heat(90), load(2))],
        [2, seen(heat(90), load(3))],
        [3, seen(heat(90), load(1.5))],
        [4, seen(heat(90), load(1))],
      ],
      [both],
    );
    expect(changes).toEqual(["2 fired m1", "4 resolved m1: it is right again"]);
  });

  it("counts for the series with its labels", () => {
    const { changes } = play(
      [[0, seen(heat(90), heat(90, "m2"), load(3, { machine: "m2" }))]],
      [both],
    );
    expect(changes).toEqual(["0 fired m2"]);
  });
});

it("ends what is left of a rule that is gone", () => {
  const { memory } = play([
    [0, seen(heat(90))],
    [60, seen(heat(90), heat(90, "m2"))],
  ]);
  const { changes, memory: after } = evaluateAlerts([], seen(heat(90)), memory, 61_000);
  expect(changes.map(text)).toEqual([
    "resolved m1: there is no such rule any more",
    "dropped m2: there is no such rule any more",
  ]);
  expect(after.alerts).toEqual([]);
});

it("has built-in rules with names of their own whose resolve values are on the right side", () => {
  const names = BUILT_IN_RULES.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const { when, alongside } of BUILT_IN_RULES) {
    for (const { comparison, value, resolveValue } of [when, ...alongside]) {
      expect(comparison === "above" ? resolveValue <= value : resolveValue >= value).toBe(true);
    }
  }
});

// What may come one after the other: values on both sides of both borders, gaps, nothing told.
const stepArb = fc.record({
  afterMs: fc.integer({ min: 0, max: 40 * SECOND }),
  values: fc.option(
    fc.dictionary(fc.constantFrom("m1", "m2", "m3"), fc.constantFrom(60, 70, 75, 80, 81, 95)),
    { nil: null, freq: 6 },
  ),
});
const storyArb = fc.array(stepArb, { maxLength: 60 });
const rulesArb = fc
  .record({
    forMs: fc.constantFrom(0, 10 * SECOND, MINUTE),
    resolveAfterMs: fc.constantFrom(0, 10 * SECOND, MINUTE),
    noDataMs: fc.constantFrom(MINUTE, 5 * MINUTE),
  })
  .map((times) => [{ ...rule, ...times }]);
const toObservation = (values: Record<string, number> | null): Observation =>
  values === null
    ? NOTHING
    : seen(...Object.entries(values).map(([machine, value]) => heat(value, machine)));

describe("whatever is seen", () => {
  it("goes from inactive to pending to firing to resolved and no other way, one alert a series", () => {
    fc.assert(
      fc.property(rulesArb, storyArb, (rules, story) => {
        let memory = NO_ALERTS;
        let now = 0;
        const states = new Map<string, "pending" | "firing">();
        for (const { afterMs, values } of story) {
          now += afterMs;
          const made = evaluateAlerts(rules, toObservation(values), memory, now);
          memory = made.memory;
          for (const { kind, alert } of made.changes) {
            const before = states.get(alert.key);
            if (kind === "pending") expect(before).toBeUndefined();
            if (kind === "fired") {
              expect(before).toBe(rules[0]?.forMs === 0 ? undefined : "pending");
              expect(now - alert.since).toBeGreaterThanOrEqual(rules[0]?.forMs ?? 0);
            }
            if (kind === "resolved") expect(before).toBe("firing");
            if (kind === "dropped") expect(before).toBe("pending");
            if (kind === "pending") states.set(alert.key, "pending");
            else if (kind === "fired") states.set(alert.key, "firing");
            else states.delete(alert.key);
          }
          expect(new Map(memory.alerts.map(({ key, state }) => [key, state]))).toEqual(states);
        }
      }),
    );
  });

  it("is the same when all that is remembered was written and read back", () => {
    fc.assert(
      fc.property(rulesArb, storyArb, (rules, story) => {
        let one = NO_ALERTS;
        let other = NO_ALERTS;
        let now = 0;
        for (const { afterMs, values } of story) {
          now += afterMs;
          const kept = evaluateAlerts(rules, toObservation(values), one, now);
          const read = JSON.parse(JSON.stringify(other)) as AlertMemory;
          const restarted = evaluateAlerts(rules, toObservation(values), read, now);
          expect(restarted).toEqual(kept);
          [one, other] = [kept.memory, restarted.memory];
        }
      }),
    );
  });

  it("does not flap while a value swings between the threshold and the resolve value", () => {
    const within = fc.array(
      fc.record({
        afterMs: fc.nat(5 * MINUTE),
        value: fc.double({ min: 70.001, max: 80, noNaN: true }),
      }),
    );
    fc.assert(
      fc.property(rulesArb, within, fc.boolean(), (rules, swings, isFiring) => {
        let now = 10 * MINUTE;
        let memory = NO_ALERTS;
        if (isFiring) {
          memory = evaluateAlerts(rules, seen(heat(99)), memory, 0).memory;
          memory = evaluateAlerts(rules, seen(heat(99)), memory, now).memory;
        }
        for (const { afterMs, value } of swings) {
          now += afterMs;
          const made = evaluateAlerts(rules, seen(heat(value)), memory, now);
          expect(made.changes).toEqual([]);
          memory = made.memory;
        }
        expect(memory.alerts).toHaveLength(isFiring ? 1 : 0);
      }),
    );
  });
});
