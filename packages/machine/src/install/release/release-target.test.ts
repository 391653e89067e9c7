import { expect, test } from "vitest";
import type { MachineLock } from "../model.ts";
import { chooseTarget } from "./release-target.ts";
import type { ReleaseEntry } from "./releases.ts";

const WHOLE = {} as MachineLock;
const entry = (id: string, over: Partial<ReleaseEntry> = {}): ReleaseEntry => ({
  id,
  lock: WHOLE,
  isCurrent: false,
  isPrevious: false,
  ...over,
});
const choose = (
  entries: readonly ReleaseEntry[],
  of: { readonly damaged?: readonly string[]; readonly used?: readonly string[] } = {},
) =>
  chooseTarget("abc", {
    releases: { folder: (id) => `/r/${id}`, list: () => Promise.resolve(entries) },
    findUsed: () => Promise.resolve(new Set((of.used ?? []).map((id) => `/r/${id}`))),
    damageOf: (id) => Promise.resolve(of.damaged?.includes(id) === true ? "no Python" : null),
  });

test("a release has its own folder, and others of the same name are none of it", async () => {
  const none = { id: "abc", isInUse: false, replaces: null };
  expect(await choose([])).toEqual(none);
  expect(await choose([entry("abcd"), entry("abc-rx"), entry("abc-r0"), entry("abd")])).toEqual(
    none,
  );
  expect(await choose([entry("abc", { lock: null })])).toEqual(none);
  expect(await choose([entry("abc", { isCurrent: true })])).toEqual({ ...none, isInUse: true });
});

test("what serves and is damaged, or lost its lock, is replaced by one beside it", async () => {
  const served = [entry("abc", { isCurrent: true })];
  expect(await choose(served, { damaged: ["abc"] })).toEqual({
    id: "abc-r2",
    isInUse: false,
    replaces: { id: "abc", damage: "no Python" },
  });
  const torn = [entry("abc", { isCurrent: true, lock: null }), entry("abc-r2", { lock: null })];
  expect(await choose(torn)).toMatchObject({ id: "abc-r2", replaces: { id: "abc" } });
  // A process may run from one that does not serve any more.
  expect(await choose(torn, { used: ["abc-r2"] })).toMatchObject({ id: "abc-r3" });
});

test("the one beside it serves then, and is looked at first", async () => {
  const entries = [entry("abc", { isPrevious: true }), entry("abc-r2", { isCurrent: true })];
  expect(await choose(entries)).toMatchObject({ id: "abc-r2", replaces: null });
  expect(await choose(entries, { damaged: ["abc-r2"] })).toMatchObject({
    id: "abc",
    replaces: { id: "abc-r2" },
  });
  const both = { damaged: ["abc", "abc-r2"] };
  expect(await choose(entries, both)).toMatchObject({ id: "abc" });
  expect(await choose(entries, { ...both, used: ["abc"] })).toMatchObject({ id: "abc-r3" });
});
