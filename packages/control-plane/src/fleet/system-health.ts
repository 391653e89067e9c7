/** How the whole system is, for a person (CONTRACTS C2). Pure. */
import type { FleetStatus, SystemHealth } from "@holdfast/contract";
import {
  blockedPools,
  failuresText,
  isRefused,
  isWanted,
  LONG_WAIT_MS,
  pauseOf,
  pauseText,
  SOON_MS,
  undoText,
  waitText,
} from "./advice.ts";

const SEE_MACHINES =
  "see why (holdfast fleet machines --all), and where the log of one is (holdfast fleet show NAME)";

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

type Problem = SystemHealth["problems"][number];
type Pool = FleetStatus["pools"][number];

/** Healthy, degraded (work is done, or is about to be, and something is wrong), or down (no work can be done). */
export function judgeHealth({ fleet, checks }: HealthFacts): SystemHealth {
  const problems: readonly Problem[] = [
    ...checks.filter(({ ok }) => !ok).flatMap((check) => checkProblems(check, fleet)),
    ...emptyProblems({ fleet, checks }),
    ...breakerProblems(fleet),
    ...failureProblems(fleet),
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
  if (isOnItsWay(fleet)) return [{ severity: "degraded", what, advice: onItsWayText(fleet) }];
  const advice = SEE_MACHINES;
  return [{ severity: "down", what, advice }];
}

function onItsWayText({ counts, breaker }: FleetStatus): string {
  if (counts.starting === 0) return "a machine is about to be started: wait a minute";
  return breaker.failed === 0
    ? "a machine is on its way: wait for it (holdfast fleet machines)"
    : "a machine is on its way; others failed before it: see why (holdfast fleet machines --all)";
}

/** An instance may seem to be there for a while after its machine: the fleet knows better. */
function emptyProblems({ fleet, checks }: HealthFacts): readonly Problem[] {
  const { counts, queuedTasks } = fleet;
  const isTold = checks.some(({ name, ok }) => name === "instance" && !ok);
  if (isTold || counts.healthy > 0 || queuedTasks === 0) return [];
  return [
    {
      severity: "degraded",
      what: `no machine of the fleet is healthy, and ${queuedTasks} ${queuedTasks === 1 ? "job waits" : "jobs wait"}`,
      advice: SEE_MACHINES,
    },
  ];
}

function breakerProblems(fleet: FleetStatus): readonly Problem[] {
  const { breaker, counts, queuedTasks, advice } = fleet;
  const problems: Problem[] = [];
  const pause = pauseOf(fleet);
  if (pause !== undefined) {
    problems.push({ severity: "degraded", what: pauseText(pause), advice: undoText(pause) });
  }
  if (breaker.state !== "closed") {
    const isStuck = counts.healthy === 0 && queuedTasks > 0 && !isOnItsWay(fleet);
    const what =
      breaker.state === "open"
        ? `failure rate ${breaker.text}: spawning ${breaker.spawning}`
        : `half-open after too many failures, failure rate now ${breaker.text}: spawning ${breaker.spawning}`;
    problems.push({
      severity: isStuck ? "down" : "degraded",
      what,
      advice: `${advice.kind}: ${advice.text}`,
    });
  }
  return problems;
}

/** Failures that the breaker does not count, or not yet, while nothing works. */
function failureProblems(fleet: FleetStatus): readonly Problem[] {
  const { breaker, counts } = fleet;
  if (breaker.state !== "closed" || breaker.failed === 0) return [];
  const isOver = breaker.rate >= breaker.threshold;
  if (!isWanted(fleet) || (counts.healthy > 0 && !isOver)) return [];
  const advice = "see their reasons and logs (holdfast fleet machines --all)";
  return [{ severity: "degraded", what: failuresText(fleet), advice }];
}

function poolProblems(fleet: FleetStatus): readonly Problem[] {
  // What holds every pool back is told already; a refused key is to be put right all the same.
  const isTold = fleet.breaker.state !== "closed" || pauseOf(fleet) !== undefined;
  const blocked = blockedPools(fleet);
  return fleet.pools
    .filter(
      (pool) =>
        pool.held !== null &&
        (blocked.includes(pool) || (pool.desired ?? 0) > pool.living) &&
        !isGradual(pool) &&
        (!isTold || isRefused(pool)),
    )
    .map((pool) => ({
      severity: "degraded",
      what: `pool ${pool.name}: ${pool.held}`,
      advice: poolAdvice(pool),
    }));
}

function poolAdvice(pool: Pool): string {
  if (isRefused(pool)) {
    return "put right what its provider refuses (key, rights, balance, the pool's settings): it is asked again by itself; what is in fleet.yaml itself is read at a start";
  }
  return pool.blockedUntil === null
    ? "see fleet.yaml"
    : `it is asked again at ${pool.blockedUntil}; the next pool is filled meanwhile`;
}

function isGradual({ held }: Pool): boolean {
  return held?.startsWith("machines are started gradually") === true;
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
      what: `the oldest of ${queuedTasks} queued jobs has waited for ${waitText(oldestQueuedMs)}`,
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

/**
 * Machines come up, or are about to be started, and none fails too often: what waits is served soon, if it
 * has not waited for long.
 */
function isOnItsWay(fleet: FleetStatus): boolean {
  const { counts, breaker, oldestQueuedMs, queuedTasks } = fleet;
  if (breaker.state === "open") return false;
  if (counts.starting > 0) return (oldestQueuedMs ?? 0) <= LONG_WAIT_MS;
  if (breaker.spawning !== "ALLOWED" || pauseOf(fleet) !== undefined) return false;
  const isYoung = queuedTasks > 0 && oldestQueuedMs !== null && oldestQueuedMs <= SOON_MS;
  return isYoung && fleet.pools.some((pool) => mayStart(pool, counts.ending > 0));
}

/** `isEnding`: machines end, and make room where there was none. */
function mayStart({ held, living, max }: Pool, isEnding: boolean): boolean {
  if (living >= max) return false;
  return (
    held === null ||
    held.startsWith("machines are started gradually") ||
    (isEnding && held.startsWith("the pool may have"))
  );
}
