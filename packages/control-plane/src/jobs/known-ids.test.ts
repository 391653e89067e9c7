import { expect, test } from "vitest";
import { createKnownIds } from "./known-ids.ts";

test("the ids used last are remembered, the others forgotten", () => {
  const known = createKnownIds(2);
  known.set("a", 1);
  known.set("b", 2);
  expect(known.get("a")).toBe(1);
  known.set("c", 3);
  expect([known.get("a"), known.get("b"), known.get("c")]).toEqual([1, undefined, 3]);
  known.clear();
  expect(known.get("a")).toBeUndefined();
});
