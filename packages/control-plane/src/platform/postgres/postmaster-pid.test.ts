import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decideCluster, parsePostmasterPid, type ClusterFacts } from "./postmaster-pid.ts";

const READY = `4711
/home/anna/.local/share/holdfast/postgres/data
1763783040
36349

127.0.0.1
   131074         3
ready   
`;

describe("parsePostmasterPid", () => {
  test("reads what PostgreSQL 18 writes", () => {
    expect(parsePostmasterPid(READY)).toEqual({
      pid: 4711,
      dataFolder: "/home/anna/.local/share/holdfast/postgres/data",
      port: 36349,
      status: "ready",
    });
  });

  test("a server on its way up has no port or status yet", () => {
    expect(parsePostmasterPid("12\n/data\n1763783040\n")).toEqual({
      pid: 12,
      dataFolder: "/data",
      port: undefined,
      status: undefined,
    });
  });

  test("what is no such file is none, and never a pid that would be signalled by mistake", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const parsed = parsePostmasterPid(text);
        expect(parsed === undefined || parsed.pid > 0).toBe(true);
      }),
    );
    for (const text of ["", "\n", "-1\n/data\n", "0\n/data\n", "abc\n/data\n", "12\n"]) {
      expect(parsePostmasterPid(text)).toBeUndefined();
    }
  });
});

describe("decideCluster", () => {
  const pidFile = { pid: 4711, dataFolder: "/data", port: 36349, status: "ready" };
  const facts = (over: Partial<ClusterFacts> = {}): ClusterFacts => ({
    pidFile,
    isPidAlive: true,
    isOurPostgres: true,
    answer: "ok",
    ...over,
  });

  test("nobody there: start", () => {
    const nobody = { pidFile: undefined, isPidAlive: false, isOurPostgres: false } as const;
    expect(decideCluster(facts({ ...nobody, answer: "none" }))).toEqual({ kind: "start" });
  });

  test("ours and answering: adopt it where it listens", () => {
    expect(decideCluster(facts())).toEqual({ kind: "adopt", pid: 4711, port: 36349 });
  });

  test("dead, or somebody else's process: the file is stale", () => {
    const stale = { kind: "clean_and_start" };
    expect(decideCluster(facts({ isPidAlive: false, isOurPostgres: false }))).toEqual(stale);
    expect(decideCluster(facts({ isOurPostgres: false, answer: "none" }))).toEqual(stale);
    expect(decideCluster(facts({ pidFile: "unreadable" }))).toEqual(stale);
  });

  test("ours but silent: wait, it may be recovering", () => {
    expect(decideCluster(facts({ answer: "none" }))).toEqual({ kind: "wait", pid: 4711 });
    const young = { ...pidFile, port: undefined };
    expect(decideCluster(facts({ pidFile: young, answer: "none" }))).toEqual({
      kind: "wait",
      pid: 4711,
    });
  });

  test("ours with another password: refuse, never end or replace it", () => {
    expect(decideCluster(facts({ answer: "wrong_password" }))).toMatchObject({ kind: "refuse" });
  });

  test("the file of a living server of ours is never removed", () => {
    fc.assert(
      fc.property(
        fc.constantFrom<ClusterFacts["answer"]>("ok", "wrong_password", "none"),
        fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined }),
        (answer, port) => {
          const decision = decideCluster(facts({ answer, pidFile: { ...pidFile, port } }));
          expect(["start", "clean_and_start"]).not.toContain(decision.kind);
        },
      ),
    );
  });
});
