/** A fleet as the server tells of it, for tests of what is made of it. */
import type { FleetMachineView, FleetStatus, LeverView, SystemHealth } from "@holdfast/contract";

/** 12:10 UTC; six of seven machines have failed from 12:00:30 on, one a minute. */
export const NOW = Date.parse("2026-01-31T12:10:00Z");

/** A machine; healthy, unless said otherwise. */
export function machine(more: Partial<FleetMachineView> = {}): FleetMachineView {
  return {
    id: "flm_1",
    name: "hf-gpu-1",
    pool: "gpu",
    provider: "runpod",
    state: "ready",
    isHealthy: true,
    heartbeatAgeMs: 1_500,
    machineId: "mch_1",
    ref: "pod-1",
    gpuType: "A",
    pricePerHour: 1.2,
    jobs: 1,
    askedAt: "2026-01-31T11:00:00.000Z",
    createdAt: "2026-01-31T11:01:00.000Z",
    healthyAt: "2026-01-31T11:05:00.000Z",
    endedAt: null,
    endCause: null,
    endKind: null,
    reason: null,
    forcedBy: null,
    ...more,
  };
}

/** One that failed at 12:0{n}:30. */
export function failure(n: number, more: Partial<FleetMachineView> = {}): FleetMachineView {
  return machine({
    id: `flm_f${n}`,
    name: `hf-gpu-f${n}`,
    state: "ended",
    isHealthy: false,
    heartbeatAgeMs: null,
    createdAt: "2026-01-31T11:50:00.000Z",
    healthyAt: null,
    endedAt: `2026-01-31T12:0${n}:30.000Z`,
    endCause: "failed",
    endKind: "no_start",
    reason: "not healthy within 10 min",
    ...more,
  });
}

/** A threshold of 90 %. */
export const LEVER: LeverView = {
  id: "lev_1",
  kind: "threshold",
  value: 0.9,
  reason: "the image is mended",
  madeBy: "key_ann",
  madeAt: "2026-01-31T12:05:00.000Z",
  undoneBy: null,
  undoneAt: null,
  undoneReason: null,
};

/** The breaker of CONTRACTS C2's example, open. */
export const OPEN: FleetStatus["breaker"] = {
  state: "open",
  rate: 6 / 7,
  failed: 6,
  seen: 7,
  text: "85.7% (6/7 machines in last 30 minutes)",
  threshold: 0.8,
  windowMinutes: 30,
  minimum: 5,
  clearedBefore: null,
  spawning: "BLOCKED",
  reason: "failure rate 85.7% (6/7 machines in last 30 minutes) is at or over the threshold of 80%",
  since: "2026-01-31T12:04:30.000Z",
  resumesAt: "2026-01-31T12:32:30.000Z",
  probeAt: null,
  timeline: [5 / 6, 4 / 5, 3 / 4, 2 / 3, 1 / 2, 0].map((rate, n) => ({
    at: `2026-01-31T12:3${n}:30.000Z`,
    rate,
  })),
  timelineLeftOut: 0,
  causes: { no_start: 5, no_heartbeat: 0, crash: 1, fault_report: 0, provider_error: 0 },
};

/** Nothing has failed. */
export const CLOSED: FleetStatus["breaker"] = {
  ...OPEN,
  state: "closed",
  rate: 0,
  failed: 0,
  seen: 1,
  text: "0.0% (0/1 machine in last 30 minutes)",
  spawning: "ALLOWED",
  reason: "1 of the 5 machines that a check needs were seen in the last 30 minutes",
  since: null,
  resumesAt: null,
  timeline: [],
  causes: { no_start: 0, crash: 0 },
};

/** The fleet; open, with one machine that works. */
export function fleet(more: Partial<FleetStatus> = {}): FleetStatus {
  return {
    breaker: OPEN,
    counts: { living: 2, healthy: 1, starting: 1, draining: 0, ending: 0 },
    machines: [
      machine(),
      machine({ name: "hf-gpu-2", state: "starting", isHealthy: false, heartbeatAgeMs: null }),
    ],
    failures: [failure(5, { endKind: "crash", reason: "the pod has exited" }), failure(4)],
    queuedTasks: 42,
    runningTasks: 3,
    oldestQueuedMs: 303_000,
    pools: [
      {
        name: "gpu",
        provider: "runpod",
        min: 0,
        max: 4,
        desired: 4,
        living: 2,
        held: "too many machines fail: the breaker is open",
        blockedUntil: null,
        blockKind: null,
      },
    ],
    levers: [LEVER],
    costPerHour: 2.4,
    advice: { kind: "wait", text: "1 machine works" },
    isLed: true,
    ...more,
  };
}

/** The system, degraded by the open breaker. */
export function health(more: Partial<SystemHealth> = {}): SystemHealth {
  return {
    state: "degraded",
    problems: [
      {
        severity: "degraded",
        what: "failure rate 85.7% (6/7 machines in last 30 minutes): spawning BLOCKED",
        advice: "wait: 1 machine works",
      },
    ],
    fleet: fleet(),
    ...more,
  };
}
