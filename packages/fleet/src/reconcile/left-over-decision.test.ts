import { describe, expect, it } from "vitest";
import type { ProvidedMachine } from "../provider/model.ts";
import { decideLeftOver } from "./left-over-decision.ts";
import { toListing } from "./model.ts";

const provided = (name: string, more: Partial<ProvidedMachine> = {}): ProvidedMachine => ({
  ref: `ref-${name}`,
  name,
  state: "ended",
  reason: null,
  offer: null,
  pricePerHour: null,
  address: null,
  createdAt: null,
  ...more,
});
const left = (
  machines: readonly ProvidedMachine[],
  known: readonly (readonly [string, string | null])[] = [],
  serving: readonly string[] = [],
): readonly string[] =>
  decideLeftOver(toListing(0, machines), new Map(known), (name) => serving.includes(name)).map(
    ({ ref }) => ref,
  );

describe("what is left over at a provider", () => {
  it("is what has ended there and nobody knows", () => {
    const states = ["pending", "running", "ending", "ended"] as const;
    expect(left(states.map((state) => provided(state, { state })))).toEqual(["ref-ended"]);
  });

  it("is not what a living row knows, by its reference or by its name alone", () => {
    expect(left([provided("a")], [["a", "ref-a"]])).toEqual([]);
    expect(left([provided("a")], [["a", null]])).toEqual([]);
  });

  it("is the other one of two of one name", () => {
    const two = [provided("a"), provided("a", { ref: "ref-b" })];
    expect(left(two, [["a", "ref-a"]])).toEqual(["ref-b"]);
  });

  it("is not a machine whose agent is heard", () => {
    expect(left([provided("a")], [], ["a"])).toEqual([]);
  });
});
