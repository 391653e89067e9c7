/**
 * The most books at a time that a service renders within its targets: twice as many until it fails, then
 * halfway between. A run that fails may have met a hiccup, so a number of books has failed when it did so
 * twice; one that was good once is good.
 */
import { invariant } from "@holdfast/runtime";

/** One run with so many books. */
export interface Trial {
  readonly books: number;
  readonly isBreached: boolean;
}

/** Where the search begins and ends. */
export interface TrialLimits {
  readonly from: number;
  readonly max: number;
}

/** What to try next, or what was found. */
export type TrialStep =
  | { readonly kind: "try"; readonly books: number; readonly why: TrialReason }
  /** 0: not even one. `max`: more were not tried. */
  | { readonly kind: "found"; readonly books: number; readonly why: "breach" | "max" };

/** Twice as many; halfway; again, for a breach has to be seen twice; or fewer than it began with. */
export type TrialReason = "first" | "doubled" | "halfway" | "again" | "fewer";

/** Breaches after which a number of books has failed. */
const BREACHES = 2;

/** What to try after these trials. */
export function nextTrial(trials: readonly Trial[], { from, max }: TrialLimits): TrialStep {
  invariant(Number.isInteger(from) && from >= 1 && from <= max, "a search that begins nowhere");
  const good = Math.max(0, ...trials.filter((one) => !one.isBreached).map(({ books }) => books));
  const breaches = new Map<number, number>();
  for (const { books, isBreached } of trials) {
    if (isBreached && books > good) breaches.set(books, (breaches.get(books) ?? 0) + 1);
  }
  const failed = [...breaches].filter(([, times]) => times >= BREACHES).map(([books]) => books);
  const bad = Math.min(Number.POSITIVE_INFINITY, ...failed);
  const again = [...breaches.keys()].filter((books) => books < bad);
  if (again.length > 0) return { kind: "try", books: Math.min(...again), why: "again" };
  if (good >= max) return { kind: "found", books: good, why: "max" };
  if (bad - good <= 1) return { kind: "found", books: good, why: "breach" };
  if (!Number.isFinite(bad)) {
    return good === 0
      ? { kind: "try", books: from, why: "first" }
      : { kind: "try", books: Math.min(max, good * 2), why: "doubled" };
  }
  const books = Math.floor((good + bad) / 2);
  return { kind: "try", books, why: good === 0 ? "fewer" : "halfway" };
}
