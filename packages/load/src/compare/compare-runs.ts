/** A run against one before it: what became better, what worse, and what chance could have done alone. */
import { assertNever, seededRandom } from "@holdfast/runtime";
import type { LoadSummary } from "../summary/model.ts";
import { middleOf, quantileOf, resampledMeans, resampledQuantiles } from "./bootstrap.ts";
import { differencesOf } from "./comparable.ts";
import type { KeptFacts } from "./kept-samples.ts";
import { rateDifference, type Interval } from "./rates.ts";

/** One of the two runs. */
export interface ComparedLoad {
  readonly summary: LoadSummary;
  readonly kept: KeptFacts;
}

/** What a comparison goes by. */
export interface ComparisonPolicy {
  /** The least relative change of throughput or latency that matters: 0.05 is 5 %. */
  readonly smallestChange: number;
  /** The least change of the success rate that matters, in shares: 0.01 is a point. */
  readonly smallestRateChange: number;
  /** Of the bootstrap: the same runs give the same intervals. */
  readonly seed: number;
  /** Compare runs that did other work all the same. */
  readonly force: boolean;
}

/** 5 %, and a point of the success rate: 5 points of it are more than any error budget. */
export const DEFAULT_COMPARISON_POLICY: ComparisonPolicy = {
  smallestChange: 0.05,
  smallestRateChange: 0.01,
  seed: 1,
  force: false,
};

/** What is compared. */
export type ComparedFigure = "throughput" | "p50" | "p95" | "p99" | "success_rate";
/** Which way it went. */
export type ComparisonVerdict = "better" | "worse" | "no_clear_difference";

/** Why a verdict is what it is. */
export type VerdictReason =
  /** The change matters, and chance does not explain it. */
  | "clear"
  /** Whatever the change is, it is less than what matters. */
  | "same"
  /** There is a change, and it is less than what matters. */
  | "small"
  /** There may be one: more jobs would tell. */
  | "uncertain"
  /** Too few jobs to say anything of this figure. */
  | "too_few";

/**
 * What all figures together say. `same`, `uncertain`: of those that could be judged; `too_few`: none could,
 * which is no good sign either.
 */
export type OverallVerdict = "better" | "worse" | "same" | "uncertain" | "too_few";

/** One figure of both runs. */
export interface FigureComparison {
  readonly figure: ComparedFigure;
  /** Per minute, ms, or a share; null where a run has none. */
  readonly before: number | null;
  readonly now: number | null;
  /** Relative to before, of the success rate in shares; null where a run has none. */
  readonly change: number | null;
  /** Where the change lies with 95 % confidence; null with too few jobs. */
  readonly interval: Interval | null;
  /** Jobs of both runs, and how many of each it takes. */
  readonly jobs: { readonly before: number; readonly now: number; readonly needed: number };
  readonly verdict: ComparisonVerdict;
  readonly reason: VerdictReason;
}

/** Two runs, compared. */
export type Comparison =
  | {
      readonly kind: "compared";
      /** `worse` where any figure is, `better` where any is and none is worse. */
      readonly verdict: OverallVerdict;
      readonly figures: readonly FigureComparison[];
      /** In what they differ; empty unless it was forced. */
      readonly differences: readonly string[];
    }
  | { readonly kind: "refused"; readonly differences: readonly string[] };

/** Jobs that a figure takes: at least one beyond the percentile, and ten of anything. */
const JOBS_NEEDED: Readonly<Record<ComparedFigure, number>> = {
  throughput: 10,
  p50: 10,
  p95: 20,
  p99: 100,
  success_rate: 10,
};
const LATENCIES = [
  ["p50", 0.5],
  ["p95", 0.95],
  ["p99", 0.99],
] as const;
const MS_PER_SECOND = 1_000;
const MS_PER_MINUTE = 60_000;

/** Compares a run with one before it. */
export function compareLoads(
  before: ComparedLoad,
  now: ComparedLoad,
  policy: ComparisonPolicy = DEFAULT_COMPARISON_POLICY,
): Comparison {
  const differences = differencesOf(before.summary, now.summary);
  if (differences.length > 0 && !policy.force) return { kind: "refused", differences };
  const figures = [
    throughput(gapsOf(before), gapsOf(now), policy),
    ...latencies(before.kept, now.kept, policy),
    successRate(before.kept, now.kept, policy),
  ];
  return { kind: "compared", verdict: overall(figures), figures, differences };
}

/**
 * Gaps that take all of the steady state together: what lies behind the last completion (jobs that failed,
 * an interval of an open loop) is part of the first gap, so that the rate is the summary's.
 */
function gapsOf({ kept: { gapsMs }, summary: { steady } }: ComparedLoad): Float64Array {
  if (steady === null) return gapsMs;
  const wholeMs = (steady.untilSeconds - steady.fromSeconds) * MS_PER_SECOND;
  const behindMs = Math.max(0, wholeMs - gapsMs.reduce((all, gap) => all + gap, 0));
  return gapsMs.map((gap, index) => (index === 0 ? gap + behindMs : gap));
}

