import { expect, test } from "vitest";
import {
  afterLeaving,
  afterLook,
  afterPlan,
  afterSwitch,
  decideLeave,
  NO_TRUST,
  NONE_SEEN,
  type ReleaseTrust,
  type SeenInstances,
  wayBack,
} from "./release-trust.ts";

const A = "gpu0";
const B = "gpu1";
const seen = (healthy: readonly string[], ill: readonly string[] = []): SeenInstances => ({
  healthy: new Set(healthy),
  ill: new Set(ill),
});
const switched = (
  from: string | null,
  to: string,
  how = seen([A, B]),
  trust: ReleaseTrust = NO_TRUST,
): ReleaseTrust => afterSwitch(trust, { from, to, seen: how });
const look = (
  trust: ReleaseTrust,
  isHealthy: Readonly<Record<string, boolean | "hindered">>,
): ReleaseTrust =>
  afterLook(
    trust,
    Object.entries(isHealthy).map(([name, is]) => ({
      name,
      isHealthy: is === true,
      isHindered: is === "hindered",
    })),
  );
const LEAVE = { kind: "leave", to: "one" };
const KEEP = { kind: "keep" };
const PASS = { kind: "pass_over", wasIll: true };
const PASS_NEW = { kind: "pass_over", wasIll: false };

test("a release that has just taken another's place is left for it", () => {
  const trust = switched("one", "two");
  expect(decideLeave(trust, "two", A)).toEqual(LEAVE);
  expect(decideLeave(NO_TRUST, "two", A)).toEqual(KEEP);
  expect(decideLeave(switched(null, "one"), "one", A)).toEqual(KEEP);
  expect(decideLeave(trust, "one", A)).toEqual(KEEP);
});

test("one that all instances were healthy on is not left any more", () => {
  const trust = switched("one", "two");
  expect(look(trust, { [A]: true, [B]: false })).toBe(trust);
  expect(look(trust, {})).toBe(trust);
  const proven = look(trust, { [A]: true, [B]: true });
  expect(decideLeave(proven, "two", A)).toEqual(KEEP);
  expect(look(proven, { [A]: true })).toBe(proven);
});

test("what was left is not gone back to, unless somebody asks for it anew", () => {
  const left = afterLeaving(switched("one", "two"), "two");
  expect(decideLeave(left, "one", A)).toEqual(KEEP);
  // Somebody rolled back from a further one to the one that was left.
  expect(decideLeave(switched("two", "three", seen([A]), left), "three", A)).toEqual(KEEP);
  expect(decideLeave(switched("one", "two", seen([A]), left), "two", A)).toEqual(LEAVE);
});

test("an instance that was ill before is passed over, and is not waited for", () => {
  const trust = switched("one", "two", seen([A], [B]));
  expect(decideLeave(trust, "two", B)).toEqual(PASS);
  expect(decideLeave(trust, "two", A)).toEqual(LEAVE);
  // One that was on its way when it came, or not there: those that were healthy tell more.
  expect(decideLeave(trust, "two", "gpu2")).toEqual(PASS_NEW);
  expect(decideLeave(look(trust, { [A]: true, [B]: false }), "two", A)).toEqual(KEEP);
});

test("where none was healthy, those count that were not known to be ill", () => {
  const starting = switched("one", "two", NONE_SEEN);
  expect(decideLeave(starting, "two", A)).toEqual(LEAVE);
  const some = switched("one", "two", seen([], [B]));
  expect([A, B].map((name) => decideLeave(some, "two", name))).toEqual([LEAVE, PASS]);
  const all = switched("one", "two", seen([], [A, B]));
  expect(decideLeave(all, "two", A)).toEqual(PASS);
  expect(look(all, { [A]: true, [B]: false })).toBe(all);
  expect(decideLeave(look(all, { [A]: true, [B]: true }), "two", A)).toEqual(KEEP);
});

test("one that cannot run for its card's sake, or somebody's, is not waited for", () => {
  const trust = switched("one", "two");
  expect(look(trust, { [A]: false, [B]: "hindered" })).toBe(trust);
  expect(look(trust, { [A]: "hindered", [B]: "hindered" })).toBe(trust);
  expect(decideLeave(look(trust, { [A]: true, [B]: "hindered" }), "two", A)).toEqual(KEEP);
  // Nobody who counts can run: then whoever can has to show it.
  const some = switched("one", "two", seen([A], [B]));
  expect(look(some, { [A]: "hindered", [B]: false })).toBe(some);
  expect(decideLeave(look(some, { [A]: "hindered", [B]: true }), "two", A)).toEqual(KEEP);
});

test("of a damaged release and its replacement neither is a way back from the other", () => {
  expect(wayBack("one", "two", "old")).toBe("one");
  expect(wayBack(null, "two", "one")).toBeNull();
  expect(wayBack("two", "two-r2", "one")).toBe("one");
  expect(wayBack("two-r2", "two-r10", "one")).toBe("one");
  expect(wayBack("two-r2", "two", null)).toBeNull();
  expect(wayBack("two", "two-r2", "two")).toBeNull();
  expect(wayBack("two", "two-r3", "two-r2")).toBeNull();
  expect(wayBack("two", "two-rx", "one")).toBe("two");
});

test("those that were healthy and are planned no more do not keep the others from counting", () => {
  const trust = switched("one", "two", seen(["cpu0"], [B]));
  expect(decideLeave(trust, "two", A)).toEqual(PASS_NEW);
  const planned = afterPlan(trust, [A, B]);
  expect(decideLeave(planned, "two", A)).toEqual(LEAVE);
  expect(decideLeave(planned, "two", B)).toEqual(PASS);
  expect(decideLeave(look(planned, { [A]: true, [B]: false }), "two", A)).toEqual(KEEP);
  expect(afterPlan(trust, ["cpu0", A])).toBe(trust);
});
