import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NEW_ROLLOUT, nextRollout, type RollFacts, type Rollout } from "./rollout.ts";

const one = (name: string, changes: Partial<RollFacts> = {}): RollFacts => ({
  name,
  needs: null,
  isHealthy: true,
  isBusy: false,
  isOnWanted: true,
  startedAt: 0,
  startTimeoutMs: 60_000,
  isLooping: false,
  waitsForOther: false,
  isHindered: false,
  trouble: null,
  ...changes,
});
const old = (name: string, changes: Partial<RollFacts> = {}): RollFacts =>
  one(name, { needs: "change", isOnWanted: false, ...changes });
/** Just started on what is wanted, and not healthy yet. */
const fresh = (name: string, changes: Partial<RollFacts> = {}): RollFacts =>
  one(name, { isHealthy: false, startedAt: 1_000, ...changes });
const turnOf = (rollout: Rollout): string | null => rollout.turn?.name ?? null;

describe("turns", () => {
  test("go to whoever costs least, one at a time", () => {
    const all = [old("a", { isBusy: true }), old("b"), old("c", { isHealthy: false })];
    const first = nextRollout(NEW_ROLLOUT, all, 0);
    expect(turnOf(first)).toBe("c");
    expect(turnOf(nextRollout(first, all, 999_999))).toBe("c"); // Its job may take as long as it likes.
    const second = nextRollout(first, [all[0] ?? old("a"), old("b"), one("c")], 0);
    expect(turnOf(second)).toBe("b");
    expect(second.isProven).toBe(true);
  });

  test("another release goes before a take-over, and that before memory", () => {
    const needing = (needs: RollFacts["needs"]): RollFacts => one(String(needs), { needs });
    const all = [needing("memory_growth"), needing("unmanaged"), needing("change")];
    expect(turnOf(nextRollout(NEW_ROLLOUT, all, 0))).toBe("change");
    expect(turnOf(nextRollout(NEW_ROLLOUT, all.slice(0, 2), 0))).toBe("unmanaged");
    expect(turnOf(nextRollout(NEW_ROLLOUT, [one("a")], 0))).toBeNull();
  });

  test("end when the instance serves, is gone, or waits for another's port", () => {
    const holding: Rollout = {
      ...NEW_ROLLOUT,
      turn: { name: "a", isChange: true, restartedAt: null },
    };
    const rest = old("b");
    expect(turnOf(nextRollout(holding, [fresh("a"), rest], 2_000))).toBe("a");
    expect(turnOf(nextRollout(holding, [one("a"), rest], 2_000))).toBe("b");
    expect(turnOf(nextRollout(holding, [rest], 2_000))).toBe("b");
    const waiting = one("a", { startedAt: null, isHealthy: false, waitsForOther: true });
    expect(turnOf(nextRollout(holding, [waiting, rest], 2_000))).toBe("b");
  });

  test("are not for one that cannot run, and fail nothing when that comes in the midst of one", () => {
    const lost = old("a", { isHealthy: false, isHindered: true });
    expect(turnOf(nextRollout(NEW_ROLLOUT, [lost, old("b")], 0))).toBe("b");
    const turn = { name: "a", isChange: true, restartedAt: 1_000 };
    const ended = one("a", { startedAt: null, isHealthy: false, isHindered: true });
    const after = nextRollout({ ...NEW_ROLLOUT, turn }, [ended, old("b")], 999_999);
    expect(after).toMatchObject({ turn: { name: "b" }, failure: null });
    const failed = { ...NEW_ROLLOUT, failure: { name: "a", reason: "it ends again and again" } };
    expect(nextRollout(failed, [ended], 0).failure).toBeNull();
  });

  test("count the time from the first start, not from that of a later process", () => {
    let rollout: Rollout = {
      ...NEW_ROLLOUT,
      turn: { name: "a", isChange: true, restartedAt: null },
    };
    rollout = nextRollout(rollout, [fresh("a", { startedAt: null })], 1_000);
    rollout = nextRollout(rollout, [fresh("a", { startedAt: 50_000 })], 60_999);
    expect(rollout.failure).toBeNull();
    rollout = nextRollout(rollout, [fresh("a", { startedAt: 50_000 })], 61_000);
    expect(rollout.failure?.name).toBe("a");
  });
});

describe("a failure", () => {
  const holding: Rollout = { ...NEW_ROLLOUT, turn: { name: "a", isChange: true, restartedAt: 0 } };

  test("is one that is late, or ends again and again, with its trouble", () => {
    const late = nextRollout(holding, [fresh("a", { trouble: "lacks x" }), old("b")], 60_000);
    expect(late).toMatchObject({
      turn: null,
      failure: { name: "a", reason: "a was not healthy 60 s after its start: lacks x" },
    });
    const looping = nextRollout(holding, [fresh("a", { isLooping: true }), old("b")], 5);
    expect(looping.failure?.reason).toBe("a ends again and again");
  });

  test("keeps every other from a turn, until the instance serves after all or is gone", () => {
    const failed: Rollout = { ...NEW_ROLLOUT, failure: { name: "a", reason: "late" } };
    const rest = [old("b"), one("c", { needs: "memory_growth" })];
    expect(turnOf(nextRollout(failed, [fresh("a"), ...rest], 0))).toBeNull();
    expect(turnOf(nextRollout(failed, [one("a"), ...rest], 0))).toBe("b");
    expect(turnOf(nextRollout(failed, rest, 0))).toBe("b");
  });

  test("is none when it was for memory or a take-over: the release is not to blame", () => {
    const recycling: Rollout = { ...holding, turn: { name: "a", isChange: false, restartedAt: 0 } };
    const after = nextRollout(recycling, [fresh("a"), old("b")], 60_000);
    expect(after.failure).toBeNull();
    expect(turnOf(after)).toBe("b");
  });
});

test("a release that never works costs one instance, whatever happens", () => {
  const event = fc.record({
    at: fc.integer({ min: 0, max: 3 }),
    wait: fc.integer({ min: 0, max: 40_000 }),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), (events) => {
      const names = ["a", "b", "c", "d"];
      const moved = new Set<string>();
      let rollout = NEW_ROLLOUT;
      let now = 0;
      for (const { at, wait } of events) {
        now += wait;
        const all = names.map((name) =>
          moved.has(name) ? fresh(name, { startedAt: now }) : old(name, { isBusy: at % 2 === 0 }),
        );
        rollout = nextRollout(rollout, all, now);
        // Only who has the turn is ever started anew.
        const name = turnOf(rollout);
        if (name !== null && at === 0) moved.add(name);
      }
      expect(moved.size).toBeLessThanOrEqual(1);
    }),
  );
});
