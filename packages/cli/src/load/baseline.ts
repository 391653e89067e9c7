/** A run against one before it, as `--compare` has it. */
import {
  compareLoads,
  createKeptSamples,
  DEFAULT_COMPARISON_POLICY,
  differencesOf,
  readLoadFile,
  type ComparedFigure,
  type ComparedLoad,
  type Comparison,
  type FigureComparison,
  type OverallVerdict,
  type PlannedLoad,
} from "@holdfast/load";
import { assertNever } from "@holdfast/runtime";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { textTable } from "../terminal/text-table.ts";
import { millisecondsText, percentText } from "./figures.ts";
import { linesOf } from "./lines-of.ts";

/** What `--compare` says. */
export interface Compare {
  readonly file: string;
  readonly force: boolean;
}

/** Reads the file of a run; throws {@link CommandFailure} with what is wrong with it. */
export async function readBaseline(file: string): Promise<ComparedLoad> {
  const kept = createKeptSamples();
  const read = await readLoadFile(linesOf(file), (sample) => kept.add(sample)).catch(
    (cause: unknown) => {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw refused(`--compare: ${file} cannot be read: ${reason}`, cause);
    },
  );
  if (read.kind === "invalid") {
    throw refused(`--compare: ${file}:\n${read.problems.join("\n")}`);
  }
  return { summary: read.summary, kept: kept.facts() };
}

/** Throws {@link CommandFailure} where the run to come would not do the work of the one before. */
export function assertComparable(
  { file, force }: Compare,
  before: ComparedLoad,
  now: PlannedLoad,
): void {
  const differences = differencesOf(before.summary, now);
  if (differences.length === 0 || force) return;
  const told = differences.map((one) => `  ${one}`).join("\n");
  const advice = "With --force they are compared all the same. No load was sent.";
  throw refused(`--compare: ${file} is of other work:\n${told}\n${advice}`);
}

/** Compares; differences were judged before the run. */
export function compareWith(before: ComparedLoad, now: ComparedLoad): Comparison {
  return compareLoads(before, now, { ...DEFAULT_COMPARISON_POLICY, force: true });
}

/** The verdict, and a table of the figures with where each change lies. */
export function comparisonLines(
  comparison: Comparison,
  file: string,
  columns: number,
): readonly string[] {
  if (comparison.kind === "refused")
    return [`not compared with ${file}`, ...comparison.differences];
  const table = textTable(
    comparison.figures,
    [
      { head: "figure", cell: ({ figure }) => FIGURES[figure] },
      { head: "before", cell: (one) => valueText(one, one.before), isRight: true },
      { head: "now", cell: (one) => valueText(one, one.now), isRight: true },
      { head: "change", cell: changeText, isRight: true },
      { head: "95 % interval", cell: intervalText, isRight: true },
      { head: "verdict", cell: verdictText },
    ],
    columns,
  );
  const differences = comparison.differences.map((one) => `compared by force: ${one}`);
  return [`against ${file}: ${HEADLINES[comparison.verdict]}`, ...differences, ...table];
}

const HEADLINES: Readonly<Record<OverallVerdict, string>> = {
  better: "better",
  worse: "worse",
  same: "the same",
  uncertain: "no clear difference, more jobs would tell",
  too_few: "nothing can be said, there are too few jobs",
};

const VERDICTS = {
  better: "better",
  worse: "worse",
  no_clear_difference: "no clear difference",
} as const;

const FIGURES: Readonly<Record<ComparedFigure, string>> = {
  throughput: "jobs/min",
  p50: "p50",
  p95: "p95",
  p99: "p99",
  success_rate: "success",
};

function valueText({ figure }: FigureComparison, value: number | null): string {
  if (value === null) return "-";
  switch (figure) {
    case "throughput":
      return value.toFixed(1);
    case "p50":
    case "p95":
    case "p99":
      return millisecondsText(value);
    case "success_rate":
      return percentText(value);
    default:
      return assertNever(figure);
  }
}

function changeText({ figure, change }: FigureComparison): string {
  return change === null ? "-" : signed(change, figure);
}

function intervalText({ figure, interval }: FigureComparison): string {
  if (interval === null) return "-";
  return `${signed(interval.low, figure)} to ${signed(interval.high, figure)}`;
}

/** Of the success rate in points, of others relative. */
function signed(value: number, figure: ComparedFigure): string {
  const percent = (value * 100).toFixed(1);
  const sign = value >= 0 && !percent.startsWith("-") ? "+" : "";
  return `${sign}${percent} ${figure === "success_rate" ? "points" : "%"}`;
}

function verdictText({ verdict, reason, jobs }: FigureComparison): string {
  switch (reason) {
    case "clear":
      return VERDICTS[verdict];
    case "same":
      return "the same";
    case "small":
      return "a change too small to matter";
    case "uncertain":
      return "unclear: more jobs would tell";
    case "too_few":
      return `too few jobs: it takes ${jobs.needed} of each run, of ${jobs.before} and ${jobs.now}`;
    default:
      return assertNever(reason);
  }
}

function refused(message: string, cause?: unknown): CommandFailure {
  return new CommandFailure(EXIT.refused, message, { cause });
}
