/** A run against one before it. */
import { assertNever } from "@holdfast/runtime";
import type {
  ComparedFigure,
  Comparison,
  FigureComparison,
  VerdictReason,
} from "../compare/compare-runs.ts";
import { amountText, changeText, msText, shareText } from "../plots/amounts.ts";
import { escapeHtml, NOT_KNOWN } from "../plots/markup.ts";
import type { ReportSection } from "../plots/report-page.ts";

const FIGURE_WORDS: Readonly<Record<ComparedFigure, string>> = {
  throughput: "Jobs a minute",
  p50: "Latency, median",
  p95: "Latency p95",
  p99: "Latency p99",
  success_rate: "Success rate",
};
const HEADS = ["What", "Before", "Now", "Change", "With 95 % confidence", "Interval", "Verdict"];
const WIDTH = 200;
const HEIGHT = 20;
const MIDDLE = WIDTH / 2;
/** An interval that leaves this far is cut at the edge, or the others would be points. */
const CHANGE_SHOWN_MAX = 2;

/** Figures of both runs with the intervals of their change, or why they are not compared. */
export function comparisonSection(comparison: Comparison): ReportSection {
  const { differences } = comparison;
  const list = `<ul class="plain">${differences.map((one) => `<li>${escapeHtml(one)}</li>`).join("")}</ul>`;
  const title = "Against the run before";
  if (comparison.kind === "refused") {
    return { title, markup: `<p>The two runs did not do the same work:</p>${list}` };
  }
  const warning = `<p>The two runs did not do the same work, and are compared all the same:</p>${list}`;
  const reach = reachOf(comparison.figures);
  const rows = comparison.figures.map((one) => rowMarkup(one, reach)).join("\n");
  return {
    title,
    markup: `${differences.length > 0 ? warning : ""}
<div class="scrolls" tabindex="0" role="region" aria-label="${title}"><table>
<thead><tr>${HEADS.map((text) => `<th scope="col">${text}</th>`).join("")}</tr></thead>
<tbody>${rows}</tbody></table></div>
<p class="quiet">The line in the middle of an interval's picture is no change; the dot is the change that was measured. The picture reaches from ${changeText(-reach)} to ${changeText(reach)}.</p>`,
  };
}

function rowMarkup(one: FigureComparison, reach: number): string {
  const { figure, before, now, change, interval } = one;
  const confidence =
    interval === null
      ? NOT_KNOWN
      : `${changeOf(figure, interval.low)} to ${changeOf(figure, interval.high)}`;
  const tone = one.verdict === "better" ? "good" : one.verdict === "worse" ? "bad" : "quiet";
  const cells = [
    amountOf(figure, before),
    amountOf(figure, now),
    changeOf(figure, change),
    confidence,
  ];
  return `<tr><th scope="row">${FIGURE_WORDS[figure]}</th>${cells.map((text) => `<td class="short">${escapeHtml(text)}</td>`).join("")}<td class="interval">${pictureMarkup(one, reach)}</td><td class="short ${tone}">${escapeHtml(verdictText(one))}</td></tr>`;
}

function pictureMarkup({ change, interval }: FigureComparison, reach: number): string {
  if (interval === null || change === null) return "";
  const x = (value: number): number =>
    Math.round(MIDDLE + (Math.min(reach, Math.max(-reach, value)) / reach) * MIDDLE * 0.95);
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true"><path d="M${MIDDLE} 0V${HEIGHT}"/><path class="range" d="M${x(interval.low)} ${HEIGHT / 2}H${x(interval.high)}"/><path class="dots" d="M${x(change)} ${HEIGHT / 2}h.01"/></svg>`;
}

function reachOf(figures: readonly FigureComparison[]): number {
  const ends = figures.flatMap(({ interval, change }) =>
    interval === null
      ? []
      : [Math.abs(interval.low), Math.abs(interval.high), Math.abs(change ?? 0)],
  );
  const widest = Math.max(0, ...ends.filter((one) => Number.isFinite(one)));
  return widest === 0 ? 1 : Math.min(CHANGE_SHOWN_MAX, widest);
}

function amountOf(figure: ComparedFigure, value: number | null): string {
  if (figure === "throughput") return amountText(value);
  return figure === "success_rate" ? shareText(value) : msText(value);
}

/** Of the success rate the change is in points: 98 % after 96 % is two points more. */
function changeOf(figure: ComparedFigure, change: number | null): string {
  const text = changeText(change);
  return figure === "success_rate" ? text.replace(" %", " points") : text;
}

function verdictText({ verdict, reason, jobs }: FigureComparison): string {
  const why = reasonText(reason, jobs.needed);
  return verdict === "no_clear_difference" ? why : verdict;
}

function reasonText(reason: VerdictReason, needed: number): string {
  switch (reason) {
    case "clear":
      return "clear";
    case "same":
      return "the same";
    case "small":
      return "a change too small to matter";
    case "uncertain":
      return "no clear difference: more jobs would tell";
    case "too_few":
      return `too few jobs: it takes ${needed} in each run`;
    default:
      return assertNever(reason);
  }
}
