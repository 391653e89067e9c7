/** What a person should do about the fleet now (CONTRACTS C2), and how the whole system is. Pure. */
import type { FleetStatus, SystemHealth } from "@holdfast/contract";

type Facts = Pick<FleetStatus, "breaker" | "counts">;

/** Under the threshold: nothing. Over it: wait while a machine is healthy, else look for the cause. */
export function adviceOf({ breaker, counts }: Facts): FleetStatus["advice"] {
  if (breaker.spawning === "ALLOWED" && breaker.state === "closed") {
    return { kind: "normal", text: "nothing to do: the failure rate is under the threshold" };
  }
  if (breaker.state === "half-open") {
    return {
      kind: counts.healthy > 0 ? "wait" : "investigate",
      text:
        breaker.probeAt === null
          ? "one machine is tried at a time until one is healthy"
          : `machines that were tried have failed: the next one is tried at ${breaker.probeAt}`,
    };
  }
  const causes = Object.entries(breaker.causes)
    .filter(([, count]) => count > 0)
    .toSorted(([, one], [, other]) => other - one)
    .map(([kind, count]) => `${count} × ${kind}`);
  if (counts.healthy > 0) {
    const machines = counts.healthy === 1 ? "1 machine works" : `${counts.healthy} machines work`;
    return {
      kind: "wait",
      text: `wait: ${machines}, and new ones are started again at ${breaker.resumesAt ?? "an unknown time"} if nothing else fails`,
    };
  }
  return {
    kind: "investigate",
    text: `no machine works, and none may be started: find out why they fail (${causes.join(", ") || "no cause is known"})`,
  };
}

/** What the system's health is judged from. */
export interface HealthFacts {
  readonly fleet: FleetStatus;
  /** What a job needs to start: each part, and what is wrong with it. */
  readonly checks: readonly {
    readonly name: string;
    readonly ok: boolean;
    readonly reason: string | null;
  }[];
}

/** A job that has waited for so long is a problem. */
const LONG_WAIT_MS = 10 * 60_000;

/** Healthy, degraded (work is done, and something is wrong), or down (no work can be done). */
export function judgeHealth({ fleet, checks }: HealthFacts): SystemHealth {
  const problems: SystemHealth["problems"][number][] = [];
  const { breaker, counts, queuedTasks, runningTasks, oldestQueuedMs } = fleet;
  for (const { name, reason } of checks.filter(({ ok }) => !ok)) {
    const isIdle = name === "instance" && isAtZeroOnPurpose(fleet);
    if (isIdle) continue;
    problems.push({
      severity: name === "hold" ? "degraded" : "down",
      what: `${name}: ${reason ?? "not ready"}`,
      advice:
        name === "instance"
          ? "see the machines below and their logs (holdfast fleet machines)"
          : name === "hold"
            ? "release the emergency stop when it is safe (POST /api/error-recovery/emergency-stop/release)"
            : "see docs/operations.md",
    });
  }
  if (breaker.state !== "closed") {
    const severity = counts.healthy === 0 && queuedTasks > 0 ? "down" : "degraded";
    problems.push({
      severity,
      what: `failure rate ${breaker.text}: spawning ${breaker.spawning}`,
      advice: fleet.advice.text,
    });
  }
  for (const { name, held, desired, living } of fleet.pools) {
    if (held === null || (desired ?? 0) <= living || breaker.state !== "closed") continue;
    const isGradual = held.startsWith("machines are started gradually");
    if (isGradual) continue;
    problems.push({
      severity: "degraded",
      what: `pool ${name}: ${held}`,
      advice: "see fleet.yaml",
    });
  }
  if (oldestQueuedMs !== null && oldestQueuedMs > LONG_WAIT_MS) {
    problems.push({
      severity: runningTasks === 0 ? "down" : "degraded",
      what: `the oldest of ${queuedTasks} queued jobs has waited for ${Math.round(oldestQueuedMs / 60_000)} min`,
      advice: "its page says what it waits for (holdfast jobs list --status queued)",
    });
  }
  if (!fleet.isLed) {
    problems.push({
      severity: "degraded",
      what: "no replica leads the fleet",
      advice: "one takes over within 10 s; if this stays, look at the control plane's log",
    });
  }
  const state = problems.some(({ severity }) => severity === "down")
    ? "down"
    : problems.length > 0
      ? "degraded"
      : "healthy";
  return { state, problems, fleet };
}

/** Nothing waits, and the pools may be empty: no machine is no fault. */
function isAtZeroOnPurpose({ pools, queuedTasks, counts, breaker }: FleetStatus): boolean {
  return (
    pools.length > 0 &&
    queuedTasks === 0 &&
    counts.living === 0 &&
    breaker.state === "closed" &&
    pools.every(({ min }) => min === 0)
  );
}
