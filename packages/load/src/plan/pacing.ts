/**
 * When the next job of a run begins. A function of what has been so far, so that a driver may ask as
 * often as it likes; it only remembers how far it counted arrivals.
 *
 * I1: an open loop is free of coordinated omission. A job's intended instant depends on its index and
 *     the seed alone; whoever is late begins it all the same, and its latency counts from then.
 * I2: no more jobs are in flight than the closed loop wants, or than the open one's limit allows.
 * I3: intended instants never go back.
 */
import { invariant } from "@holdfast/runtime";
import { threeDigits } from "../sample/job-sample.ts";
import { dueOf, type Due } from "./arrivals.ts";
import { JOBS_MAX } from "./mix.ts";
import { IN_FLIGHT_MAX } from "./pace-limits.ts";
import { paceProblems, type Pace } from "./pace.ts";
import { paceProfile, type PaceProfile } from "./profile.ts";

/** Where a run ends, and how far it may fall behind. */
export interface PacingLimits {
  /** Most jobs; null for as many as fit. At most {@link JOBS_MAX} are begun. */
  readonly jobs: number | null;
  /** No job is intended later than so long after the start; null for no end but the pace's. */
  readonly forMs: number | null;
  /** Most jobs of an open loop in flight at a time. */
  readonly inFlightMax: number;
  /** An open loop whose next job is later than this is over: its target, or its host, is too slow. */
  readonly lateMsMax: number;
}

/** What a driver gets by on unless it is told otherwise. */
export const DEFAULT_PACING_LIMITS: PacingLimits = {
  jobs: null,
  forMs: null,
  inFlightMax: 1_000,
  lateMsMax: 60_000,
};

/** How a run stands. */
export interface PacingFacts {
  readonly elapsedMs: number;
  /** Jobs begun so far; the next one has this index. */
  readonly begun: number;
  readonly inFlight: number;
}

/** What to do next. */
export type PacingStep =
  /** Begin the next job now; `level` is what the pace wanted then, in flight or a second. */
  | { readonly kind: "begin"; readonly intendedAtMs: number; readonly level: number }
  | { readonly kind: "wait"; readonly untilMs: number }
  /** Until a job ends; `untilMs` is when there is something to ask though none did, null for never. */
  | { readonly kind: "full"; readonly untilMs: number | null }
  /** No job begins any more. `neverBegun`: jobs that were due by now and were not sent. */
  | { readonly kind: "over"; readonly why: OverWhy; readonly neverBegun: number };

/** Why a run begins no more jobs: it had its jobs or its time, or an open loop fell too far behind. */
export type OverWhy = "jobs" | "time" | "behind";

/** When the jobs of one run begin. */
export interface Pacing {
  step(facts: PacingFacts): PacingStep;
}

/** Everything that is wrong with limits; empty for sound ones. */
export function limitProblems(limits: PacingLimits): readonly string[] {
  const { jobs, forMs, inFlightMax, lateMsMax } = limits;
  const problems: string[] = [];
  if (jobs !== null && !isWithin(jobs, JOBS_MAX)) {
    problems.push(`jobs: expected a whole number from 1 to ${JOBS_MAX}, found ${jobs}`);
  }
  if (forMs !== null && !(forMs > 0)) {
    problems.push(`time: expected more than 0 ms, found ${forMs} ms`);
  }
  if (!isWithin(inFlightMax, IN_FLIGHT_MAX)) {
    problems.push(
      `most in flight: expected a whole number from 1 to ${IN_FLIGHT_MAX}, found ${inFlightMax}`,
    );
  }
  if (!(lateMsMax > 0)) {
    problems.push(`how late a job may be: expected more than 0 ms, found ${lateMsMax} ms`);
  }
  return problems;
}

/** The beginnings of a run's jobs, by a pace and limits without problems. */
export function createPacing(pace: Pace, limits: PacingLimits, seed: number): Pacing {
  invariant(paceProblems(pace).length === 0, "a pace with problems");
  invariant(limitProblems(limits).length === 0, "limits with problems");
  const profile = paceProfile(pace);
  const run: Run = {
    limits,
    profile,
    jobs: Math.min(limits.jobs ?? JOBS_MAX, JOBS_MAX),
    endsAtMs: Math.min(profile.endsAtMs, limits.forMs ?? Number.POSITIVE_INFINITY),
  };
  const due = dueOf(pace, seed);
  return {
    step: (facts) => (due === null ? closedStep(run, facts) : openStep(run, due, facts)),
  };
}

/** So that a driver who waits for the instant at which one more is wanted finds it wanted then. */
const ROUNDING = 1e-9;

interface Run {
  readonly limits: PacingLimits;
  readonly profile: PaceProfile;
  readonly jobs: number;
  readonly endsAtMs: number;
}

function closedStep(run: Run, { elapsedMs, begun, inFlight }: PacingFacts): PacingStep {
  if (begun >= run.jobs) return { kind: "over", why: "jobs", neverBegun: 0 };
  if (elapsedMs >= run.endsAtMs) return { kind: "over", why: "time", neverBegun: 0 };
  // A half of a job is none: a ramp has its next one when it is whole, but for what rounding took.
  const wanted = Math.floor(run.profile.valueAt(elapsedMs) + ROUNDING);
  if (inFlight < wanted) return { kind: "begin", intendedAtMs: elapsedMs, level: wanted };
  const next = Math.min(run.profile.reachesAt(inFlight + 1, elapsedMs), run.endsAtMs);
  return { kind: "full", untilMs: Number.isFinite(next) ? next : null };
}

function openStep(run: Run, due: Due, { elapsedMs, begun, inFlight }: PacingFacts): PacingStep {
  const { limits, jobs, endsAtMs, profile } = run;
  if (begun >= jobs) return { kind: "over", why: "jobs", neverBegun: 0 };
  const intendedAtMs = due(begun);
  if (intendedAtMs >= endsAtMs) return { kind: "over", why: "time", neverBegun: 0 };
  if (intendedAtMs > elapsedMs) return { kind: "wait", untilMs: intendedAtMs };
  const isFull = inFlight >= limits.inFlightMax;
  const latestMs = intendedAtMs + limits.lateMsMax;
  // A full loop is told to ask again at that very instant: then it is over.
  if (elapsedMs > latestMs || (isFull && elapsedMs >= latestMs)) {
    const neverBegun = dueBetween(due, begun, jobs, Math.min(elapsedMs, endsAtMs));
    return { kind: "over", why: "behind", neverBegun };
  }
  if (isFull) return { kind: "full", untilMs: latestMs };
  return { kind: "begin", intendedAtMs, level: threeDigits(profile.valueAt(intendedAtMs)) };
}

function dueBetween(due: Due, begun: number, jobs: number, untilMs: number): number {
  let index = begun;
  while (index < jobs && due(index) <= untilMs) index += 1;
  return index - begun;
}

function isWithin(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= max;
}