function throughput(
  before: Float64Array,
  now: Float64Array,
  policy: ComparisonPolicy,
): FigureComparison {
  const [old, young] = [perMinute(before), perMinute(now)];
  const jobs = { before: before.length, now: now.length };
  const draw = (): readonly number[] => {
    const random = seededRandom(policy.seed);
    const olds = resampledMeans(before, random);
    const youngs = resampledMeans(now, random);
    // A rate is the inverse of its gaps.
    return olds.map((gap, index) => gap / (youngs[index] ?? Number.NaN) - 1);
  };
  return relative("throughput", old, young, jobs, draw, policy);
}

function perMinute(gapsMs: Float64Array): number | null {
  const sum = gapsMs.reduce((all, gap) => all + gap, 0);
  return sum > 0 ? (gapsMs.length * MS_PER_MINUTE) / sum : null;
}

function latencies(
  before: KeptFacts,
  now: KeptFacts,
  policy: ComparisonPolicy,
): readonly FigureComparison[] {
  const jobs = { before: before.latenciesMs.length, now: now.latenciesMs.length };
  const random = seededRandom(policy.seed);
  const shares = LATENCIES.map(([, share]) => share);
  const olds = jobs.before === 0 ? [] : resampledQuantiles(before.latenciesMs, shares, random);
  const youngs = jobs.now === 0 ? [] : resampledQuantiles(now.latenciesMs, shares, random);
  return LATENCIES.map(([figure, share], at) => {
    const old = jobs.before === 0 ? null : quantileOf(before.latenciesMs, share);
    const young = jobs.now === 0 ? null : quantileOf(now.latenciesMs, share);
    const draw = (): readonly number[] =>
      olds.map((one, index) => (youngs[index]?.[at] ?? Number.NaN) / (one[at] ?? Number.NaN) - 1);
    return relative(figure, old, young, jobs, draw, policy);
  });
}

/** `draw`: the change in each redrawn pair of runs. */
function relative(
  figure: ComparedFigure,
  before: number | null,
  now: number | null,
  counts: { readonly before: number; readonly now: number },
  draw: () => readonly number[],
  { smallestChange }: ComparisonPolicy,
): FigureComparison {
  const needed = JOBS_NEEDED[figure];
  const jobs = { ...counts, needed };
  const change = before === null || now === null || before === 0 ? null : now / before - 1;
  const facts = { figure, before, now, change, jobs };
  if (change === null || Math.min(counts.before, counts.now) < needed) return tooFew(facts);
  const interval = middleOf(draw());
  return { ...facts, interval, ...judged(figure, change, interval, smallestChange) };
}

function successRate(
  before: KeptFacts,
  now: KeptFacts,
  policy: ComparisonPolicy,
): FigureComparison {
  const needed = JOBS_NEEDED.success_rate;
  const jobs = { before: before.ended, now: now.ended, needed };
  const [old, young] = [rateOf(before), rateOf(now)];
  const change = old === null || young === null ? null : young - old;
  const facts = { figure: "success_rate" as const, before: old, now: young, change, jobs };
  if (change === null || Math.min(jobs.before, jobs.now) < needed) return tooFew(facts);
  const interval = rateDifference(
    { count: before.completed, of: before.ended },
    { count: now.completed, of: now.ended },
  );
  return {
    ...facts,
    interval,
    ...judged("success_rate", change, interval, policy.smallestRateChange),
  };
}

function rateOf({ completed, ended }: KeptFacts): number | null {
  return ended === 0 ? null : completed / ended;
}

function tooFew(
  facts: Omit<FigureComparison, "interval" | "verdict" | "reason">,
): FigureComparison {
  return { ...facts, interval: null, verdict: "no_clear_difference", reason: "too_few" };
}

function judged(
  figure: ComparedFigure,
  change: number,
  { low, high }: Interval,
  smallest: number,
): Pick<FigureComparison, "verdict" | "reason"> {
  const isBeyondChance = low > 0 || high < 0;
  if (isBeyondChance && Math.abs(change) >= smallest) {
    return { verdict: change > 0 === isGrowthGood(figure) ? "better" : "worse", reason: "clear" };
  }
  const verdict = "no_clear_difference";
  if (low > -smallest && high < smallest) return { verdict, reason: "same" };
  return { verdict, reason: isBeyondChance ? "small" : "uncertain" };
}

function isGrowthGood(figure: ComparedFigure): boolean {
  switch (figure) {
    case "throughput":
    case "success_rate":
      return true;
    case "p50":
    case "p95":
    case "p99":
      return false;
    default:
      return assertNever(figure);
  }
}

function overall(figures: readonly FigureComparison[]): OverallVerdict {
  const has = (wanted: ComparisonVerdict): boolean =>
    figures.some(({ verdict }) => verdict === wanted);
  if (has("worse")) return "worse";
  if (has("better")) return "better";
  const judged = figures.filter(({ reason }) => reason !== "too_few");
  if (judged.length === 0) return "too_few";
  return judged.some(({ reason }) => reason === "uncertain") ? "uncertain" : "same";
}
