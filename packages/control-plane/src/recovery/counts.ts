/** Statistics from counts. Pure. */
import type { DetailedStatistics, RecoveryCount, RecoveryStatistics } from "@holdfast/contract";
import type { Dimension, ErrorCount } from "./model.ts";

/** Successful ÷ (successful + failed) in percent, one decimal; 0 while there are none. */
export function recoveryRate(recovered: number, failed: number): number {
  const settled = recovered + failed;
  // In thousandths first: a share such as 0.8085 has no exact binary form.
  return settled === 0 ? 0 : Math.round((recovered * 1_000) / settled) / 10;
}

/** The numbers of `…/statistics`, from counts by class. */
export function toStatistics(byClass: readonly ErrorCount[]): RecoveryStatistics {
  const { total_errors, successful_recoveries, failed_recoveries, recovery_rate } = sum(byClass);
  return {
    total_errors,
    successful_recoveries,
    failed_recoveries,
    recovery_rate,
    error_distribution: Object.fromEntries(mostFirst(byClass).map((one) => [one.key, one.errors])),
  };
}

/** The numbers of one window of `…/statistics/detailed`. */
export function toWindowStatistics(
  counts: readonly ErrorCount[],
): NonNullable<DetailedStatistics["windows"]["all"]> {
  const of = (dimension: Dimension): readonly ErrorCount[] =>
    counts.filter((one) => one.dimension === dimension);
  const byKey = (dimension: Dimension): Record<string, RecoveryCount> =>
    Object.fromEntries(mostFirst(of(dimension)).map((one) => [one.key, sum([one])]));
  return {
    // Every error has one class.
    ...sum(of("class")),
    by_class: byKey("class"),
    by_strategy: byKey("strategy"),
    by_rung: byKey("rung"),
    by_node_type: byKey("node_type"),
    by_machine: byKey("machine"),
  };
}

function mostFirst(counts: readonly ErrorCount[]): readonly ErrorCount[] {
  return [...counts].sort((a, b) => b.errors - a.errors || (a.key < b.key ? -1 : 1));
}

function sum(counts: readonly ErrorCount[]): RecoveryCount {
  const add = (of: (count: ErrorCount) => number): number =>
    counts.reduce((total, count) => total + of(count), 0);
  const errors = add((one) => one.errors);
  const recovered = add((one) => one.recovered);
  const failed = add((one) => one.failed);
  const cancelled = add((one) => one.cancelled);
  return {
    total_errors: errors,
    successful_recoveries: recovered,
    failed_recoveries: failed,
    cancelled,
    open: Math.max(0, errors - recovered - failed - cancelled),
    recovery_rate: recoveryRate(recovered, failed),
  };
}
