/** Where jobs' time went: by phase, and by workflow. */
import { msText, shareText } from "../plots/amounts.ts";
import { barPlot } from "../plots/bar-plot.ts";
import { tableMarkup } from "../plots/markup.ts";
import type { ReportSection } from "../plots/report-page.ts";
import type { Phase } from "../sample/phases.ts";
import type { LoadSummary, Percentiles, PhaseSummary } from "../summary/model.ts";

/** Phases in words, in their order. The total is no part of itself. */
const PHASE_WORDS: readonly (readonly [Exclude<Phase, "total">, string])[] = [
  ["harness", "harness (late)"],
  ["submit", "submit"],
  ["queue", "queue"],
  ["model_load", "model load"],
  ["execute", "execute"],
  ["collect", "collect"],
];

/** Latency by phase. */
export function phasesSection({ phases }: LoadSummary): ReportSection {
  const heads = ["Phase", "Jobs", "p50", "p90", "p95", "p99", "Longest", "Mean"];
  const rows = [...PHASE_WORDS, ["total", "total"] as const].map(([phase, words]) => [
    words,
    ...percentileCells(phases[phase]),
  ]);
  return {
    title: "Latency by phase",
    markup: `${barPlot({
      title: "Where the time went",
      note: "Percentiles of phases do not sum up to the percentile of the whole, which stands behind each bar: the slowest jobs of one phase are not those of another. A phase that the target does not tell of has no part.",
      of: "Percentile",
      parts: PHASE_WORDS.map(([, words]) => words),
      bars: (["p50", "p95"] as const).map((percentile) => ({
        label: percentile,
        values: partsOf(phases, percentile),
        text: msText(phases.total?.[percentile] ?? null),
      })),
      valueText: msText,
    })}
${tableMarkup({ heads, rows }, "Latency by phase")}`,
  };
}

/** Latency by workflow. */
export function workflowsSection({ byWorkflow }: LoadSummary): ReportSection {
  const heads = ["Workflow", "Jobs", "Completed", "Success rate", "p50", "p95", "p99", "Longest"];
  const rows = byWorkflow.map(({ workflow, jobs, completed, successRate, phases: { total } }) => [
    workflow,
    String(jobs),
    String(completed),
    shareText(successRate),
    ...([total?.p50, total?.p95, total?.p99, total?.max] as const).map((ms) => msText(ms ?? null)),
  ]);
  return {
    title: "By workflow",
    markup: `${barPlot({
      title: "Latency p95 by workflow",
      of: "Workflow",
      parts: PHASE_WORDS.map(([, words]) => words),
      bars: byWorkflow.map(({ workflow, phases }) => ({
        label: workflow,
        values: partsOf(phases, "p95"),
        text: msText(phases.total?.p95 ?? null),
      })),
      valueText: msText,
    })}
${tableMarkup({ heads, rows }, "By workflow")}`,
  };
}

function partsOf(phases: PhaseSummary, percentile: "p50" | "p95"): readonly (number | null)[] {
  return PHASE_WORDS.map(([phase]) => phases[phase]?.[percentile] ?? null);
}

function percentileCells(percentiles: Percentiles | null | undefined): readonly string[] {
  const { count, p50, p90, p95, p99, max, mean } = percentiles ?? {};
  return [String(count ?? 0), ...[p50, p90, p95, p99, max, mean].map((ms) => msText(ms ?? null))];
}
