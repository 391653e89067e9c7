/** What all faults together come to: the table, the rates against their targets, the scores. Pure. */
import { LOSS_LEVELS } from "@holdfast/recovery";
import type { FaultGroup, FaultKind } from "./fault-kind.ts";
import { judge, type Verdict } from "./judge.ts";
import type { FaultRecord } from "./record.ts";

/** So many of so many. */
export interface Share {
  readonly good: number;
  readonly of: number;
}

/** One line of the table: a class or a kind of fault. */
export interface TableRow {
  readonly name: string;
  readonly tried: number;
  readonly recovered: number;
  /** Of those that nobody could have finished: told rightly. */
  readonly told: Share;
  /** Rungs by how often they were taken. */
  readonly rungs: Readonly<Record<string, number>>;
  /** Recovered jobs by how much of the picture they cost. */
  readonly loss: Readonly<Record<string, number>>;
  /** Simulated ms from submission to the end; of all of them. */
  readonly medianMs: number;
  readonly slowestMs: number;
}

/** A goal, and what was reached. */
export interface Target {
  readonly name: string;
  readonly share: Share;
  /** Least percentage. */
  readonly least: number;
  readonly isMet: boolean;
}

/** See the header. */
export interface Score {
  readonly faults: number;
  readonly transient: number;
  readonly falseCompletions: number;
  /** Of the recoverable ones. */
  readonly overall: Share;
  readonly targets: readonly Target[];
  /** The six figures of the report, by the names that C1's readers know, in percent. */
  readonly scores: Readonly<Record<string, number>>;
  readonly classes: readonly TableRow[];
  readonly kinds: readonly TableRow[];
  readonly isPassed: boolean;
}

/** One fault with its verdict. */
export interface Judged {
  readonly kind: FaultKind;
  readonly record: FaultRecord;
  readonly verdict: Verdict;
}

const GROUP_TARGETS: Readonly<Record<Exclude<FaultGroup, "other">, number>> = {
  oom: 99,
  timeout: 95,
  network: 99,
  model: 95,
};
const OVERALL_LEAST = 97;
/** Of each of the six figures, in percent. */
export const SCORE_LEAST = 95;

/** Judges all records. Throws for a kind of fault that is not among `kinds`. */
export function judgeAll(
  records: readonly FaultRecord[],
  kinds: readonly FaultKind[],
): readonly Judged[] {
  return records.map((record) => {
    const kind = kinds.find(({ name }) => name === record.kind);
    if (kind === undefined) throw new Error(`there is no fault "${record.kind}"`);
    return { kind, record, verdict: judge(kind, record) };
  });
}

/** The table, by class and by kind of fault. */
export function tablesOf(judged: readonly Judged[]): Pick<Score, "classes" | "kinds"> {
  return {
    classes: rowsBy(judged, ({ kind }) => kind.class),
    kinds: rowsBy(judged, ({ kind }) => kind.name),
  };
}

/** Counts. */
export function scoreOf(judged: readonly Judged[]): Score {
  const recoverable = judged.filter(({ kind }) => kind.isRecoverable);
  const overall = shareOf(recoverable, ({ verdict }) => verdict.isRecovered);
  const told = shareOf(
    judged.filter(({ kind }) => !kind.isRecoverable),
    ({ verdict }) => verdict.isEndedRightly === true,
  );
  const falseCompletions = judged.filter(({ verdict }) => verdict.isFalse).length;
  const groups = Object.entries(GROUP_TARGETS).map(([group, least]) =>
    target(
      group,
      shareOf(
        recoverable.filter(({ kind }) => kind.group === group),
        ({ verdict }) => verdict.isRecovered,
      ),
      least,
    ),
  );
  const parts = {
    "Error Classification": shareOfVerdict(judged, "isClassRight"),
    "Parameter Adjustment": shareOfVerdict(judged, "isChangeRight"),
    "Strategy Assignment": shareOfVerdict(judged, "isStrategyRight"),
    "Recovery Logic": overall,
    "Checkpoint System": shareOfVerdict(judged, "isResumeRight"),
  };
  const scoreTargets = Object.entries(parts).map(([name, share]) =>
    target(name, share, SCORE_LEAST),
  );
  const percents = scoreTargets.map(({ share }) => percentOf(share));
  const system = percents.reduce((sum, one) => sum + one, 0) / percents.length;
  const scores = Object.fromEntries([
    ...scoreTargets.map(({ name, share }) => [name, percentOf(share)] as const),
    ["Overall System Score", system] as const,
  ]);
  const targets = [
    ...groups,
    target("overall", overall, OVERALL_LEAST),
    target("told", told, SCORE_LEAST),
    ...scoreTargets,
  ];
  const isPassed =
    falseCompletions === 0 &&
    targets.every(({ isMet }) => isMet) &&
    system >= SCORE_LEAST &&
    judged.every(({ record }) => record.hasStruck);
  return {
    faults: judged.length,
    transient: judged.filter(({ kind }) => kind.isTransient).length,
    falseCompletions,
    overall,
    targets,
    scores,
    ...tablesOf(judged),
    isPassed,
  };
}

/** In percent; what was never tried is no success. */
export function percentOf({ good, of }: Share): number {
  return of === 0 ? 0 : (100 * good) / of;
}

function target(name: string, share: Share, least: number): Target {
  return { name, share, least, isMet: percentOf(share) >= least };
}

function shareOf<T>(all: readonly T[], isGood: (one: T) => boolean): Share {
  return { good: all.filter(isGood).length, of: all.length };
}

type VerdictField = "isClassRight" | "isChangeRight" | "isStrategyRight" | "isResumeRight";

function shareOfVerdict(judged: readonly Judged[], field: VerdictField): Share {
  const asked = judged.filter(({ verdict }) => verdict[field] !== null);
  return shareOf(asked, ({ verdict }) => verdict[field] === true);
}

function rowsBy(judged: readonly Judged[], nameOf: (one: Judged) => string): TableRow[] {
  const names = [...new Set(judged.map(nameOf))];
  return names.map((name) =>
    rowOf(
      name,
      judged.filter((one) => nameOf(one) === name),
    ),
  );
}

function rowOf(name: string, judged: readonly Judged[]): TableRow {
  const tried = judged.filter(({ kind }) => kind.isRecoverable);
  const recovered = tried.filter(({ verdict }) => verdict.isRecovered);
  const hopeless = judged.filter(({ kind }) => !kind.isRecoverable);
  const times = judged.map(({ record }) => record.tookMs).sort((a, b) => a - b);
  const rungs = judged.flatMap(({ record }) =>
    record.attempts.flatMap(({ rule, action }) =>
      action === "retry" && rule !== null ? [rule] : [],
    ),
  );
  const losses = recovered.map(({ record }) => record.loss);
  return {
    name,
    tried: tried.length,
    recovered: recovered.length,
    told: shareOf(hopeless, ({ verdict }) => verdict.isEndedRightly === true),
    rungs: countsOf(rungs),
    loss: Object.fromEntries(
      Object.entries(countsOf(losses)).sort(
        ([a], [b]) => LOSS_LEVELS.findIndex((l) => l === a) - LOSS_LEVELS.findIndex((l) => l === b),
      ),
    ),
    medianMs: times[Math.floor(times.length / 2)] ?? 0,
    slowestMs: times.at(-1) ?? 0,
  };
}

function countsOf(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return Object.fromEntries(Object.entries(counts).sort(([, a], [, b]) => b - a));
}
