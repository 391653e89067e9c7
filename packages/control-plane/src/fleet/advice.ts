/** What a person should do about the fleet now (CONTRACTS C2). Pure. */
import type { FleetStatus, LeverView } from "@holdfast/contract";

type Advice = FleetStatus["advice"];
type Facts = Omit<FleetStatus, "advice">;
type Pool = FleetStatus["pools"][number];

/** A job that has waited for so long is a problem. */
export const LONG_WAIT_MS = 10 * 60_000;
/** A fleet that may start machines has begun to, after so long a wait of a job. */
export const SOON_MS = 60_000;

/**
 * Over the threshold: wait while a machine is healthy, else look for the cause. Under it: nothing, but what
 * is wrong although the rate is not: too few machines for a check, a pool that is blocked, jobs that starve.
 */
export function adviceOf(fleet: Facts): Advice {
  const { breaker } = fleet;
  const pause = pauseOf(fleet);
  if (pause !== undefined) return { kind: "wait", text: `${pauseText(pause)}; ${undoText(pause)}` };
  if (breaker.state === "open") return openAdvice(fleet);
  const found = [
    ...(breaker.state === "half-open" ? [halfOpenAdvice(fleet)] : failureAdvice(fleet)),
    ...blockedPools(fleet).map((pool) => blockedAdvice(pool)),
    ...starvingAdvice(fleet),
  ];
  if (found.length === 0) {
    return { kind: "normal", text: "nothing to do: the failure rate is under the threshold" };
  }
  const kinds = found.map(({ kind }) => kind);
  const kind = (["investigate", "wait"] as const).find((one) => kinds.includes(one)) ?? "normal";
  return { kind, text: found.map(({ text }) => text).join("; ") };
}

function openAdvice({ breaker, counts }: Facts): Advice {
  if (counts.healthy > 0) {
    const machines = counts.healthy === 1 ? "1 machine works" : `${counts.healthy} machines work`;
    return {
      kind: "wait",
      text: `${machines}, and new ones are started again at ${breaker.resumesAt ?? "an unknown time"} if nothing else fails`,
    };
  }
  return {
    kind: "investigate",
    text: `no machine works, and none may be started: find out why they fail (${causesText(breaker) || "no cause is known"})`,
  };
}

function halfOpenAdvice({ breaker, counts }: Facts): Advice {
  return {
    kind: counts.healthy > 0 ? "wait" : "investigate",
    text:
      breaker.probeAt === null
        ? "one machine is tried at a time until one is healthy"
        : `machines that were tried have failed: the next one is tried at ${breaker.probeAt}`,
  };
}

/** Failures that do not stop anything: told where nothing works, or where there are too few for a check. */
function failureAdvice(fleet: Facts): readonly Advice[] {
  const { breaker, counts, pools } = fleet;
  const isChecked = breaker.seen >= breaker.minimum;
  if (breaker.failed === 0 || (isChecked && counts.healthy > 0)) return [];
  const look = "look at their reasons (holdfast fleet machines --all)";
  const most = pools.reduce((sum, { max }) => sum + max, 0);
  const few =
    most > 0 && most < breaker.minimum
      ? ` (the pools have at most ${most}; holdfast fleet minimum sets it)`
      : "";
  const check = isChecked
    ? "the failure rate is under the threshold"
    : `the check begins at ${breaker.minimum}${few}`;
  return [
    {
      kind: counts.healthy === 0 && isWanted(fleet) ? "investigate" : "normal",
      text: `${failuresText(fleet)}; ${check}; ${look}`,
    },
  ];
}

function blockedAdvice(pool: Pool): Advice {
  const text = `pool ${pool.name}: ${pool.held}`;
  if (isRefused(pool)) return { kind: "investigate", text };
  return { kind: "wait", text: `${text}; it is asked again at ${pool.blockedUntil}` };
}

function starvingAdvice(fleet: Facts): readonly Advice[] {
  const { queuedTasks, oldestQueuedMs, counts } = fleet;
  if (oldestQueuedMs === null || queuedTasks === 0) return [];
  const works = counts.healthy > 0;
  if (oldestQueuedMs <= (works || counts.starting > 0 ? LONG_WAIT_MS : SOON_MS)) return [];
  const waits = `the oldest of ${queuedTasks} queued jobs has waited for ${waitText(oldestQueuedMs)}`;
  return works
    ? [
        {
          kind: "wait",
          text: `${waits}: its page says what for (holdfast jobs list --status queued --oldest)`,
        },
      ]
    : [
        {
          kind: "investigate",
          text: `${waits}, and no machine works: see what holds the pools back`,
        },
      ];
}

/** Blocked, and that matters: a person has to put it right, or its machines are wanted now. */
export function blockedPools({
  pools,
  queuedTasks,
}: Pick<Facts, "pools" | "queuedTasks">): readonly Pool[] {
  return pools.filter((pool) => {
    const { held, blockedUntil, desired, living, max } = pool;
    if (held === null || blockedUntil === null || max === 0) return false;
    return isRefused(pool) || queuedTasks > 0 || (desired ?? 0) > living;
  });
}

/** What is in the pool's way does not go away by itself. */
export function isRefused({ blockKind }: Pool): boolean {
  return blockKind === "refused";
}

/** Some machine should be there: for a job, or always. */
export function isWanted({ queuedTasks, runningTasks, pools, counts }: Facts): boolean {
  const isDesired = pools.some(({ desired, min }) => (desired ?? min) > 0);
  return queuedTasks + runningTasks > 0 || counts.starting > 0 || isDesired;
}

/** `4 of 4 machines failed (3 × crash, 1 × no_start), the last one hf-a: its provider says that it ended`. */
export function failuresText({ breaker, failures }: Pick<Facts, "breaker" | "failures">): string {
  const { failed, seen } = breaker;
  const causes = causesText(breaker);
  const last = failures[0];
  const machines = seen === 1 ? "machine" : "machines";
  return [
    `${failed} of ${seen} ${machines} failed`,
    causes === "" ? "" : ` (${causes})`,
    last === undefined ? "" : `, the last one ${last.name}: ${last.reason ?? "no reason is known"}`,
  ].join("");
}

/** The most frequent first. */
function causesText({ causes }: Facts["breaker"]): string {
  return Object.entries(causes)
    .filter(([, count]) => count > 0)
    .toSorted(([, one], [, other]) => other - one)
    .map(([kind, count]) => `${count} × ${kind}`)
    .join(", ");
}

/** How long a job has waited, in words. */
export function waitText(ms: number): string {
  return `${Math.round(ms / 60_000)} min`;
}

/** The pause in force, if there is one. */
export function pauseOf({ levers }: Pick<FleetStatus, "levers">): LeverView | undefined {
  return levers.find(({ kind }) => kind === "pause");
}

/** Who has paused the fleet, and why. */
export function pauseText({ madeBy, reason }: LeverView): string {
  return `nothing is started or ended: the fleet is paused by ${madeBy} (${reason})`;
}

/** How a pause is ended. */
export function undoText({ id }: LeverView): string {
  return `when it may go on: holdfast fleet undo ${id}`;
}
