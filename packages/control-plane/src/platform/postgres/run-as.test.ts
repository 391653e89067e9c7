import { describe, expect, test } from "vitest";
import { decideRunAs, parseAccounts, wrapCommand, type RunAsFacts } from "./run-as.ts";

const accounts = parseAccounts(
  "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\nanna:x:1000:1000::/home/anna:/bin/bash\n",
);
const facts = (over: Partial<RunAsFacts> = {}): RunAsFacts => ({
  uid: 0,
  hasName: true,
  dataOwner: undefined,
  namespaceWorks: true,
  accounts,
  ...over,
});

describe("decideRunAs", () => {
  test("an ordinary user runs it directly", () => {
    expect(decideRunAs(facts({ uid: 1000 }))).toEqual({ kind: "run", as: { kind: "direct" } });
    const own = { uid: 1000, gid: 1000 };
    expect(decideRunAs(facts({ uid: 1000, dataOwner: own }))).toMatchObject({ kind: "run" });
  });

  test("on Windows there is nothing to decide", () => {
    expect(decideRunAs(facts({ uid: undefined }))).toEqual({
      kind: "run",
      as: { kind: "direct" },
    });
  });

  test("a uid without a name gets one in a namespace, where there are any", () => {
    const unnamed = { uid: 12_345, hasName: false };
    expect(decideRunAs(facts(unnamed))).toMatchObject({ as: { kind: "namespace" } });
    expect(decideRunAs(facts({ ...unnamed, namespaceWorks: false }))).toMatchObject({
      as: { kind: "direct" },
    });
  });

  test("another user's data is refused, not taken", () => {
    const other = { uid: 1001, gid: 1001 };
    expect(decideRunAs(facts({ uid: 1000, dataOwner: other }))).toEqual({
      kind: "refuse",
      reason: "folder_owner",
    });
  });

  test("root takes a namespace, and without one borrows an account", () => {
    expect(decideRunAs(facts())).toEqual({
      kind: "run",
      as: { kind: "namespace", uid: 65_534 },
    });
    expect(decideRunAs(facts({ namespaceWorks: false }))).toMatchObject({
      as: { kind: "account", account: { name: "nobody" } },
    });
  });

  test("root never runs it as root, whatever the machine has", () => {
    expect(decideRunAs(facts({ namespaceWorks: false, accounts: [] }))).toEqual({
      kind: "refuse",
      reason: "no_account",
    });
  });

  test("root runs on a user's data as that user, also one without a name here", () => {
    expect(decideRunAs(facts({ dataOwner: { uid: 1000, gid: 1000 } }))).toMatchObject({
      as: { kind: "account", account: { name: "anna" } },
    });
    expect(decideRunAs(facts({ dataOwner: { uid: 777, gid: 778 } }))).toMatchObject({
      as: { kind: "account", account: { uid: 777, gid: 778 } },
    });
  });
});

test("a wrapped command keeps its arguments", () => {
  const account = { name: "nobody", uid: 65_534, gid: 65_533 };
  expect(wrapCommand({ kind: "direct" }, "postgres", ["-D", "a b"])).toEqual({
    command: "postgres",
    args: ["-D", "a b"],
  });
  expect(wrapCommand({ kind: "namespace", uid: 1 }, "postgres", ["-D", "a b"])).toEqual({
    command: "unshare",
    args: ["--user", "--map-user=1", "postgres", "-D", "a b"],
  });
  expect(wrapCommand({ kind: "account", account }, "postgres", [])).toMatchObject({
    uid: 65_534,
    gid: 65_533,
  });
});
