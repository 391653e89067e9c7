/** The summary of a run: what was measured, and what is known of the run beside. */
import type { MeasuredLoad } from "./collector.ts";
import type { LoadSummary } from "./model.ts";

/** What samples do not say. */
export interface RunFacts extends Pick<
  LoadSummary,
  "target" | "scenario" | "plan" | "stoppedBecause"
> {
  /** Epoch ms. */
  readonly startedAt: number;
  /** Jobs that were asked for; null where a time was. */
  readonly asked: number | null;
  readonly neverBegun: number;
  /** What the machines cost an hour, all together; null where nobody said. */
  readonly price: { readonly perHour: number; readonly currency: string } | null;
  readonly eventLoopP99Ms: number | null;
}

const SECONDS_PER_HOUR = 3_600;

/** Puts a run's summary together. Its cost counts all of its time, warm-up as well: that was paid too. */
export function toLoadSummary(run: RunFacts, measured: MeasuredLoad): LoadSummary {
  const { target, scenario, plan, price, stoppedBecause } = run;
  const { jobs, ...rest } = measured;
  return {
    target,
    scenario,
    startedAt: new Date(run.startedAt).toISOString(),
    plan,
    ...rest,
    jobs: { asked: run.asked, ...jobs, neverBegun: run.neverBegun },
    cost: price === null ? null : costOf(price, measured),
    stoppedBecause,
    harness: {
      lateP99Ms: measured.phases.harness?.p99 ?? null,
      eventLoopP99Ms: run.eventLoopP99Ms,
    },
  };
}

function costOf(
  { perHour, currency }: NonNullable<RunFacts["price"]>,
  { durationSeconds, outputs }: MeasuredLoad,
): NonNullable<LoadSummary["cost"]> {
  const total = (perHour * durationSeconds) / SECONDS_PER_HOUR;
  return { currency, total, perImage: outputs === 0 ? null : total / outputs };
}
