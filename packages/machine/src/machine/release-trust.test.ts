import { expect, test } from "vitest";
import { afterLeaving, afterProof, afterSwitch, mayLeave, NO_TRUST } from "./release-trust.ts";

test("a release that has just taken another's place is left for it", () => {
  const trust = afterSwitch(NO_TRUST, "one", "two");
  expect(mayLeave(trust, "two")).toBe(true);
  expect(mayLeave(NO_TRUST, "two")).toBe(false);
  expect(mayLeave(afterSwitch(NO_TRUST, null, "one"), "one")).toBe(false);
  expect(mayLeave(trust, "one")).toBe(false);
});

test("one that all instances were healthy on is not left any more", () => {
  const proven = afterProof(afterSwitch(NO_TRUST, "one", "two"));
  expect(mayLeave(proven, "two")).toBe(false);
  expect(afterProof(proven)).toBe(proven);
});

test("what was left is not gone back to, unless somebody asks for it anew", () => {
  const left = afterLeaving(afterSwitch(NO_TRUST, "one", "two"), "two");
  expect(mayLeave(left, "one")).toBe(false);
  // Somebody rolled back from a further one to the one that was left.
  expect(mayLeave(afterSwitch(left, "two", "three"), "three")).toBe(false);
  const again = afterSwitch(left, "one", "two");
  expect(mayLeave(again, "two")).toBe(true);
});
