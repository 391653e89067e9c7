import { endsByRun } from "./last-ends.ts";
import type { ResultRecord } from "./record.ts";

/** Always known: how long a run took. */
const DURATION = "duration_seconds";
const MS_PER_SECOND = 1_000;

/** What is best. */
export interface BestBy {
  /** A metric's name, `duration_seconds` among them. */
  readonly by: string;
  /** Whether less is better. */
  readonly lowest: boolean;
}

/** A run and what it is measured by. */
export interface RankedRun {
  readonly record: ResultRecord;
  readonly value: number;
}

/** Runs from best to worst, or why there is no such order. */
export type BestRuns =
  | { readonly kind: "ranked"; readonly runs: readonly RankedRun[]; readonly unmeasured: number }
  /** No completed run has the metric; `known` are those that some have, by the alphabet. */
  | { readonly kind: "unknown_metric"; readonly known: readonly string[] }
  | { readonly kind: "none_completed" };

/**
 * Orders the completed runs by a metric; of equal ones the earlier run comes first. Runs without the
 * metric are counted as `unmeasured`, and so are those whose value is no number that can be compared.
 */
export function bestRuns(records: Iterable<ResultRecord>, { by, lowest }: BestBy): BestRuns {
  const completed = endsByRun(records).flatMap(({ last }) =>
    last.status === "completed" ? [last] : [],
  );
  if (completed.length === 0) return { kind: "none_completed" };
  const runs = completed.flatMap((record) => {
    const value = metricsOf(record).get(by);
    return value === undefined ? [] : [{ record, value }];
  });
  if (runs.length === 0) {
    const known = new Set(completed.flatMap((record) => [...metricsOf(record).keys()]));
    return { kind: "unknown_metric", known: [...known].sort() };
  }
  const sign = lowest ? 1 : -1;
  return {
    kind: "ranked",
    // The sort is stable, and the records come in the order of their numbers.
    runs: runs.sort((a, b) => sign * (a.value - b.value)),
    unmeasured: completed.length - runs.length,
  };
}

function metricsOf({ durationMs, metrics }: ResultRecord): ReadonlyMap<string, number> {
  return new Map(
    Object.entries({ [DURATION]: durationMs / MS_PER_SECOND, ...metrics }).filter(([, value]) =>
      Number.isFinite(value),
    ),
  );
}
