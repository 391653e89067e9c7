/** A drill's result in words for a person, and as the file that is kept. Pure. */
import type { DrillResult } from "./drill.ts";
import {
  percentOf,
  SCORE_LEAST,
  tablesOf,
  type Judged,
  type Score,
  type Share,
  type TableRow,
} from "./score.ts";

/** Faults that went wrong, shown one by one. */
const SHOWN = 40;

/** The report; its last line is the verdict that scripts read. */
export function reportOf({ seed, judged, score }: DrillResult): string {
  const bad = judged.filter(isBad);
  return [
    ...tableOf("class", score.classes),
    "",
    ...tableOf("fault", score.kinds),
    "",
    ...targetsOf(score),
    "",
    ...Object.entries(score.scores).map(
      ([name, percent]) =>
        `${name}: ${percent.toFixed(1)} %${percent < SCORE_LEAST ? ` (at least ${SCORE_LEAST} %)` : ""}`,
    ),
    ...(bad.length === 0 ? [] : ["", `not as they should be (${bad.length}):`]),
    ...bad.slice(0, SHOWN).map(lineOf),
    "",
    lastLineOf(seed, score),
  ].join("\n");
}

/** `drill: overall 97.4 %, 1000 faults, 0 false completions, seed N`. */
export function lastLineOf(seed: number, score: Score): string {
  const overall = percentOf(score.overall).toFixed(1);
  return `drill: overall ${overall} %, ${score.faults} faults, ${score.falseCompletions} false completions, seed ${seed}`;
}

/** What is kept of it in `docs/results`. */
export function resultOf({ seed, judged, score }: DrillResult): object {
  const { classes, kinds, targets, scores, faults, transient, falseCompletions } = score;
  return {
    seed,
    faults,
    transient,
    falseCompletions,
    overallPercent: percentOf(score.overall),
    isPassed: score.isPassed,
    scores,
    targets: targets.map(({ share, ...target }) => ({ ...target, ...share })),
    classes,
    kinds,
    bad: judged.filter(isBad).slice(0, SHOWN).map(lineOf),
  };
}

/** The table of a real ComfyUI. */
export function realReportOf(judged: readonly Judged[]): string {
  const { classes, kinds } = tablesOf(judged);
  const bad = judged.filter(isBad);
  return [
    ...tableOf("class", classes),
    "",
    ...tableOf("fault", kinds),
    ...(bad.length === 0 ? [] : ["", `not as they should be (${bad.length}):`]),
    ...bad.map(lineOf),
  ].join("\n");
}

/** What is kept of it. */
export function rowsOf(judged: readonly Judged[]): object {
  return { ...tablesOf(judged), bad: judged.filter(isBad).map(lineOf) };
}

function isBad({ kind, record, verdict }: Judged): boolean {
  const isRight = kind.isRecoverable ? verdict.isRecovered : verdict.isEndedRightly === true;
  const others = [
    verdict.isClassRight,
    verdict.isStrategyRight,
    verdict.isChangeRight,
    verdict.isResumeRight,
  ];
  return !isRight || verdict.isFalse || !record.hasStruck || others.includes(false);
}

function lineOf({ record, verdict }: Judged): string {
  const wrong = [
    ...(verdict.isFalse ? ["FALSE COMPLETION"] : []),
    ...(record.hasStruck ? [] : ["never struck"]),
    ...(verdict.isClassRight === false ? ["class"] : []),
    ...(verdict.isStrategyRight === false ? ["strategy"] : []),
    ...(verdict.isChangeRight === false ? ["change"] : []),
    ...(verdict.isResumeRight === false ? ["resume"] : []),
  ];
  const attempts = record.attempts
    .map(({ outcome, class: name, rule }) => [outcome, name, rule].filter(Boolean).join("/"))
    .join(" → ");
  const about = wrong.length === 0 ? "" : ` [${wrong.join(", ")}]`;
  const end = record.attempts.findLast(({ action }) => action === "fail" || action === "poison");
  const why = end?.reason === undefined ? "" : `: ${end.reason ?? ""}`;
  return `  ${record.index} ${record.kind}: ${record.state}${about}; ${attempts}${why}`;
}

function targetsOf({ targets, falseCompletions }: Score): string[] {
  return [
    ...targets.map(
      ({ name, share, least, isMet }) =>
        `${isMet ? "met   " : "MISSED"} ${name}: ${shareText(share)}, at least ${least} %`,
    ),
    `${falseCompletions === 0 ? "met   " : "MISSED"} false completions: ${falseCompletions}, none allowed`,
  ];
}

function shareText(share: Share): string {
  return `${percentOf(share).toFixed(1)} % (${share.good}/${share.of})`;
}

function tableOf(title: string, rows: readonly TableRow[]): string[] {
  const head = [title, "recovered/tried", "told", "loss", "median s", "slowest s", "rungs used"];
  const lines = [...rows].sort((a, b) => a.name.localeCompare(b.name)).map(cellsOf);
  const all = [head, ...lines];
  const widths = head.map((_, column) => Math.max(...all.map((line) => line[column]?.length ?? 0)));
  return all.map((line) =>
    line
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

function cellsOf(row: TableRow): string[] {
  const counts = (of: Readonly<Record<string, number>>): string =>
    Object.entries(of)
      .map(([name, count]) => `${name} ${count}`)
      .join(", ") || "–";
  return [
    row.name,
    row.tried === 0 ? "–" : `${row.recovered}/${row.tried}`,
    row.told.of === 0 ? "–" : `${row.told.good}/${row.told.of}`,
    counts(row.loss),
    (row.medianMs / 1_000).toFixed(0),
    (row.slowestMs / 1_000).toFixed(0),
    counts(row.rungs),
  ];
}
