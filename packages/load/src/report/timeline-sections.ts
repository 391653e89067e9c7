/** A run over time: what it brought, how long that took, and what its cards did. */
import { amountText, mebibytesText, msText, secondsText } from "../plots/amounts.ts";
import { linePlot, type PlotSeries } from "../plots/line-plot.ts";
import { tableMarkup } from "../plots/markup.ts";
import type { ReportSection } from "../plots/report-page.ts";
import { timeAxis, type PlotAxis } from "../plots/ticks.ts";
import type { LoadSummary } from "../summary/model.ts";
import type { LoadTimeline, TimelineBucket } from "../summary/timeline-model.ts";

const MIB_PER_GIB = 1_024;
const SECONDS_PER_MINUTE = 60;
/** Rates are told of longer stretches: of one second, they would jump between none and sixty. */
const RATE_STRETCHES_MAX = 60;
const FULL_PERCENT = 100;

/** Images and jobs a minute; one line where every job has one image, or the second would hide the first. */
export function completedSeries(
  images: readonly number[],
  jobs: readonly number[],
): readonly PlotSeries[] {
  const isSame = images.every((value, at) => value === jobs[at]);
  if (isSame) return [{ label: "images, one a job", values: images }];
  return [
    { label: "images", values: images },
    { label: "jobs completed", values: jobs },
  ];
}

/** Throughput, jobs in flight and latency. */
export function timeSection(timeline: LoadTimeline, durationSeconds: number): ReportSection {
  const axis = axisOf(timeline.buckets);
  const rates = ratesOf(timeline, durationSeconds);
  return {
    title: "Over time",
    markup: `<div class="two">
${linePlot({
  title: "Throughput, a minute",
  note: `Means of ${secondsText(rates.seconds)}, warm-up as well.`,
  axis: axisOf(rates.stretches),
  series: [
    ...completedSeries(
      rates.stretches.map(({ images }) => images),
      rates.stretches.map(({ completed }) => completed),
    ),
    { label: "jobs that ended otherwise", values: rates.stretches.map(({ failed }) => failed) },
  ],
  valueText: amountText,
})}
${linePlot({
  title: "Jobs in flight",
  note: "At the end of each stretch.",
  axis,
  series: [{ label: "in flight", values: timeline.buckets.map(({ inFlight }) => inFlight) }],
  valueText: amountText,
})}
${linePlot({
  title: "Latency",
  note: "Of the jobs that ended in each stretch.",
  axis,
  series: [
    { label: "p50", values: timeline.buckets.map(({ p50Ms }) => p50Ms), isBridged: true },
    { label: "p95", values: timeline.buckets.map(({ p95Ms }) => p95Ms), isBridged: true },
  ],
  valueText: msText,
})}
</div>`,
  };
}

/** Cards: over time, and what each came to. */
export function gpuSection(
  { gpu }: Pick<LoadSummary, "gpu">,
  { buckets }: LoadTimeline,
): ReportSection {
  const title = "Cards";
  const seen = [...new Set(buckets.flatMap((one) => one.gpu.map((card) => card.gpu)))].sort(
    (a, b) => a - b,
  );
  if (gpu.length === 0 && seen.length === 0) {
    return { title, markup: `<p class="quiet">Nothing told of any card.</p>` };
  }
  const axis = axisOf(buckets);
  const of = (card: number, pick: (one: TimelineBucket["gpu"][number]) => number | null) =>
    buckets.map((bucket) => {
      const found = bucket.gpu.find((one) => one.gpu === card);
      return found === undefined ? null : pick(found);
    });
  const percent = (value: number | null): string =>
    value === null ? amountText(null) : `${amountText(value)} %`;
  const rows = gpu.map(({ gpu, samples, utilisationPercent, memoryPeakMb }) => [
    `GPU ${gpu}`,
    percent(utilisationPercent?.p50 ?? null),
    percent(utilisationPercent?.p95 ?? null),
    percent(utilisationPercent?.max ?? null),
    mebibytesText(memoryPeakMb),
    String(samples),
  ]);
  const heads = ["Card", "Utilisation p50", "p95", "Highest", "Most memory", "Looks"];
  return {
    title,
    markup: `<div class="two">
${linePlot({
  title: "Utilisation",
  axis,
  series: seen.map((card) => ({
    label: `GPU ${card}`,
    values: of(card, (one) => one.utilisationPercent),
  })),
  valueText: percent,
  topMin: FULL_PERCENT,
})}
${linePlot({
  title: "Memory in use",
  axis,
  series: seen.map((card) => ({
    label: `GPU ${card}`,
    values: of(card, ({ memoryMb }) => (memoryMb === null ? null : memoryMb / MIB_PER_GIB)),
  })),
  // One unit up the axis, with its lines at round figures.
  valueText: (value) => (value === null ? amountText(null) : `${amountText(value)} GiB`),
})}
</div>
${tableMarkup({ heads, rows }, "Cards in figures")}`,
  };
}

function axisOf(stretches: readonly { readonly fromSeconds: number }[]): PlotAxis {
  return timeAxis(stretches.map(({ fromSeconds }) => fromSeconds));
}

interface RateStretch {
  readonly fromSeconds: number;
  readonly images: number;
  readonly completed: number;
  readonly failed: number;
}

/** A last stretch that had less of its time than this share belongs to the one before. */
const LAST_SHARE_MIN = 0.5;

/** Rates of some buckets together; the last stretch counts as long as the run still went on in it. */
function ratesOf({ buckets, bucketSeconds }: LoadTimeline, durationSeconds: number) {
  const together = Math.max(1, Math.ceil(buckets.length / RATE_STRETCHES_MAX));
  const seconds = together * bucketSeconds;
  const groups: TimelineBucket[][] = [];
  for (let at = 0; at < buckets.length; at += together) {
    const group = buckets.slice(at, at + together);
    const hadSeconds = durationSeconds - (group[0]?.fromSeconds ?? 0);
    const before = groups.at(-1);
    if (before !== undefined && hadSeconds < seconds * LAST_SHARE_MIN) before.push(...group);
    else groups.push(group);
  }
  const stretches = groups.map((group): RateStretch => {
    const fromSeconds = group[0]?.fromSeconds ?? 0;
    const untilSeconds = Math.min(fromSeconds + group.length * bucketSeconds, durationSeconds);
    const minutes = (untilSeconds - fromSeconds) / SECONDS_PER_MINUTE;
    const rate = (pick: (one: TimelineBucket) => number): number =>
      minutes > 0 ? group.reduce((all, one) => all + pick(one), 0) / minutes : 0;
    return {
      fromSeconds,
      images: rate(({ outputs }) => outputs),
      completed: rate(({ completed }) => completed),
      failed: rate(({ failed }) => failed),
    };
  });
  return { seconds, stretches };
}
