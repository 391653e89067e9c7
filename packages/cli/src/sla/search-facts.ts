/** What a search says of an SLA's metrics. Pure. */
import {
  NO_SLA_FACTS,
  slaFactsOf,
  type LoadSummary,
  type SlaFacts,
  type SlaSearch,
} from "@holdfast/load";

/**
 * Throughput is the best that was seen; latency and failures are those of the most books that kept the
 * targets, and of the first trial where none did. `recovery`: of what was lost meanwhile, where that is told.
 */
export function searchFacts(
  { trials, books }: SlaSearch,
  summaries: readonly LoadSummary[],
  recovery: SlaFacts["recoverySeconds"],
): SlaFacts {
  if (trials.length === 0) return { ...NO_SLA_FACTS, recoverySeconds: recovery };
  const facts = summaries.map(slaFactsOf);
  const at = trials.findIndex((one) => one.books === books && !one.isBreached);
  const chosen = facts[Math.max(0, at)] ?? NO_SLA_FACTS;
  const best = facts
    .map((one) => one.imagesPerMinute)
    .reduce((a, b) => ((b?.value ?? -1) > (a?.value ?? -1) ? b : a), null);
  return {
    imagesPerMinute: best,
    simultaneousBooks: { value: books, from: trials[Math.max(0, at)]?.jobs ?? 0 },
    latencyP95Seconds: chosen.latencyP95Seconds,
    failedPercent: chosen.failedPercent,
    recoverySeconds: recovery,
  };
}
