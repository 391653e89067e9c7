/** Looks for the most books at a time that a service renders within its targets: trials, one after the other. */
import {
  kneeOf,
  measuredTrial,
  nextTrial,
  trialPlan,
  type LoadSummary,
  type MeasuredTrial,
  type Sla,
  type SlaSearch,
  type TrialLimits,
  type TrialPlan,
  type TrialReason,
} from "@holdfast/load";

/** What a search is made of. */
export interface SearchOptions {
  readonly sla: Sla;
  readonly limits: TrialLimits;
  /** Pages of a book in flight. */
  readonly window: number;
  /** Runs a trial; its jobs have seeds of their own, by its number. Null: it was stopped. */
  readonly measure: (plan: TrialPlan, trial: number) => Promise<LoadSummary | null>;
  readonly onTrial: (trial: MeasuredTrial, why: TrialReason) => void;
}

/** What was found, and what each trial came to in full. */
export interface SearchResult {
  readonly search: SlaSearch;
  readonly summaries: readonly LoadSummary[];
}

/** Runs it to its end, or until it is stopped. */
export async function searchBooks(options: SearchOptions): Promise<SearchResult> {
  const { sla, limits, window } = options;
  const trials: MeasuredTrial[] = [];
  const summaries: LoadSummary[] = [];
  const found = (books: number, why: SlaSearch["why"]): SearchResult => ({
    search: { trials, books, why, knee: kneeOf(trials), window },
    summaries,
  });
  for (;;) {
    const step = nextTrial(trials, limits);
    if (step.kind === "found") return found(step.books, step.why);
    const summary = await options.measure(trialPlan(step.books, sla, window), trials.length);
    if (summary === null) {
      const kept = trials.filter((one) => !one.isBreached).map(({ books }) => books);
      return found(Math.max(0, ...kept), "stopped");
    }
    const trial = measuredTrial(step.books, summary, sla);
    trials.push(trial);
    summaries.push(summary);
    options.onTrial(trial, step.why);
  }
}
