/** What a person should do about the fleet now (CONTRACTS C2), and how the whole system is. Pure. */
import type { FleetStatus, LeverView, SystemHealth } from "@holdfast/contract";

type Facts = Pick<FleetStatus, "breaker" | "counts" | "levers">;

/** Under the threshold: nothing. Over it: wait while a machine is healthy, else look for the cause. */
export function adviceOf({ breaker, counts, levers }: Facts): FleetStatus["advice"] {
  const pause = pauseOf({ levers });
  if (pause !== undefined) return { kind: "wait", text: `${pauseText(pause)}; ${undoText(pause)}` };
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
      text: `${machines}, and new ones are started again at ${breaker.resumesAt ?? "an unknown time"} if nothing else fails`,
    };
  }
  return {
    kind: "investigate",
    text: `no machine works, and none may be started: find out why they fail (${causes.join(", ") || "no cause is known"})`,
  };
}

function pauseOf({ levers }: Pick<FleetStatus, "levers">): LeverView | undefined {
  return levers.find(({ kind }) => kind === "pause");
}

function pauseText({ madeBy, reason }: LeverView): string {
  return `nothing is started or ended: the fleet is paused by ${madeBy} (${reason})`;
}

function undoText({ id }: LeverView): string {
  return `when it may go on: holdfast fleet undo ${id}`;
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

type Problem = SystemHealth["problems"][number];

/** Healthy, degraded (work is done, or is about to be, and something is wrong), or down (no work can be done). */
export function judgeHealth({ fleet, checks }: HealthFacts): SystemHealth {
  const problems: readonly Problem[] = [
    ...checks.filter(({ ok }) => !ok).flatMap((check) => checkProblems(check, fleet)),
    ...breakerProblems(fleet),
    ...poolProblems(fleet),
    ...queueProblems(fleet),
    ...strayProblems(fleet),
    ...(fleet.isLed ? [] : [NO_LEADER]),
  ];
  const state = problems.some(({ severity }) => severity === "down")
    ? "down"
    : problems.length > 0
      ? "degraded"
      : "healthy";
  return { state, problems: [...problems], fleet };
}

const NO_LEADER: Problem = {
  severity: "degraded",
  what: "no replica leads the fleet",
  advice: "one takes over within 10 s; if this stays, look at the control plane's log",
};

function checkProblems(
  { name, reason }: HealthFacts["checks"][number],
  fleet: FleetStatus,
): readonly Problem[] {
  const what = `${name}: ${reason ?? "not ready"}`;
  if (name === "hold") {
    const advice =
      "release the emergency stop when it is safe (POST /api/error-recovery/emergency-stop/release)";
    return [{ severity: "degraded", what, advice }];
  }
  if (name !== "instance") {
    return [{ severity: "down", what, advice: "see docs/operations.md, readyz 503" }];
  }
  if (isAtZeroOnPurpose(fleet)) return [];
  if (isOnItsWay(fleet)) {
    const advice = "a machine is on its way: wait for it (holdfast fleet machines)";
    return [{ severity: "degraded", what, advice }];
  }
  const advice =
    "see why (holdfast fleet machines --all), and where the log of one is (holdfast fleet show NAME)";
  return [{ severity: "down", what, advice }];
}

function breakerProblems(fleet: FleetStatus): readonly Problem[] {
  const { breaker, counts, queuedTasks, advice } = fleet;
  const problems: Problem[] = [];
  const pause = pauseOf(fleet);
  if (pause !== undefined) {
    problems.push({ severity: "degraded", what: pauseText(pause), advice: undoText(pause) });
  }
  if (breaker.state !== "closed") {
    problems.push({
      severity: counts.healthy === 0 && queuedTasks > 0 ? "down" : "degraded",
      what: `failure rate ${breaker.text}: spawning ${breaker.spawning}`,
      advice: `${advice.kind}: ${advice.text}`,
    });
  }
  return problems;
}

function poolProblems(fleet: FleetStatus): readonly Problem[] {
  // What holds every pool back is told already.
  if (fleet.breaker.state !== "closed" || pauseOf(fleet) !== undefined) return [];
  return fleet.pools
    .filter(({ held, desired, living }) => held !== null && (desired ?? 0) > living)
    .filter(({ held }) => held?.startsWith("machines are started gradually") !== true)
    .map(({ name, held }) => ({
      severity: "degraded",
      what: `pool ${name}: ${held}`,
      advice: "see fleet.yaml",
    }));
}

/** Machines of pools that are gone from the file: nobody here can end them. */
function strayProblems({ pools, machines }: FleetStatus): readonly Problem[] {
  const known = new Set(["static", ...pools.map(({ name }) => name)]);
  const strays = machines.filter(({ pool }) => !known.has(pool));
  if (strays.length === 0) return [];
  const names = [...new Set(strays.map(({ pool }) => pool))].join(", ");
  return [
    {
      severity: "degraded",
      what: `machines of pools that are not in fleet.yaml any more (${names}): ${strays.length}; nobody ends them, and they may be paid for`,
      advice: "put the pool back with `max: 0` until they are gone, or end them at their provider",
    },
  ];
}

function queueProblems({
  queuedTasks,
  runningTasks,
  oldestQueuedMs,
}: FleetStatus): readonly Problem[] {
  if (oldestQueuedMs === null || oldestQueuedMs <= LONG_WAIT_MS) return [];
  return [
    {
      severity: runningTasks === 0 ? "down" : "degraded",
      what: `the oldest of ${queuedTasks} queued jobs has waited for ${Math.round(oldestQueuedMs / 60_000)} min`,
      advice: "its page says what it waits for (holdfast jobs list --status queued --oldest)",
    },
  ];
}

/** Nothing waits, and the pools may be empty: no machine, or the last one draining, is no fault. */
function isAtZeroOnPurpose({ pools, queuedTasks, counts, breaker }: FleetStatus): boolean {
  return (
    pools.length > 0 &&
    queuedTasks === 0 &&
    counts.living === counts.draining &&
    breaker.state === "closed" &&
    pools.every(({ min }) => min === 0)
  );
}

/** Machines come up and none fails too often: what waits is served soon, if it has not waited for long. */
function isOnItsWay({ counts, breaker, oldestQueuedMs }: FleetStatus): boolean {
  return counts.starting > 0 && breaker.state === "closed" && (oldestQueuedMs ?? 0) <= LONG_WAIT_MS;
}
