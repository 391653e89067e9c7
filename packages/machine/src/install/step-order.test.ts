import { expect, test } from "vitest";
import { blockerOf, orderProblem, type OrderedStep } from "./step-order.ts";

const step = (
  id: string,
  after: readonly string[] = [],
  lane: OrderedStep["lane"] = "release",
): OrderedStep => ({ id, after, lane });

test("an order that can be kept has no problem", () => {
  expect(orderProblem([])).toBeUndefined();
  expect(
    orderProblem([
      step("a"),
      step("m", [], "models"),
      step("b", ["a", "m"]),
      step("n", ["a"], "models"),
    ]),
  ).toBeUndefined();
});

test("names that are doubled, unknown or wait for each other are told", () => {
  expect(orderProblem([step("a"), step("a")])).toBe("two steps are named a");
  expect(orderProblem([step("a", ["x"])])).toBe("a comes after x, which is not a step");
  expect(orderProblem([step("a", ["b"]), step("b")])).toMatch(/wait for each other: a/);
  expect(orderProblem([step("a", ["m"]), step("m", ["a"], "models")])).toMatch(/a, m/);
});

test("a required step is kept by required ones only, an optional one by anything", () => {
  const results = new Map([
    ["ok", { outcome: "done" as const, isOptional: false }],
    ["soft", { outcome: "failed" as const, isOptional: true }],
    ["hard", { outcome: "not_reached" as const, isOptional: false }],
  ]);
  expect(blockerOf({ after: ["ok", "soft"], isOptional: false }, results)).toBeUndefined();
  expect(blockerOf({ after: ["ok", "soft"], isOptional: true }, results)).toBe("soft");
  expect(blockerOf({ after: ["hard"], isOptional: false }, results)).toBe("hard");
  expect(blockerOf({ after: ["never"], isOptional: false }, results)).toBe("never");
});
