import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toInventoryIndex, type MachineOffers, type PlacedInstance } from "../machines/model.ts";
import {
  decideFetch,
  FETCHING_MS,
  findCandidates,
  SILENT_MS,
  stateOfAll,
  type FetchCandidate,
  type FetchState,
} from "./model-fetch.ts";

const NEEDS = {
  nodeClasses: ["KSampler"],
  models: [
    { folder: "checkpoints", name: "a.safetensors" },
    { folder: "loras", name: "sub\\b.safetensors" },
  ],
};
const instance = (machineId: string, has: readonly string[], classes = ["KSampler"]) => ({
  instance: { id: `i-${machineId}`, machineId } as PlacedInstance,
  inventory: toInventoryIndex({
    digest: `${machineId}${has.join()}`,
    nodeClasses: classes,
    models: { checkpoints: [...has] },
    vramTotalBytes: null,
    deviceName: null,
    simulated: true,
  }),
});
const A = { folder: "checkpoints", name: "a.safetensors", sizeBytes: 10 };
const B = { folder: "loras", name: "sub/b.safetensors", sizeBytes: null };
const offer = (
  machineId: string,
  models: MachineOffers["models"],
  diskFreeBytes: number | null,
): MachineOffers => ({ machineId, machineName: machineId, models, fetches: [], diskFreeBytes });
const namesOf = (candidates: readonly FetchCandidate[]) => candidates.map((one) => one.machineId);

describe("who could fetch", () => {
  it("offers all that its instance lacks; the one with the most room comes first", () => {
    const found = findCandidates(
      NEEDS,
      ["m1", "m2", "m3", "m4"].map((id) => instance(id, [])),
      [
        offer("m1", [A, B], 100),
        offer("m2", [A, B], 1_000),
        offer("m3", [A, B], null),
        offer("m4", [A], 9_999),
      ],
    );
    expect(namesOf(found)).toEqual(["m2", "m1", "m3"]);
    expect(found[0]?.models).toEqual([
      { folder: "checkpoints", name: "a.safetensors" },
      { folder: "loras", name: "sub/b.safetensors" },
    ]);
  });

  it("has the classes, room on its disk, and an instance that takes work", () => {
    const offers = [offer("m1", [A, B], 100), offer("m2", [A, B], 9), offer("m3", [A, B], 100)];
    const found = findCandidates(
      NEEDS,
      [instance("m1", [], ["Other"]), instance("m2", [])],
      offers,
    );
    expect(found).toEqual([]);
  });

  it("fetches what its own instance lacks, and no more", () => {
    const found = findCandidates(
      NEEDS,
      [instance("m1", ["a.safetensors"])],
      [offer("m1", [A, B], 100)],
    );
    expect(found[0]?.models).toEqual([{ folder: "loras", name: "sub/b.safetensors" }]);
  });

  it("is nobody for a requirement that nothing is missing of", () => {
    const needs = { nodeClasses: [], models: [] };
    expect(findCandidates(needs, [instance("m1", [])], [offer("m1", [A], 1)])).toEqual([]);
  });

  it("is told apart by name where there is as much room", () => {
    const found = findCandidates(
      NEEDS,
      [instance("m2", []), instance("m1", [])],
      [offer("m2", [A, B], 50), offer("m1", [A, B], 50)],
    );
    expect(namesOf(found)).toEqual(["m1", "m2"]);
  });
});

const candidates: readonly FetchCandidate[] = ["m1", "m2"].map((machineId) => ({
  machineId,
  machineName: machineId,
  models: [],
}));
const NOT_ASKED: FetchState = { askedMs: null, told: null, reason: null };
const decide = (states: Readonly<Record<string, Partial<FetchState>>>) => {
  const decision = decideFetch(candidates, ({ machineId }) => ({
    ...NOT_ASKED,
    ...states[machineId],
  }));
  const who = "candidate" in decision ? decision.candidate.machineId : null;
  return [decision.kind, who];
};

describe("whom to ask", () => {
  it.each([
    ["the first, at first", {}, ["ask", "m1"]],
    ["nobody else while it may be at it", { m1: { askedMs: SILENT_MS - 1 } }, ["under_way", "m1"]],
    ["the next when it says nothing for long", { m1: { askedMs: SILENT_MS } }, ["ask", "m2"]],
    [
      "nobody else while it says that it fetches",
      { m1: { askedMs: FETCHING_MS - 1, told: "fetching" } },
      ["under_way", "m1"],
    ],
    [
      "the next when that takes too long",
      { m1: { askedMs: FETCHING_MS, told: "fetching" } },
      ["ask", "m2"],
    ],
    ["the next when it failed", { m1: { askedMs: 1, told: "failed" } }, ["ask", "m2"]],
    [
      "the one that was asked second",
      { m1: { askedMs: 9, told: "failed" }, m2: { askedMs: 1 } },
      ["under_way", "m2"],
    ],
    [
      "nobody when all have failed",
      { m1: { askedMs: 9, told: "failed" }, m2: { askedMs: SILENT_MS } },
      ["given_up", null],
    ],
  ] as const)("%s", (_what, states, expected) => {
    expect(decide(states)).toEqual(expected);
  });

  it("is nobody where nobody offers it", () => {
    expect(decideFetch([], () => NOT_ASKED)).toEqual({ kind: "none" });
  });

  it("gives the reason of a failure when it is given up", () => {
    const state: FetchState = { askedMs: 1, told: "failed", reason: "HTTP 403" };
    expect(decideFetch(candidates, () => state)).toEqual({ kind: "given_up", reason: "HTTP 403" });
  });

  it("never asks a second one while there is hope for a first", () => {
    const state = fc.record({
      askedMs: fc.option(fc.integer({ min: 0, max: 2 * FETCHING_MS })),
      told: fc.constantFrom("fetching" as const, "failed" as const, null),
      reason: fc.constant(null),
    });
    fc.assert(
      fc.property(state, state, (one, two) => {
        const states = new Map([
          ["m1", one],
          ["m2", two],
        ]);
        const decision = decideFetch(candidates, (of) => states.get(of.machineId) ?? NOT_ASKED);
        const isHopeful = [one, two].some(
          ({ askedMs, told }) => askedMs !== null && askedMs < SILENT_MS && told !== "failed",
        );
        expect(decision.kind === "ask" && isHopeful).toBe(false);
      }),
    );
  });
});

describe("a fetch of several models", () => {
  const state = (
    askedMs: number | null,
    told: FetchState["told"],
    reason: string | null = null,
  ) => ({
    askedMs,
    told,
    reason,
  });
  it.each([
    [[state(5, null), state(null, null)], state(null, null)],
    [[state(5, "fetching"), state(9, null)], state(5, "fetching")],
    [[state(5, "fetching"), state(9, "failed", "x")], state(5, "failed", "x")],
    [[state(5, null), state(9, null)], state(5, null)],
  ])("is as bad as its worst and as old as its newest", (states, expected) => {
    expect(stateOfAll(states)).toEqual(expected);
  });
});
