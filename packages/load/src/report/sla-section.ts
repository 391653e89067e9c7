/** What was promised, and what was measured against it. */
import { assertNever } from "@holdfast/runtime";
import { amountText } from "../plots/amounts.ts";
import { tableMarkup } from "../plots/markup.ts";
import type { ReportSection } from "../plots/report-page.ts";
import type { SlaMetric, SlaMetricVerdict, SlaVerdict } from "../sla/verdict.ts";

const METRIC_WORDS: Readonly<Record<SlaMetric, string>> = {
  imagesPerMinute: "Images a minute",
  simultaneousBooks: "Books at a time",
  latencyP95Seconds: "Latency p95, s",
  failedPercent: "Failed, %",
  recoverySeconds: "Recovery of a slot, s",
};

/** Targets with their verdicts. */
export function slaSection({ metrics }: SlaVerdict): ReportSection {
  const rows = metrics.map((one) => [
    METRIC_WORDS[one.metric],
    one.target === null ? "none" : `${one.bound === "min" ? "≥" : "≤"} ${amountText(one.target)}`,
    amountText(one.measured?.value ?? null),
    one.measured === null ? amountText(null) : String(one.measured.from),
    stateText(one),
  ]);
  const heads = ["What", "Target", "Measured", "Out of", "Verdict"];
  return { title: "Service level", markup: tableMarkup({ heads, rows }, "Service level") };
}

function stateText({ state, isSure }: SlaMetricVerdict): string {
  const unsure = isSure ? "" : ", of too few to be sure";
  switch (state) {
    case "met":
      return `met${unsure}`;
    case "breached":
      return `missed${unsure}`;
    case "not_measured":
      return "not measured";
    case "not_judged":
      return "not judged";
    default:
      return assertNever(state);
  }
}
