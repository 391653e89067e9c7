/** Throughput and latency by level, and where more jobs at a time stop bringing more. */
import { assertNever } from "@holdfast/runtime";
import { amountText, msText, secondsText, shareText } from "../plots/amounts.ts";
import { linePlot } from "../plots/line-plot.ts";
import { escapeHtml, tableMarkup } from "../plots/markup.ts";
import type { ReportSection } from "../plots/report-page.ts";
import { amountAxis } from "../plots/ticks.ts";
import { kneeOf, type Knee } from "../sla/knee.ts";
import type { LevelSummary, LoadSummary } from "../summary/model.ts";
import { completedSeries } from "./timeline-sections.ts";

/** Null where the pace had no levels. */
export function levelsSection({ byLevel }: LoadSummary): ReportSection | null {
  if (byLevel.length === 0) return null;
  const knee = kneeOf(byLevel);
  // A level that was measured again stands beside itself: the axis grows or stays.
  const sorted = [...byLevel].sort((a, b) => a.level - b.level);
  const marks =
    knee.kind === "knee" ? [{ at: knee.level, label: `knee at ${amountText(knee.level)}` }] : [];
  const axis = amountAxis(
    "Level",
    sorted.map(({ level }) => level),
  );
  return {
    title: "By level",
    markup: `<p>${escapeHtml(kneeText(knee))}</p>
<div class="two">
${linePlot({
  title: "Throughput by level, a minute",
  axis,
  series: completedSeries(
    sorted.map(({ imagesPerMinute }) => imagesPerMinute),
    sorted.map(({ throughputPerMinute }) => throughputPerMinute),
  ),
  marks,
  valueText: amountText,
})}
${linePlot({
  title: "Latency by level",
  axis,
  series: [
    { label: "p50", values: sorted.map(({ total }) => total?.p50 ?? null) },
    { label: "p95", values: sorted.map(({ total }) => total?.p95 ?? null) },
  ],
  marks,
  valueText: msText,
})}
</div>
${tableMarkup({ heads: HEADS, rows: byLevel.map(rowOf) }, "By level, in the order of the run")}`,
  };
}

const HEADS = ["Level", "Time", "Jobs", "Success rate", "Jobs a minute", "p50", "p95", "p99"];

function rowOf(one: LevelSummary): readonly string[] {
  return [
    amountText(one.level),
    `${secondsText(one.fromSeconds)} – ${secondsText(one.untilSeconds)}`,
    String(one.jobs),
    shareText(one.successRate),
    amountText(one.throughputPerMinute),
    msText(one.total?.p50 ?? null),
    msText(one.total?.p95 ?? null),
    msText(one.total?.p99 ?? null),
  ];
}

function kneeText(knee: Knee): string {
  switch (knee.kind) {
    case "knee":
      return `Throughput flattens at level ${amountText(knee.level)}, with ${amountText(knee.throughputPerMinute)} jobs a minute: a unit of the first level brought ${amountText(knee.firstGain)} a minute, one after it at most ${amountText(knee.laterGain)}.`;
    case "still_growing":
      return `Throughput still grows at level ${amountText(knee.level)}, the highest that was measured: go higher to find where it flattens.`;
    case "too_few_levels":
      return `Too few levels to say where throughput flattens: it takes ${knee.needed}.`;
    default:
      return assertNever(knee);
  }
}
