import { assertNever } from "@holdfast/runtime";
import { durationText } from "../terminal/durations.ts";
import { textTable, type Column } from "../terminal/text-table.ts";
import type { BareResult, FaultRow, FaultRun, ScenarioResult } from "./result.ts";

const MS_PER_SECOND = 1_000;
const REASONS_SHOWN = 2;

/** The table of a run, as a person reads it. */
export function tableLines(rows: readonly FaultRow[], columns: number): readonly string[] {
  return textTable(rows, shapeOf(rows), columns);
}

function shapeOf(rows: readonly FaultRow[]): readonly Column<FaultRow>[] {
  const shape: Column<FaultRow>[] = [{ head: "SCENARIO", cell: ({ name }) => name }];
  if (rows.some(({ holdfast }) => holdfast !== undefined)) {
    shape.push(
      { head: "HOLDFAST", cell: ({ holdfast }) => holdfastWord(holdfast) },
      { head: "JOBS", cell: ({ holdfast }) => jobsOf(holdfast), isRight: true },
      { head: "ATTEMPTS", cell: ({ holdfast }) => attemptsOf(holdfast), isRight: true },
      { head: "TOOK", cell: ({ holdfast }) => tookOf(holdfast), isRight: true },
    );
  }
  if (rows.some(({ bare }) => bare !== undefined)) {
    shape.push({ head: "BARE CLIENT", cell: ({ bare }) => bareWord(bare) });
  }
  return [...shape, { head: "WHAT WAS SEEN", cell: seenText }];
}

/** The line under the table. */
export function summaryLine({ rows, on, seconds }: FaultRun): string {
  const parts: string[] = [];
  const judged = rows.flatMap(({ holdfast }) => (holdfast?.kind === "judged" ? [holdfast] : []));
  if (rows.some(({ holdfast }) => holdfast !== undefined)) {
    const passed = judged.filter(({ verdict }) => verdict.state === "passed").length;
    parts.push(`Holdfast: ${passed} of ${judged.length} scenarios passed`);
    const others = rows.length - judged.length;
    if (others > 0) parts.push(`${others} not tried`);
  }
  const bare = rows.flatMap((row) => (row.bare?.kind === "rendered" ? [row.bare] : []));
  if (bare.length > 0) {
    const lost = bare.reduce((sum, one) => sum + one.lost, 0);
    const jobs = bare.reduce((sum, one) => sum + one.jobs, 0);
    parts.push(`bare client: ${lost} of ${jobs} jobs lost in ${bare.length} scenarios`);
  }
  return `fault: ${parts.join(", ")} (${on}, ${durationText(seconds * MS_PER_SECOND)})`;
}

/** The same as Markdown, with all that was seen. */
export function reportText(run: FaultRun): string {
  const shape = shapeOf(run.rows).slice(0, -1);
  const line = (cells: readonly string[]): string => `| ${cells.map(escaped).join(" | ")} |`;
  const table = [
    line(shape.map(({ head }) => head.toLowerCase())),
    line(shape.map(({ isRight }) => (isRight === true ? "--:" : "---"))),
    ...run.rows.map((row) => line(shape.map(({ cell }) => cell(row)))),
  ];
  const details = run.rows.flatMap((row) => [
    `## ${row.name}`,
    "",
    `${row.title}. Expected: ${row.expectation}.`,
    "",
    ...detailLines(row),
    "",
  ]);
  return [
    "# Fault scenarios",
    "",
    `${summaryLine(run)}. Holdfast ${run.holdfast}, ${run.startedAt}, ${run.jobs} jobs each.`,
    "",
    ...table,
    "",
    ...details,
  ].join("\n");
}

function detailLines({ holdfast, bare }: FaultRow): readonly string[] {
  const lines: string[] = [];
  if (holdfast?.kind === "judged") {
    lines.push(...holdfast.verdict.reasons.map((words) => `- **not so**: ${words}`));
    lines.push(...holdfast.verdict.evidence.map((words) => `- ${words}`));
  } else if (holdfast !== undefined) {
    lines.push(`- ${holdfastWord(holdfast)}: ${holdfast.why}`);
  }
  if (bare !== undefined) {
    const why = bare.kind === "rendered" ? bare.reasons.join("; ") : bare.why;
    lines.push(`- bare client: ${bareWord(bare)}${why === "" ? "" : ` (${why})`}`);
  }
  return lines;
}

function holdfastWord(result: ScenarioResult | undefined): string {
  if (result === undefined) return "–";
  switch (result.kind) {
    case "judged":
      return result.verdict.state;
    case "not_here":
      return "not possible here";
    case "no_world":
      return "no world";
    default:
      return assertNever(result);
  }
}

function bareWord(result: BareResult | undefined): string {
  if (result === undefined) return "–";
  switch (result.kind) {
    case "rendered":
      return result.lost === 0
        ? `none of ${result.jobs} lost`
        : `${result.lost} of ${result.jobs} lost`;
    case "not_here":
      return "–";
    case "no_world":
      return "no world";
    default:
      return assertNever(result);
  }
}

function seenText({ holdfast, bare }: FaultRow): string {
  const parts: string[] = [];
  if (holdfast?.kind === "judged") {
    const { reasons, evidence } = holdfast.verdict;
    const left = reasons.length - REASONS_SHOWN;
    if (reasons.length > 0) {
      parts.push(reasons.slice(0, REASONS_SHOWN).join("; ") + (left > 0 ? `; … ${left} more` : ""));
    } else parts.push(evidence.at(-1) ?? "");
  } else if (holdfast !== undefined) {
    parts.push(holdfast.why);
  }
  if (bare?.kind === "rendered" && bare.lost > 0) parts.push(`bare: ${bare.reasons[0] ?? ""}`);
  if (bare?.kind === "rendered" && bare.struck === 0) parts.push("bare: the fault never struck");
  if (bare !== undefined && bare.kind !== "rendered" && holdfast === undefined)
    parts.push(bare.why);
  return parts.join("; ");
}

function jobsOf(result: ScenarioResult | undefined): string {
  return result?.kind === "judged" ? String(result.jobs) : "";
}

function attemptsOf(result: ScenarioResult | undefined): string {
  return result?.kind === "judged" ? String(result.attempts) : "";
}

function tookOf(result: ScenarioResult | undefined): string {
  return result?.kind === "judged" ? durationText(result.seconds * MS_PER_SECOND) : "";
}

function escaped(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}
