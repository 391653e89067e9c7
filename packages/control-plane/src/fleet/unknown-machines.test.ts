import { describe, expect, it } from "vitest";
import { UnknownMachines } from "./unknown-machines.ts";

const WAIT = 300;
const refs = (...names: readonly string[]) => names.map((ref) => ({ ref }));

function track() {
  const unknown = new UnknownMachines();
  const due = (pool: string, names: readonly string[], now: number): readonly string[] =>
    unknown.due(pool, refs(...names), { now, waitMs: WAIT }).map(({ ref }) => ref);
  return { unknown, due };
}

describe("machines that nobody knows", () => {
  it("are due after they were unknown for a while, each by itself", () => {
    const { due } = track();
    expect(due("gpu", ["a"], 0)).toEqual([]);
    expect(due("gpu", ["a", "b"], 100)).toEqual([]);
    expect(due("gpu", ["a", "b"], 300)).toEqual(["a"]);
    expect(due("gpu", ["a", "b"], 400)).toEqual(["a", "b"]);
  });

  it("of one pool are not forgotten for those of another", () => {
    const { due } = track();
    due("gpu", ["a"], 0);
    due("big", [], 0);
    due("gpu", ["a"], 200);
    due("big", ["a"], 200);
    expect(due("gpu", ["a"], 300)).toEqual(["a"]);
    expect(due("big", ["a"], 300)).toEqual([]);
  });

  it("that were known or gone meanwhile begin anew", () => {
    const { due } = track();
    due("gpu", ["a"], 0);
    due("gpu", [], 100);
    expect(due("gpu", ["a"], 300)).toEqual([]);
    expect(due("gpu", ["a"], 600)).toEqual(["a"]);
  });

  it("are told again when that is due, or never", () => {
    const { unknown, due } = track();
    due("gpu", ["a", "b"], 0);
    expect(due("gpu", ["a", "b"], 300)).toEqual(["a", "b"]);
    unknown.told("gpu", "a", 330);
    unknown.told("gpu", "b", Infinity);
    unknown.told("gpu", "c", 330);
    expect(due("gpu", ["a", "b"], 329)).toEqual([]);
    expect(due("gpu", ["a", "b"], 330)).toEqual(["a"]);
    expect(due("gpu", ["a", "b"], 1e9)).toEqual(["a"]);
    unknown.clear();
    expect(due("gpu", ["a", "b"], 1e9)).toEqual([]);
  });
});
