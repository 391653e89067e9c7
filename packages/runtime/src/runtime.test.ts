import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { assertNever, invariant } from "./assert.ts";
import { backoffMs } from "./backoff.ts";
import { createIdSource, mintedAtMs, nextUuid } from "./ids.ts";
import { nextInt, pick, seededRandom } from "./random.ts";
import { startInOrder, stopInOrder, type Service } from "./service.ts";
import { createFakeClock } from "./testing/fake-clock.ts";

describe("assertions", () => {
  it("throw what they were given", () => {
    expect(() => assertNever("x" as never)).toThrow('unreachable value: "x"');
    expect(() => invariant(false, "a lease has a job")).toThrow(
      "invariant broken: a lease has a job",
    );
    expect(() => invariant(true, "")).not.toThrow();
  });
});

describe("backoff", () => {
  it("never leaves its bounds, and without jitter grows by its factor", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -3, max: 200 }),
        fc.float({ min: 0, max: 1, noNaN: true }),
        (attempt, jitter) => {
          const policy = { initialMs: 100, factor: 2, maxMs: 5_000, jitter };
          const delay = backoffMs(policy, attempt, seededRandom(attempt));
          expect(delay).toBeGreaterThanOrEqual(Math.floor(100 * (1 - jitter)));
          expect(delay).toBeLessThanOrEqual(5_000);
        },
      ),
    );
    const plain = { initialMs: 2_000, factor: 2, maxMs: 30_000, jitter: 0 };
    const delays = [1, 2, 3, 4, 5, 6].map((attempt) => backoffMs(plain, attempt, seededRandom(1)));
    expect(delays).toEqual([2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  });
});

describe("ids", () => {
  it("sort as text in the order in which they were made, also within one millisecond", () => {
    const clock = createFakeClock();
    const ids = createIdSource(clock, seededRandom(5));
    const made = Array.from({ length: 5_000 }, () => ids.next("job"));
    expect([...made].sort()).toEqual(made);
    expect(new Set(made).size).toBe(made.length);
    expect(made[0]).toMatch(/^job_[0-9a-hjkmnp-tv-z]{26}$/);
  });

  it("go on growing when the clock jumps back", () => {
    let now = 1_000_000;
    const ids = createIdSource({ now: () => now }, seededRandom(5));
    const before = ids.next("job");
    now -= 60_000;
    expect(ids.next("job") > before).toBe(true);
  });

  it("tell when they were minted, by the clock of who did; what is no id tells nothing", () => {
    fc.assert(
      fc.property(fc.nat(2 ** 45), fc.integer({ min: 1, max: 20 }), (now, count) => {
        const ids = createIdSource({ now: () => now }, seededRandom(5));
        for (let made = 0; made < count; made += 1) {
          expect(mintedAtMs(ids.next("boot"))).toBe(now);
        }
      }),
    );
    for (const other of ["", "job_", "0123456789abcdefghjkmnpqrs", `job_${"u".repeat(26)}`]) {
      expect(mintedAtMs(other)).toBeUndefined();
    }
  });

  it("are uuids of version 4 where ComfyUI wants them", () => {
    const random = seededRandom(9);
    for (let index = 0; index < 100; index += 1) {
      expect(nextUuid(random)).toMatch(
        /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
      );
    }
  });
});

describe("seeded chance", () => {
  it("gives the same numbers for the same seed, all in [0, 1)", () => {
    const [a, b] = [seededRandom(42), seededRandom(42)];
    for (let index = 0; index < 1_000; index += 1) {
      const value = a.next();
      expect(b.next()).toBe(value);
      expect(value).toBeGreaterThanOrEqual(0);
      expect(value).toBeLessThan(1);
    }
  });

  it("picks within bounds", () => {
    const random = seededRandom(1);
    for (let index = 0; index < 200; index += 1) expect([0, 1, 2]).toContain(nextInt(random, 3));
    expect(["a", "b"]).toContain(pick(random, ["a", "b"]));
    expect(() => pick(random, [])).toThrow("empty");
  });
});

describe("services", () => {
  const service = (name: string, log: string[], fail?: "start" | "stop"): Service => ({
    name,
    start: async () => {
      if (fail === "start") throw new Error(`${name} cannot start`);
      log.push(`+${name}`);
    },
    stop: async () => {
      log.push(`-${name}`);
      if (fail === "stop") throw new Error(`${name} cannot stop`);
    },
  });

  it("start in order, and end last first when one cannot start", async () => {
    const log: string[] = [];
    const all = [
      service("a", log),
      service("b", log),
      service("c", log, "start"),
      service("d", log),
    ];
    await expect(startInOrder(all)).rejects.toThrow("c cannot start");
    expect(log).toEqual(["+a", "+b", "-b", "-a"]);
  });

  it("all stop, also behind one that cannot", async () => {
    const log: string[] = [];
    const all = [service("a", log), service("b", log, "stop"), service("c", log)];
    await expect(stopInOrder(all)).rejects.toThrow("some services did not stop cleanly");
    expect(log).toEqual(["-c", "-b", "-a"]);
  });
});

describe("the fake clock", () => {
  it("wakes sleepers in the order of their instants, and none before", async () => {
    const clock = createFakeClock();
    const woken: string[] = [];
    const sleep = async (ms: number, name: string): Promise<void> => {
      await clock.sleep(ms);
      woken.push(name);
    };
    const all = [sleep(30, "late"), sleep(10, "early"), sleep(10, "early too")];
    await clock.advance(9);
    expect(woken).toEqual([]);
    await clock.advance(1);
    expect(woken).toEqual(["early", "early too"]);
    expect(await clock.advanceToNext()).toBe(true);
    await Promise.all(all);
    expect(woken).toEqual(["early", "early too", "late"]);
    expect(await clock.advanceToNext()).toBe(false);
  });

  it("ends a sleep with the reason of its signal", async () => {
    const clock = createFakeClock();
    const stop = new AbortController();
    const sleeping = clock.sleep(1_000, stop.signal);
    stop.abort(new Error("stopped"));
    await expect(sleeping).rejects.toThrow("stopped");
    expect(clock.sleeperCount()).toBe(0);
    await expect(clock.sleep(1, stop.signal)).rejects.toThrow("stopped");
  });
});
