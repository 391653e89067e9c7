import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { planMigrations, type AppliedMigration, type Migration } from "./migrations.ts";

const file = (version: number, over: Partial<Migration> = {}): Migration => ({
  version,
  name: `step_${version}`,
  checksum: `sum-${version}`,
  breaking: false,
  was: null,
  indexes: null,
  sql: "",
  ...over,
});
const taken = (version: number, over: Partial<AppliedMigration> = {}): AppliedMigration => {
  const { sql: _sql, was: _was, indexes: _indexes, ...rest } = file(version);
  return { ...rest, ...over };
};

describe("planMigrations", () => {
  test("an empty database takes every file in order", () => {
    const plan = planMigrations([file(1), file(2)], []);
    expect(plan).toMatchObject({ kind: "apply", pending: [{ version: 1 }, { version: 2 }] });
  });

  test("a history that is a prefix of the files leaves exactly the rest to do", () => {
    fc.assert(
      fc.property(fc.nat({ max: 12 }), fc.nat({ max: 12 }), (total, share) => {
        const versions = Array.from({ length: total }, (_, index) => index + 1);
        const done = versions.slice(0, Math.min(share, total));
        const plan = planMigrations(
          versions.map((version) => file(version)),
          done.map((version) => taken(version)),
        );
        expect(plan.kind === "apply" && plan.pending.map((next) => next.version)).toEqual(
          versions.slice(done.length),
        );
      }),
    );
  });

  test("an edited file is refused and named", () => {
    const plan = planMigrations([file(1)], [taken(1, { checksum: "other" })]);
    expect(plan).toMatchObject({ kind: "refuse", reason: "edited" });
    expect(plan.kind === "refuse" && plan.message).toContain("0001_step_1");
  });

  test("a file that says what it was before is taken for the same", () => {
    const plan = planMigrations([file(1, { was: "other" })], [taken(1, { checksum: "other" })]);
    expect(plan).toMatchObject({ kind: "apply", pending: [] });
    const edited = planMigrations([file(1, { was: "other" })], [taken(1, { checksum: "third" })]);
    expect(edited).toMatchObject({ kind: "refuse", reason: "edited" });
  });

  test("a file that is gone from the middle is refused", () => {
    const plan = planMigrations([file(1), file(3)], [taken(1), taken(2)]);
    expect(plan).toMatchObject({ kind: "refuse", reason: "missing" });
  });

  test("a file put in below what the database took is refused", () => {
    const plan = planMigrations([file(1), file(2), file(3)], [taken(1), taken(3)]);
    expect(plan).toMatchObject({ kind: "refuse", reason: "out_of_order" });
  });

  test("a newer release's harmless migration is tolerated, a breaking one refused", () => {
    expect(planMigrations([file(1)], [taken(1), taken(2)])).toMatchObject({
      kind: "apply",
      pending: [],
      unknown: [{ version: 2 }],
    });
    expect(planMigrations([file(1)], [taken(1), taken(2, { breaking: true })])).toMatchObject({
      kind: "refuse",
      reason: "newer_database",
    });
  });
});
