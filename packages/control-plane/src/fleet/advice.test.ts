import type { FleetStatus } from "@holdfast/contract";
import { describe, expect, it } from "vitest";
import { adviceOf, judgeHealth } from "./advice.ts";

const AT = "2026-01-31T12:32:30.000Z";
const CLOSED: FleetStatus["breaker"] = {
  state: "closed",
  rate: 0,
  failed: 0,
  seen: 1,
  text: "0.0% (0/1 machine in last 30 minutes)",
  threshold: 0.8,
  windowMinutes: 30,
  minimum: 5,
  clearedBefore: null,
  spawning: "ALLOWED",
  reason: "1 of the 5 machines that a check needs were seen",
  since: null,
  resumesAt: null,
  probeAt: null,
  timeline: [],
  timelineLeftOut: 0,
  causes: { no_start: 0, crash: 0 },
};
const OPEN: FleetStatus["breaker"] = {
  ...CLOSED,
  state: "open",
  rate: 6 / 7,
  text: "85.7% (6/7 machines in last 30 minutes)",
  spawning: "BLOCKED",
  resumesAt: AT,
  causes: { crash: 1, no_start: 5 },
};
const HALF_OPEN: FleetStatus["breaker"] = { ...CLOSED, state: "half-open" };
const counts = (more: Partial<FleetStatus["counts"]> = {}): FleetStatus["counts"] => ({
  living: 1,
  healthy: 1,
  starting: 0,
  draining: 0,
  ending: 0,
  ...more,
});
const NONE = counts({ living: 0, healthy: 0 });
const PAUSE: FleetStatus["levers"][number] = {
  id: "lev_1",
  kind: "pause",
  value: true,
  reason: "the provider has an outage",
  madeBy: "key_ann",
  madeAt: AT,
  undoneBy: null,
  undoneAt: null,
  undoneReason: null,
};
const POOL: FleetStatus["pools"][number] = {
  name: "gpu",
  provider: "runpod",
  min: 0,
  max: 4,
  desired: 1,
  living: 1,
  held: null,
  blockedUntil: null,
};
const fleet = (more: Partial<FleetStatus> = {}): FleetStatus => {
  const status: FleetStatus = {
    breaker: CLOSED,
    counts: counts(),
    machines: [],
    failures: [],
    queuedTasks: 0,
    runningTasks: 0,
    oldestQueuedMs: null,
    pools: [POOL],
    levers: [],
    costPerHour: 0,
    advice: { kind: "normal", text: "" },
    isLed: true,
    ...more,
  };
  return { ...status, advice: adviceOf(status) };
};

describe("the advice", () => {
  it("is nothing to do under the threshold", () => {
    expect(fleet().advice.kind).toBe("normal");
  });

  it("is to wait, with the time, over it and with a healthy machine", () => {
    const { kind, text } = fleet({ breaker: OPEN }).advice;
    expect(kind).toBe("wait");
    expect(text).toContain("1 machine works");
    expect(text).toContain(AT);
    expect(fleet({ breaker: OPEN, counts: counts({ healthy: 2 }) }).advice.text).toContain(
      "2 machines work",
    );
  });

  it("is to find the causes, the most frequent first, over it and without one", () => {
    expect(fleet({ breaker: OPEN, counts: NONE }).advice).toEqual({
      kind: "investigate",
      text: expect.stringContaining("(5 × no_start, 1 × crash)"),
    });
    const unknown = { ...OPEN, causes: {} };
    expect(fleet({ breaker: unknown, counts: NONE }).advice.text).toContain("no cause is known");
  });

  it("tells when the next machine is tried, half-open", () => {
    expect(fleet({ breaker: HALF_OPEN }).advice.kind).toBe("wait");
    const waits = { ...HALF_OPEN, spawning: "BLOCKED" as const, probeAt: AT };
    const { kind, text } = fleet({ breaker: waits, counts: NONE }).advice;
    expect(kind).toBe("investigate");
    expect(text).toContain(AT);
  });

  it("is to undo the pause while there is one, with who set it and why", () => {
    const paused = { ...CLOSED, spawning: "BLOCKED" as const };
    const { kind, text } = fleet({ breaker: paused, levers: [PAUSE] }).advice;
    expect(kind).toBe("wait");
    expect(text).toContain("key_ann");
    expect(text).toContain("the provider has an outage");
    expect(text).toContain("holdfast fleet undo lev_1");
  });
});

