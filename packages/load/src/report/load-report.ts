/** The report of a load run: one HTML file, made to be sent to somebody who was not there. */
import { assertNever } from "@holdfast/runtime";
import type { Comparison } from "../compare/compare-runs.ts";
import { amountText, msText, secondsText, shareText } from "../plots/amounts.ts";
import { reportPage, type ReportPage, type ReportSection } from "../plots/report-page.ts";
import type { SlaVerdict } from "../sla/verdict.ts";
import type { LoadSummary, StoppedBecause } from "../summary/model.ts";
import type { LoadTimeline } from "../summary/timeline-model.ts";
import { comparisonSection } from "./comparison-section.ts";
import {
  errorsSection,
  figuresSection,
  harnessSection,
  planSection,
  recoverySection,
} from "./facts-sections.ts";
import { harnessDoubts } from "./harness-trust.ts";
import { levelsSection } from "./levels-section.ts";
import { phasesSection, workflowsSection } from "./phases-sections.ts";
import { slaSection } from "./sla-section.ts";
import { gpuSection, timeSection } from "./timeline-sections.ts";

/** What a report tells. */
export interface LoadReportFacts {
  readonly summary: LoadSummary;
  readonly timeline: LoadTimeline;
  /** With the run before it; left out where there was none. */
  readonly comparison?: Comparison;
  /** Left out where nobody asked whether it is good enough. */
  readonly sla?: SlaVerdict;
}

/** The text of the file. No request leaves it, and it holds no script. */
export function loadReportHtml(facts: LoadReportFacts): string {
  const { summary, timeline, comparison, sla } = facts;
  const { target, startedAt, durationSeconds, scenario } = summary;
  const lead = [
    `${target.kind === "holdfast" ? "Holdfast" : "ComfyUI"} ${target.version ?? "of unknown version"}`,
    `from ${startedAt}`,
    `for ${secondsText(durationSeconds)}`,
    ...(scenario === null ? [] : [`scenario ${scenario}`]),
  ].join(", ");
  const sections: readonly (ReportSection | null)[] = [
    figuresSection(summary),
    sla === undefined ? null : slaSection(sla),
    comparison === undefined ? null : comparisonSection(comparison),
    timeSection(timeline, durationSeconds),
    phasesSection(summary),
    workflowsSection(summary),
    levelsSection(summary),
    errorsSection(summary),
    gpuSection(summary, timeline),
    recoverySection(summary),
    harnessSection(summary),
    planSection(summary),
  ];
  return reportPage({
    title: `Load run against ${target.url}`,
    lead,
    notices: noticesOf(facts),
    sections: sections.filter((one) => one !== null),
  });
}

type Notice = ReportPage["notices"][number];

function noticesOf({ summary, comparison, sla }: LoadReportFacts): readonly Notice[] {
  const notices: Notice[] = [verdictOf(summary, sla)];
  if (comparison !== undefined) notices.push(comparisonNotice(comparison));
  const stopped = stoppedText(summary.stoppedBecause);
  if (stopped !== null) notices.push({ tone: "busy", text: stopped });
  notices.push(...harnessDoubts(summary).map((text) => ({ tone: "busy" as const, text })));
  return notices;
}

function verdictOf(summary: LoadSummary, sla: SlaVerdict | undefined): Notice {
  const { jobs, successRate, imagesPerMinute, phases } = summary;
  const ended = `${jobs.completed} of ${jobs.begun} jobs completed`;
  const figures = [
    successRate === null ? null : `success rate ${shareText(successRate)}`,
    imagesPerMinute === null ? null : `${amountText(imagesPerMinute)} images a minute`,
    phases.total === null ? null : `95 in 100 within ${msText(phases.total.p95)}`,
  ].filter((one) => one !== null);
  const measured = [ended, ...figures].join(", ");
  if (sla === undefined) {
    return {
      tone: jobs.completed === jobs.begun && jobs.begun > 0 ? "good" : "plain",
      text: `${measured}.`,
    };
  }
  switch (sla.state) {
    case "met":
      return { tone: "good", text: `Good enough: no target is missed. ${measured}.` };
    case "breached": {
      const missed = sla.metrics.filter(({ state }) => state === "breached").length;
      return {
        tone: "bad",
        text: `Not good enough: ${missed === 1 ? "a target is" : `${missed} targets are`} missed. ${measured}.`,
      };
    }
    case "incomplete":
      return {
        tone: "plain",
        text: `No target that was measured is missed, and not all were measured. ${measured}.`,
      };
    default:
      return assertNever(sla.state);
  }
}

function comparisonNotice(comparison: Comparison): Notice {
  if (comparison.kind === "refused") {
    return {
      tone: "busy",
      text: "Not compared with the run before: the two did not do the same work.",
    };
  }
  switch (comparison.verdict) {
    case "better":
      return { tone: "good", text: "Better than the run before." };
    case "worse":
      return { tone: "bad", text: "Worse than the run before." };
    case "same":
      return { tone: "plain", text: "The same as the run before." };
    case "uncertain":
      return {
        tone: "plain",
        text: "No clear difference from the run before: more jobs would tell.",
      };
    case "too_few":
      return { tone: "busy", text: "Too few jobs to say anything of the run before." };
    default:
      return assertNever(comparison.verdict);
  }
}

/** Null where a run ended as it was meant to. */
function stoppedText(why: StoppedBecause): string | null {
  switch (why) {
    case "jobs":
    case "time":
      return null;
    case "behind":
      return "The run was stopped early: the target fell too far behind the pace.";
    case "cancelled":
      return "The run was stopped by hand: what it had until then is told.";
    case "target_lost":
      return "The run was stopped early: the target did not answer any more.";
    case "errors":
      return "The run was stopped early: too much of it failed.";
    case "gpu":
      return "The run was stopped early: a card was full.";
    default:
      return assertNever(why);
  }
}
