/** When services were down, and which runs that took. */
import type { HealthRecord } from "../health.ts";
import type { ComparedRun } from "./comparison-facts.ts";

/** Failed checks in a row. */
export interface Outage {
  /** Runs that were started before its first failed check. */
  readonly experiment: number;
  /** Of the first failed check, as ISO text. */
  readonly from: string;
  /** Of the check that passed again; null where none did. */
  readonly until: string | null;
  readonly failedChecks: number;
  /** `Cannot connect to ComfyUI server`; each once. */
  readonly messages: readonly string[];
  /** Numbers of the runs that failed then because a service was down, in their order. */
  readonly failed: readonly number[];
  /** Those of them that were started again. */
  readonly repeated: readonly number[];
}

interface Window {
  readonly failedChecks: HealthRecord[];
  /** The last check that passed before, which all was well at. */
  readonly after: string | null;
  until: string | null;
}

/**
 * Outages in the order of time. A run that failed because a service was down belongs to the first
 * outage that had not ended then: it fails before the check that finds the reason.
 */
export function outagesOf(
  checks: readonly HealthRecord[],
  runs: readonly ComparedRun[],
): readonly Outage[] {
  const windows = windowsOf(checks);
  const failed = windows.map(() => new Map<number, boolean>());
  for (const run of runs) {
    for (const end of run.earlier) {
      if (end.isInfrastructure) failed[windowAt(windows, end.endedAt)]?.set(run.index, true);
    }
    if (run.status !== "down") continue;
    const into = failed[windowAt(windows, run.endedAt)];
    if (into !== undefined && !into.has(run.index)) into.set(run.index, false);
  }
  return windows.map(({ failedChecks, until }, at) => {
    const affected = [...(failed[at] ?? [])].sort(([a], [b]) => a - b);
    const [first] = failedChecks;
    return {
      experiment: first?.experiment ?? 0,
      from: first?.at ?? "",
      until,
      failedChecks: failedChecks.length,
      messages: [...new Set(failedChecks.flatMap((check) => messagesOf(check)))],
      failed: affected.map(([index]) => index),
      repeated: affected.flatMap(([index, isRepeated]) => (isRepeated ? [index] : [])),
    };
  });
}

/** Whether every service was healthy. */
export function isHealthy({ services }: HealthRecord): boolean {
  return services.every((one) => one.isHealthy);
}

function windowsOf(checks: readonly HealthRecord[]): readonly Window[] {
  const windows: Window[] = [];
  let open: Window | undefined;
  let passedAt: string | null = null;
  for (const check of [...checks].sort((a, b) => compareText(a.at, b.at))) {
    if (isHealthy(check)) {
      if (open !== undefined) open.until = check.at;
      open = undefined;
      passedAt = check.at;
    } else if (open === undefined) {
      open = { failedChecks: [check], after: passedAt, until: null };
      windows.push(open);
    } else open.failedChecks.push(check);
  }
  return windows;
}

/** The first window that an instant is in; -1 for none. */
function windowAt(windows: readonly Window[], at: string): number {
  return windows.findIndex(
    ({ after, until }) => (until === null || at <= until) && (after === null || at >= after),
  );
}

function messagesOf({ services }: HealthRecord): readonly string[] {
  return services.flatMap(({ isHealthy, message }) => (isHealthy ? [] : [message]));
}

/** ISO texts with the same number of digits compare as their instants do. */
function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
