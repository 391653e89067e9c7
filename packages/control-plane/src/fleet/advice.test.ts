import type { FleetStatus } from "@holdfast/contract";
import { describe, expect, it } from "vitest";
import { adviceOf } from "./advice.ts";
import { judgeHealth } from "./system-health.ts";

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
  blockKind: null,
};
const KEY_REFUSED: Partial<FleetStatus["pools"][number]> = {
  desired: 0,
  living: 0,
  held: "the provider refuses: status 401; check the key",
  blockedUntil: AT,
  blockKind: "refused",
};
const NO_CAPACITY: typeof KEY_REFUSED = {
  ...KEY_REFUSED,
  held: "the provider has none now: no GPU",
  blockKind: "no_capacity",
};
const AWAY: typeof KEY_REFUSED = {
  ...KEY_REFUSED,
  held: "the provider does not answer as it should: no route",
  blockKind: "away",
};
const failure = (name: string, reason: string): FleetStatus["failures"][number] => ({
  id: "flm_1",
  name,
  pool: "gpu",
  provider: "local",
  state: "ended",
  isHealthy: false,
  heartbeatAgeMs: null,
  machineId: null,
  ref: null,
  gpuType: null,
  pricePerHour: null,
  jobs: 0,
  askedAt: AT,
  createdAt: AT,
  healthyAt: null,
  endedAt: AT,
  endCause: "failed",
  endKind: "crash",
  reason,
  forcedBy: null,
});
/** All that were started failed, and are too few for a check. */
const ALL_FAILED = {
  breaker: {
    ...CLOSED,
    rate: 1,
    failed: 4,
    seen: 4,
    text: "100.0% (4/4 machines in last 30 minutes)",
    causes: { no_start: 1, crash: 3 },
  },
  failures: [failure("hf-gpu-9", "its provider says that it ended: exit code 3")],
  counts: { living: 0, healthy: 0, starting: 0, draining: 0, ending: 0 },
  queuedTasks: 2,
} as const;
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

