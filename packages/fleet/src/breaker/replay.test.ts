import fc from "fast-check";
import { expect, it } from "vitest";
import { DEFAULT_BREAKER_POLICY } from "./policy.ts";
import { lookAtBreaker } from "./breaker.ts";
import { parseInstant, readReplay } from "./replay.ts";

const line = (value: object): string => JSON.stringify(value);
const text = [
  line({ machineId: "a", event: "spawned", at: "2026-01-31T12:00:00Z" }),
  "",
  // Out of order, and in another spelling of time.
  line({ machineId: "b", event: "ended", at: "2026-01-31T13:05:00+01:00", cause: "failed" }),
  line({ machineId: "b", event: "spawned", at: Date.parse("2026-01-31T12:01:00Z") }),
  line({ machineId: "a", event: "healthy", at: "2026-01-31T12:02:00.500Z" }),
  line({ machineId: "a", event: "healthy", at: "2026-01-31T12:09:00Z" }),
].join("\n");

it("reads machines from their events, and looks at an instant", () => {
  const read = readReplay(text);
  if (read.kind !== "ok") throw new Error(read.problems.join());
  expect(read.lifespans).toEqual([
    {
      machineId: "a",
      spawnedAt: Date.parse("2026-01-31T12:00:00Z"),
      healthyAt: Date.parse("2026-01-31T12:02:00.500Z"),
      end: null,
    },
    {
      machineId: "b",
      spawnedAt: Date.parse("2026-01-31T12:01:00Z"),
      healthyAt: null,
      end: { at: Date.parse("2026-01-31T12:05:00Z"), cause: "failed", kind: null },
    },
  ]);
  const policy = { ...DEFAULT_BREAKER_POLICY, minimum: 2, threshold: 0.5 };
  const look = (at: string) => lookAtBreaker(read.lifespans, policy, Date.parse(at)).view;
  expect(look("2026-01-31T12:04:59Z")).toMatchObject({ state: "closed", seen: 2, failed: 0 });
  expect(look("2026-01-31T12:05:00Z")).toMatchObject({ state: "open", seen: 2, failed: 1 });
  expect(look("2026-01-31T11:00:00Z")).toMatchObject({ state: "closed", seen: 0, rate: 0 });
});

it.each([
  ["{", /line 1: expected one JSON object a line/],
  ["[]", /line 1: expected a JSON object/],
  [line({ event: "spawned", at: 1 }), /machineId: expected a text/],
  [line({ machineId: "a", event: "born", at: 1 }), /event: expected spawned, .* found "born"/],
  [line({ machineId: "a", event: "spawned", at: "yesterday" }), /at: expected an instant/],
  [
    line({ machineId: "a", event: "spawned", at: "2026-01-31T12:00:00" }),
    /at: expected an instant/,
  ],
  [line({ machineId: "a", event: "ended", at: 1 }), /cause: expected failed or intended/],
  [line({ machineId: "a", event: "ended", at: 1, cause: "failed", kind: "x" }), /kind: expected/],
  [line({ machineId: "a", event: "healthy", at: 1 }), /line 1: a has no spawned event/],
])("refuses %s", (wrong, words) => {
  const read = readReplay(wrong);
  expect(read.kind === "invalid" ? read.problems.join("\n") : "read").toMatch(words);
});

it("refuses machines whose story cannot be", () => {
  const spawned = line({ machineId: "a", event: "spawned", at: 5 });
  const ended = line({ machineId: "a", event: "ended", at: 4, cause: "failed" });
  const problems = (lines: readonly string[]): string => {
    const read = readReplay(lines.join("\n"));
    return read.kind === "invalid" ? read.problems.join("\n") : "read";
  };
  expect(problems([spawned, ended])).toBe("line 2: a ended before it was spawned");
  expect(problems([spawned, spawned])).toMatch(/line 2: a was spawned before/);
  expect(problems([spawned, ended, ended])).toMatch(/line 3: a ended before/);
  const early = line({ machineId: "a", event: "healthy", at: 1 });
  expect(problems([spawned, early])).toMatch(/healthy before it was spawned/);
});

it("takes a day exactly when its month has it", () => {
  const two = (n: number): string => String(n).padStart(2, "0");
  const year = fc.integer({ min: 1970, max: 2100 });
  const [month, day] = [fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 31 })];
  fc.assert(
    fc.property(year, month, day, (y, m, d) => {
      const text = `${y}-${two(m)}-${two(d)}`;
      const at = parseInstant(`${text}T12:00:00Z`);
      const lastDay = new Date(Date.UTC(y, m, 0)).getUTCDate();
      if (d > lastDay) expect(at).toBeUndefined();
      else expect(new Date(at ?? 0).toISOString().slice(0, 10)).toBe(text);
    }),
  );
});

it("says none where a field is missing", () => {
  const read = readReplay(line({ machineId: "a", event: "ended", at: 1 }));
  expect(read).toMatchObject({
    problems: ["line 1: cause: expected failed or intended, found none"],
  });
});

it("takes instants with a zone or as epoch ms", () => {
  expect(parseInstant("1769860800000")).toBe(1_769_860_800_000);
  expect(parseInstant("2026-01-31T12:00Z")).toBe(Date.parse("2026-01-31T12:00:00Z"));
  expect(parseInstant("2026-13-31T12:00:00Z")).toBeUndefined();
  expect(parseInstant("2024-02-29T12:00:00+02:00")).toBe(Date.parse("2024-02-29T10:00:00Z"));
  expect(parseInstant(Number.NaN)).toBeUndefined();
  expect(parseInstant(null)).toBeUndefined();
});
