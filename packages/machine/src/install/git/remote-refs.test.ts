import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decideRef, nearestNames, parseRemoteRefs, type RemoteRef } from "./remote-refs.ts";

const [a, b, c] = ["a", "b", "c"].map((digit) => digit.repeat(40)) as [string, string, string];

const refs: readonly RemoteRef[] = [
  { name: "HEAD", commit: a },
  { name: "refs/heads/main", commit: a },
  { name: "refs/heads/both", commit: a },
  { name: "refs/tags/both", commit: b },
  { name: "refs/tags/v1.2.0", commit: c },
];

test("an annotated tag means the commit that it points to; other lines are left out", () => {
  const text = `${a}\tHEAD\n${b}\trefs/tags/v1\n${c}\trefs/tags/v1^{}\nwarning: redirecting\n`;
  expect(parseRemoteRefs(text)).toEqual([
    { name: "HEAD", commit: a },
    { name: "refs/tags/v1", commit: c },
  ]);
  fc.assert(
    fc.property(fc.string(), (text) => {
      parseRemoteRefs(text);
    }),
  );
});

describe("a ref", () => {
  test("is a branch, a tag before a branch of that name, a full name, or HEAD", () => {
    expect(decideRef("main", refs)).toEqual({ kind: "found", commit: a, name: "refs/heads/main" });
    expect(decideRef("both", refs)).toMatchObject({ commit: b });
    expect(decideRef("heads/both", refs)).toMatchObject({ commit: a });
    expect(decideRef("refs/heads/both", refs)).toMatchObject({ commit: a });
    expect(decideRef("HEAD", refs)).toMatchObject({ commit: a, name: "HEAD" });
  });

  test("is a commit: whole, begun, or not decided by the names", () => {
    expect(decideRef(b.toUpperCase(), refs)).toMatchObject({ kind: "found", commit: b });
    expect(decideRef("d".repeat(40), refs)).toEqual({ kind: "commit", commit: "d".repeat(40) });
    expect(decideRef("cccccccc", refs)).toMatchObject({ kind: "found", commit: c });
    expect(decideRef("ddddddd", refs)).toEqual({ kind: "abbreviated", prefix: "ddddddd" });
    const two = [...refs, { name: "refs/heads/x", commit: `${"c".repeat(39)}d` }];
    expect(decideRef("ccccccc", two)).toMatchObject({ kind: "ambiguous" });
  });

  test("that is missing names its neighbours, and no strangers", () => {
    expect(decideRef("v1.2.1", refs)).toEqual({ kind: "missing", nearest: ["v1.2.0"] });
    expect(decideRef("mian", refs)).toMatchObject({ nearest: ["main"] });
    expect(nearestNames("something-else-entirely", refs)).toEqual([]);
    const many = Array.from({ length: 9 }, (_, at) => ({ name: `refs/tags/v1.${at}`, commit: a }));
    expect(nearestNames("v1.x", many)).toHaveLength(3);
  });
});