describe("the advice while the failure rate says nothing", () => {
  it("names the failures of too few machines for a check, and where to look", () => {
    const { kind, text } = fleet({ ...ALL_FAILED, failures: [...ALL_FAILED.failures] }).advice;
    expect(kind).toBe("investigate");
    expect(text).toContain("4 of 4 machines failed (3 × crash, 1 × no_start)");
    expect(text).toContain("the last one hf-gpu-9: its provider says that it ended: exit code 3");
    expect(text).toContain(
      "the check begins at 5 (the pools have at most 4; holdfast fleet minimum",
    );
    expect(text).toContain("holdfast fleet machines --all");
    expect(text).not.toContain("nothing to do");
    const many = fleet({ ...ALL_FAILED, failures: [], pools: [{ ...POOL, max: 9 }] }).advice.text;
    expect(many).toContain("the check begins at 5;");
  });

  it("stays normal, and names them, while a machine works or none is wanted", () => {
    const works = { ...ALL_FAILED, failures: [], counts: counts() };
    expect(fleet(works).advice).toMatchObject({
      kind: "normal",
      text: expect.stringContaining("4 of 4 machines failed"),
    });
    const idle = { ...ALL_FAILED, failures: [], queuedTasks: 0, pools: [{ ...POOL, desired: 0 }] };
    expect(fleet(idle).advice.kind).toBe("normal");
  });

  it("tells why a pool is blocked: at once what only a person ends, the rest while it matters", () => {
    const told = (pool: typeof KEY_REFUSED, queuedTasks: number) =>
      fleet({ pools: [{ ...POOL, ...pool }], queuedTasks }).advice;
    expect(told(KEY_REFUSED, 0)).toEqual({
      kind: "investigate",
      text: "pool gpu: the provider refuses: status 401; check the key",
    });
    expect(told(NO_CAPACITY, 0).kind).toBe("normal");
    expect(told(AWAY, 0).kind).toBe("normal");
    expect(told(NO_CAPACITY, 1)).toEqual({
      kind: "wait",
      text: `pool gpu: the provider has none now: no GPU; it is asked again at ${AT}`,
    });
  });

  it("is not that there is nothing to do while jobs starve", () => {
    const starve = { counts: NONE, queuedTasks: 2, oldestQueuedMs: 61_000, pools: [] };
    expect(fleet(starve).advice).toMatchObject({
      kind: "investigate",
      text: expect.stringContaining("the oldest of 2 queued jobs has waited for 1 min"),
    });
    expect(fleet({ ...starve, oldestQueuedMs: 60_000 }).advice.kind).toBe("normal");
    const busy = { counts: counts(), queuedTasks: 2, oldestQueuedMs: 600_001 };
    expect(fleet(busy).advice.kind).toBe("wait");
    expect(fleet({ ...busy, oldestQueuedMs: 600_000 }).advice.kind).toBe("normal");
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

  it("is degraded, not down, while a fleet that may start one is woken by a young job", () => {
    const woken = { counts: NONE, queuedTasks: 1, oldestQueuedMs: 2_000 };
    const { state, problems } = judge(woken, [NO_INSTANCE]);
    expect(state).toBe("degraded");
    expect(problems[0]?.advice).toContain("about to be started");
    const down: readonly Partial<FleetStatus>[] = [
      { oldestQueuedMs: 60_001 },
      { pools: [] },
      { pools: [{ ...POOL, max: 1, living: 1 }] },
      { pools: [{ ...POOL, ...KEY_REFUSED }] },
      { pools: [{ ...POOL, ...NO_CAPACITY }] },
      { pools: [{ ...POOL, held: "the budget of 5 $/h is used up" }] },
      { breaker: OPEN },
      { breaker: { ...HALF_OPEN, spawning: "BLOCKED", probeAt: AT } },
      { levers: [PAUSE] },
    ];
    for (const more of down) expect(judge({ ...woken, ...more }, [NO_INSTANCE]).state).toBe("down");
    const full = [{ ...POOL, living: 0, held: "the pool may have 1 machines, those …" }];
    expect(judge({ ...woken, pools: full }, [NO_INSTANCE]).state).toBe("down");
    const ending = { ...NONE, ending: 1 };
    expect(judge({ ...woken, pools: full, counts: ending }, [NO_INSTANCE]).state).toBe("degraded");
  });

  it("is never healthy with a job that waits and no healthy machine, whatever an instance says", () => {
    const { state, problems } = judge({ counts: NONE, queuedTasks: 1 });
    expect(state).toBe("degraded");
    expect(problems[0]?.what).toBe("no machine of the fleet is healthy, and 1 job waits");
    expect(judge({ counts: NONE, queuedTasks: 0 }).state).toBe("healthy");
  });

  it("names the failures while nothing works, also of too few machines for a check", () => {
    const starts = { ...ALL_FAILED, failures: [...ALL_FAILED.failures], oldestQueuedMs: 2_000 };
    const { state, problems } = judge({ ...starts, counts: counts({ healthy: 0, starting: 1 }) }, [
      NO_INSTANCE,
    ]);
    expect(state).toBe("degraded");
    expect(problems[0]?.advice).toContain("others failed before it");
    expect(problems.map(({ what }) => what).join("\n")).toContain(
      "4 of 4 machines failed (3 × crash, 1 × no_start), the last one hf-gpu-9: its provider says",
    );
    const idle = { queuedTasks: 0, pools: [{ ...POOL, desired: 0, living: 0 }] };
    expect(judge({ ...starts, ...idle, oldestQueuedMs: null }).state).toBe("healthy");
  });

  it("tells why a pool is blocked also while none of its machines is wanted", () => {
    const told = (pool: typeof KEY_REFUSED, more: Partial<FleetStatus> = {}) =>
      judge({ pools: [{ ...POOL, ...pool }], ...more }).problems;
    expect(told(KEY_REFUSED)[0]?.what).toContain("pool gpu: the provider refuses: status 401");
    expect(told(KEY_REFUSED)[0]?.advice).toContain("put right");
    expect(told(KEY_REFUSED, { breaker: HALF_OPEN })).toHaveLength(2);
    expect(told(NO_CAPACITY)).toEqual([]);
    expect(told(NO_CAPACITY, { queuedTasks: 1 })[0]?.advice).toContain(AT);
  });

  it("says half-open, and is down by it only when no machine is tried", () => {
    const halfOpen = { breaker: HALF_OPEN, queuedTasks: 1, oldestQueuedMs: 2_000 };
    const { state, problems } = judge({ ...halfOpen, counts: counts({ healthy: 0, starting: 1 }) });
    expect(state).toBe("degraded");
    expect(problems.map(({ what }) => what).join("\n")).toContain("half-open");
    const waits = { ...HALF_OPEN, spawning: "BLOCKED" as const, probeAt: AT };
    expect(judge({ ...halfOpen, breaker: waits, counts: NONE }).state).toBe("down");
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