type Check = Parameters<typeof judgeHealth>[0]["checks"][number];
const NO_INSTANCE: Check = { name: "instance", ok: false, reason: "no instance is connected" };
const judge = (more: Partial<FleetStatus> = {}, checks: readonly Check[] = []) =>
  judgeHealth({ fleet: fleet(more), checks });

describe("the system's health", () => {
  it("is healthy while nothing is wrong", () => {
    expect(judge({}, [{ name: "database", ok: true, reason: null }])).toMatchObject({
      state: "healthy",
      problems: [],
    });
  });

  it("is down without database, store or instance, and says what to do", () => {
    for (const name of ["database", "store", "instance"]) {
      const { state, problems } = judge({}, [{ name, ok: false, reason: "it is gone" }]);
      expect(state).toBe("down");
      expect(problems[0]?.what).toBe(`${name}: it is gone`);
      expect(problems[0]?.advice).not.toBe("");
    }
  });

  it("is healthy without a machine while the pools may be empty and nothing waits", () => {
    expect(judge({ counts: NONE }, [NO_INSTANCE]).state).toBe("healthy");
    // On its way to nothing, or an instance that is cordoned for it.
    const draining = counts({ living: 1, healthy: 0, draining: 1 });
    expect(judge({ counts: draining }, [NO_INSTANCE]).state).toBe("healthy");
  });

  it("is down without a machine where one should be", () => {
    const pools = [{ ...POOL, min: 1 }];
    expect(judge({ counts: NONE, pools }, [NO_INSTANCE]).state).toBe("down");
    expect(judge({ counts: NONE, pools: [] }, [NO_INSTANCE]).state).toBe("down");
    expect(judge({ counts: NONE, queuedTasks: 1 }, [NO_INSTANCE]).state).toBe("down");
    expect(judge({ counts: NONE, breaker: OPEN }, [NO_INSTANCE]).state).toBe("down");
  });

  it("is degraded, not down, while the first machine for a job is on its way", () => {
    const coming = { counts: counts({ healthy: 0, starting: 1 }), queuedTasks: 1 };
    const { state, problems } = judge({ ...coming, oldestQueuedMs: 60_000 }, [NO_INSTANCE]);
    expect(state).toBe("degraded");
    expect(problems[0]?.advice).toContain("on its way");
    expect(judge({ ...coming, oldestQueuedMs: 700_000 }, [NO_INSTANCE]).state).toBe("down");
    expect(judge({ ...coming, breaker: OPEN }, [NO_INSTANCE]).state).toBe("down");
  });

  it("is degraded by an open breaker, and down when nothing works and jobs wait", () => {
    expect(judge({ breaker: OPEN }).state).toBe("degraded");
    expect(judge({ breaker: OPEN, counts: NONE, queuedTasks: 3 }).state).toBe("down");
  });

  it("is degraded by a pause, once, and by a pool that is held back, unless gradually", () => {
    const paused = { ...CLOSED, spawning: "BLOCKED" as const };
    const held = { ...POOL, desired: 3, held: "the fleet is paused" };
    const { state, problems } = judge({ breaker: paused, levers: [PAUSE], pools: [held] });
    expect(state).toBe("degraded");
    expect(problems).toHaveLength(1);
    expect(problems[0]?.what).toContain("the provider has an outage");
    const empty = { ...POOL, desired: 3, held: "the provider has none now: no GPU" };
    expect(judge({ pools: [empty] }).problems[0]?.what).toBe(
      "pool gpu: the provider has none now: no GPU",
    );
    const slowly = { ...POOL, desired: 3, held: "machines are started gradually: wait" };
    expect(judge({ pools: [slowly] }).state).toBe("healthy");
  });

  it("is told of a job that waits for more than 10 min, and of a fleet without a leader", () => {
    const long = { queuedTasks: 4, oldestQueuedMs: 600_001 };
    expect(judge({ ...long, oldestQueuedMs: 600_000 }).state).toBe("healthy");
    expect(judge({ ...long, runningTasks: 1 }).state).toBe("degraded");
    expect(judge(long).state).toBe("down");
    expect(judge({ isLed: false })).toMatchObject({
      state: "degraded",
      problems: [{ what: "no replica leads the fleet" }],
    });
  });

  it("is degraded by an emergency stop, and says how it is released", () => {
    const { state, problems } = judge({}, [{ name: "hold", ok: false, reason: "held" }]);
    expect(state).toBe("degraded");
    expect(problems[0]?.advice).toContain("emergency-stop/release");
  });
});
