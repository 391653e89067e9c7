import type { ProviderTrouble } from "@holdfast/fleet";
import { seededRandom } from "@holdfast/runtime";
import { describe, expect, it } from "vitest";
import { createPoolBlocks } from "./pool-blocks.ts";

const trouble = (
  kind: ProviderTrouble["kind"],
  retryAfterMs: number | null = null,
): ProviderTrouble => ({ kind, message: `it is ${kind}`, retryAfterMs, mayHaveHappened: false });
const listed = (kind: ProviderTrouble["kind"]) =>
  ({ kind: "trouble", trouble: trouble(kind) }) as const;
const ANSWERED = { kind: "ok", value: [] } as const;
const DECISION = { pool: "gpu", desired: 0, living: 0, ask: 0, held: null };
const make = () => createPoolBlocks(seededRandom(1));

/** How long a pool that was asked in vain so often is asked for nothing. */
function blockedMs(kind: ProviderTrouble["kind"], times: number): number {
  const blocks = make();
  for (let time = 0; time < times; time += 1) blocks.note("gpu", trouble(kind), 0, 1, 0);
  return blocks.stored(DECISION, 0).blockedUntil ?? 0;
}

describe("a pool that was asked in vain", () => {
  it.each<[ProviderTrouble["kind"], RegExp]>([
    ["unauthorized", /^the provider refuses: it is unauthorized$/],
    ["invalid", /^the provider refuses/],
    ["unavailable", /^the provider does not answer as it should/],
    ["capacity", /^the provider has none now/],
  ])("is blocked, with the reason: %s", (kind, reason) => {
    const blocks = make();
    blocks.note("gpu", trouble(kind), 0, 1, 0);
    expect(blocks.at(1_000).get("gpu")).toMatch(reason);
    expect(blockedMs(kind, 3)).toBeGreaterThan(blockedMs(kind, 1));
    expect(blockedMs(kind, 50)).toBeLessThanOrEqual(1_080_000);
    blocks.noteMade("gpu");
    expect(blocks.at(1_000).size).toBe(0);
  });

  it("is not blocked by too many calls, nor while another of its offers may be had", () => {
    const blocks = make();
    blocks.note("gpu", trouble("rate_limited"), 0, 1, 0);
    blocks.note("gpu", trouble("capacity"), 0, 2, 0);
    expect(blocks.at(0).size).toBe(0);
  });

  it("is asked again when its provider says so", () => {
    const blocks = make();
    for (let time = 0; time < 9; time += 1) blocks.note("gpu", trouble("capacity", 4_000), 0, 1, 0);
    expect(blocks.stored(DECISION, 0).blockedUntil).toBe(4_000);
  });
});

describe("a pool whose provider does not tell its machines", () => {
  it("is blocked until it does", () => {
    const blocks = make();
    blocks.noteListed("gpu", listed("unauthorized"), 0);
    expect(blocks.at(0).get("gpu")).toContain("it is unauthorized");
    blocks.noteListed("gpu", ANSWERED, 1);
    expect(blocks.at(1).size).toBe(0);
  });

  it("is not blocked for longer by every list that fails", () => {
    const blocks = make();
    blocks.noteListed("gpu", listed("unavailable"), 0);
    const until = blocks.stored(DECISION, 0).blockedUntil;
    blocks.noteListed("gpu", listed("unavailable"), 1_000);
    expect(blocks.stored(DECISION, 1_000).blockedUntil).toBe(until);
  });

  it("is asked again at once when it does, whichever showed the trouble first", () => {
    const byRequest = make();
    byRequest.note("gpu", trouble("unavailable"), 0, 1, 0);
    byRequest.noteListed("gpu", listed("unavailable"), 1);
    const again = make();
    again.noteListed("gpu", listed("unavailable"), 0);
    again.note("gpu", trouble("unavailable"), 0, 1, 20_000);
    for (const blocks of [byRequest, again]) {
      blocks.noteListed("gpu", ANSWERED, 20_001);
      expect(blocks.at(20_001).size).toBe(0);
    }
  });

  it("stays blocked by what only a request showed", () => {
    const blocks = make();
    blocks.note("gpu", trouble("invalid"), 0, 1, 0);
    blocks.noteListed("gpu", ANSWERED, 1);
    expect(blocks.at(1).size).toBe(1);
  });

  it("is taken over by the next leader, who believes a list", () => {
    const before = make();
    before.note("gpu", trouble("unauthorized"), 0, 1, 0);
    before.note("cpu", trouble("capacity"), 0, 1, 0);
    const stored = ["gpu", "cpu"].map((pool) => before.stored({ ...DECISION, pool }, 0));
    const after = make();
    after.restore(stored);
    expect([...after.at(0).keys()]).toEqual(["gpu", "cpu"]);
    for (const pool of ["gpu", "cpu"]) after.noteListed(pool, ANSWERED, 1);
    // What is over is not read back from what was written down before.
    after.restore(stored);
    expect([...after.at(1).keys()]).toEqual(["cpu"]);
    after.noteMade("cpu");
    after.restore(stored);
    expect(after.at(1).size).toBe(0);
    after.reset();
    after.restore(stored);
    expect(after.at(1).size).toBe(2);
  });
});
