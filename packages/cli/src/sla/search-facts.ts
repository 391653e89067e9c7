/** What a search says of an SLA's metrics. Pure. */
import {
  NO_SLA_FACTS,
  slaFactsOf,
  type LoadSummary,
  type MeasuredTrial,
  type SlaFacts,
  type SlaFigure,
  type SlaSearch,
  type SlaTargets,
} from "@holdfast/load";

/**
 * Throughput is the best that was seen; latency and failures are those of the most books that kept the
 * targets, and of the first trial where none did. Where more books were not tried, too few of them and too few images
 * are no figures: how many it could be nobody knows.
 */
export function searchFacts(
  { trials, books, why }: SlaSearch,
  summaries: readonly LoadSummary[],
  {
    recovery,
    targets,
  }: {
    /** Of what was lost meanwhile, where that is told. */
    readonly recovery: SlaFacts["recoverySeconds"];
    readonly targets: SlaTargets;
  },
): SlaFacts {
  if (trials.length === 0) return { ...NO_SLA_FACTS, recoverySeconds: recovery };
  const facts = summaries.map((summary, index) => ofTrial(slaFactsOf(summary), trials[index]));
  const at = trials.findIndex((one) => one.books === books && !one.isBreached);
  const chosen = facts[Math.max(0, at)] ?? NO_SLA_FACTS;
  const best = facts
    .map((one) => one.imagesPerMinute)
    .reduce((a, b) => ((b?.value ?? -1) > (a?.value ?? -1) ? b : a), null);
  const atLeast = (figure: SlaFigure | null, min: number | null): SlaFigure | null =>
    why === "breach" || (figure?.value ?? 0) >= (min ?? 0) ? figure : null;
  const mostBooks = { value: books, from: trials[Math.max(0, at)]?.jobs ?? 0 };
  return {
    imagesPerMinute: atLeast(best, targets.imagesPerMinuteMin),
    simultaneousBooks: atLeast(mostBooks, targets.simultaneousBooksMin),
    latencyP95Seconds: chosen.latencyP95Seconds,
    failedPercent: chosen.failedPercent,
    recoverySeconds: recovery,
  };
}

/** Figures that say which trial they are of: they need not be of one. */
function ofTrial(facts: SlaFacts, trial: MeasuredTrial | undefined): SlaFacts {
  if (trial === undefined) return facts;
  const said = (figure: SlaFigure | null): SlaFigure | null =>
    figure === null ? null : { ...figure, books: trial.books };
  return {
    ...facts,
    imagesPerMinute: said(facts.imagesPerMinute),
    latencyP95Seconds: said(facts.latencyP95Seconds),
    failedPercent: said(facts.failedPercent),
  };
}
