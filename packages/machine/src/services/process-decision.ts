/**
 * When a process that should run is started, and when no longer. A process that ends is started again
 * after a delay that grows; one that ends over and over soon after its start is left alone, for it
 * would only wear out the machine and bury its own first error.
 */
import { backoffMs, type BackoffPolicy, type Random } from "@holdfast/runtime";

/** How often, and how fast. */
export interface RestartRules {
  readonly backoff: BackoffPolicy;
  /** One that ran for so long was well: its end counts as the first. */
  readonly stableMs: number;
  /** Ends in a row, each before it was well, after which it is not started again. */
  readonly crashLoopAfter: number;
}

/** The rules for services of the manifest. */
export const RESTART_RULES: RestartRules = {
  backoff: { initialMs: 1_000, factor: 2, maxMs: 60_000, jitter: 0.2 },
  stableMs: 60_000,
  crashLoopAfter: 5,
};

/** What is remembered of a process from look to look. Instants are of the monotonic clock. */
export interface ProcessMemory {
  /** When the one that runs was seen to run first; null while none does. */
  readonly runningSince: number | null;
  /** Ends in a row before it was well. */
  readonly crashes: number;
  /** Starts in a row that could not even be tried: the manager failed, not the process. */
  readonly failedStarts: number;
  /** Not started before; null when nothing is waited for. */
  readonly notBefore: number | null;
  /** How it ended or why it could not be started, in words. */
  readonly lastTrouble: string | null;
}

/** Of a process that was never looked at. */
export const UNSTARTED: ProcessMemory = {
  runningSince: null,
  crashes: 0,
  failedStarts: 0,
  notBefore: null,
  lastTrouble: null,
};

/** It runs: started by us just now, or found so. */
export function noteRunning(memory: ProcessMemory, now: number): ProcessMemory {
  return { ...memory, runningSince: now, failedStarts: 0, notBefore: null };
}

/** It ran, and does not any more. */
export function noteEnd(
  memory: ProcessMemory,
  how: string,
  now: number,
  rules: RestartRules,
  random: Random,
): ProcessMemory {
  const ranMs = memory.runningSince === null ? 0 : now - memory.runningSince;
  const crashes = ranMs >= rules.stableMs ? 1 : memory.crashes + 1;
  return {
    runningSince: null,
    crashes,
    failedStarts: 0,
    notBefore: now + backoffMs(rules.backoff, crashes, random),
    lastTrouble: how,
  };
}

/** It could not be started. Never a crash loop: what keeps it from starting may well go away. */
export function noteFailedStart(
  memory: ProcessMemory,
  why: string,
  now: number,
  rules: RestartRules,
  random: Random,
): ProcessMemory {
  const failedStarts = memory.failedStarts + 1;
  return {
    ...memory,
    runningSince: null,
    failedStarts,
    notBefore: now + backoffMs(rules.backoff, failedStarts, random),
    lastTrouble: why,
  };
}

/** What to do about a process that does not run. */
export type StartDecision =
  | { readonly kind: "start" }
  /** Not now. */
  | { readonly kind: "wait"; readonly reason: string }
  /** Not any more, unless a person says so. */
  | { readonly kind: "crash_loop"; readonly reason: string };

/**
 * Decides about a process that should run and does not.
 *
 * @param blockedBy Services it needs that are not healthy, each with its state.
 */
export function decideStart(
  memory: ProcessMemory,
  blockedBy: readonly string[],
  now: number,
  rules: RestartRules,
): StartDecision {
  const trouble = memory.lastTrouble ?? "it ended";
  if (memory.crashes >= rules.crashLoopAfter) {
    const reason = `${trouble}, ${memory.crashes} times in a row within ${rules.stableMs / 1000} s of its start: see its log, mend it, and start the agent again`;
    return { kind: "crash_loop", reason };
  }
  if (blockedBy.length > 0) return { kind: "wait", reason: `waits for ${blockedBy.join(", ")}` };
  if (memory.notBefore !== null && now < memory.notBefore) {
    const leftSeconds = Math.ceil((memory.notBefore - now) / 1000);
    return { kind: "wait", reason: `${trouble}; started again in ${leftSeconds} s` };
  }
  return { kind: "start" };
}
