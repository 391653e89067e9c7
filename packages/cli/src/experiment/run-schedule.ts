import type { RunEnd, Schedule } from "@holdfast/experiments";
import { assertNever } from "@holdfast/runtime";
import type { HealthEnd } from "./check-health.ts";
import { createDeferred } from "./deferred.ts";

/** How an experiment's process ended. */
export type ScheduleEnd =
  | { readonly kind: "finished" }
  /** A periodic check failed: `--start-from` goes on there. */
  | { readonly kind: "unhealthy"; readonly experiment: number }
  /** A run failed of what no other one would do better with, before somebody puts it right. */
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "interrupted" };

/**
 * Does what a schedule says until nothing is left or somebody stops it: then nothing is started any
 * more, and what is in flight is waited for. Rejects with the first bug of a run, once the others ended.
 */
export async function runSchedule(
  schedule: Schedule,
  work: {
    readonly start: (index: number) => Promise<RunEnd>;
    readonly check: (experiment: number) => Promise<HealthEnd>;
    /** Why no run would do any better than the last, if there is such a reason. */
    readonly refusal: () => string | undefined;
    readonly onChange: () => void;
    readonly signal: AbortSignal;
  },
): Promise<ScheduleEnd> {
  const { signal } = work;
  const underWay = new Set<Promise<void>>();
  let failure: { readonly error: unknown } | undefined;
  let changed = createDeferred<void>();
  const onAbort = (): void => changed.resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  const begin = (one: Promise<void>): void => {
    const watched = one
      .catch((error: unknown) => {
        failure ??= { error };
      })
      .finally(() => {
        underWay.delete(watched);
        work.onChange();
        changed.resolve();
      });
    underWay.add(watched);
  };
  const check = async (experiment: number): Promise<void> => {
    const end = await work.check(experiment);
    // A service may have been down between two checks, and be back by itself.
    const isBack = end.kind === "passed" && (end.wasDown || schedule.view().down.length > 0);
    if (end.kind === "passed") schedule.checkPassed(isBack);
    else if (end.kind === "failed") schedule.checkFailed();
  };
  const run = async (index: number): Promise<void> => {
    schedule.ended(index, await work.start(index));
  };
  try {
    for (;;) {
      const reason = work.refusal();
      if (signal.aborted || failure !== undefined || reason !== undefined) {
        await Promise.all(underWay);
        if (failure !== undefined) throw failure.error;
        return reason === undefined ? { kind: "interrupted" } : { kind: "refused", reason };
      }
      const step = schedule.next();
      switch (step.kind) {
        case "start":
          begin(run(step.index));
          work.onChange();
          break;
        case "check":
          begin(check(step.experiment));
          break;
        case "wait":
          await changed.promise;
          changed = createDeferred();
          break;
        case "stopped":
          await Promise.all(underWay);
          return { kind: "unhealthy", experiment: step.experiment };
        case "finished":
          return { kind: "finished" };
        default:
          assertNever(step);
      }
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
