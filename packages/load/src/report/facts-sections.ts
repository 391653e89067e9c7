/** Parts of a report that are figures and tables, without plots. */
import { amountText, bytesText, msText, secondsText, shareText } from "../plots/amounts.ts";
import { escapeHtml, factList, NOT_KNOWN, tableMarkup } from "../plots/markup.ts";
import type { ReportSection } from "../plots/report-page.ts";
import type { LoadSummary } from "../summary/model.ts";

const MS_PER_SECOND = 1_000;

/** The figures that most people look for, and nothing else. */
export function figuresSection(summary: LoadSummary): ReportSection {
  const { jobs, phases, cost, steady } = summary;
  const total = phases.total;
  const others: readonly (readonly [string, number])[] = [
    ["Failed", jobs.failed],
    ["Timed out", jobs.timedOut],
    ["Cancelled", jobs.cancelled],
    ["Refused", jobs.refused],
    ["Never sent", jobs.neverBegun],
  ];
  const figures: (readonly [string, string])[] = [
    ["Completed", `${jobs.completed} of ${jobs.begun}`],
    ["Success rate", shareText(summary.successRate)],
    ["Images a minute", amountText(summary.imagesPerMinute)],
    ["Jobs a minute", amountText(summary.throughputPerMinute)],
    ["Latency, median", msText(total?.p50 ?? null)],
    ["Latency p95", msText(total?.p95 ?? null)],
    ["Latency p99", msText(total?.p99 ?? null)],
    ["Longest", msText(total?.max ?? null)],
    ["Images", String(summary.outputs)],
    ["Fetched", bytesText(summary.bytes)],
    ...others
      .filter(([, count]) => count > 0)
      .map(([name, count]) => [name, String(count)] as const),
  ];
  if (cost !== null) {
    figures.push(["Cost", `${amountText(cost.total)} ${cost.currency}`]);
    figures.push(["Cost of an image", `${amountText(cost.perImage)} ${cost.currency}`]);
  }
  const note =
    steady === null
      ? "No job was left after warm-up: rates and latencies cannot be told."
      : `Rates and latencies are of ${steady.jobs} jobs between ${secondsText(steady.fromSeconds)} and ${secondsText(steady.untilSeconds)}; warm-up (${jobs.warmUp} jobs) is left out. Latency counts from when a job was due.`;
  return {
    title: "Key figures",
    markup: `${factList(figures)}<p class="quiet">${escapeHtml(note)}</p>`,
  };
}

/** What was asked for, so that somebody else can run it again. */
export function planSection({
  target,
  plan,
  scenario,
  startedAt,
  jobs,
}: LoadSummary): ReportSection {
  const { pace, seed, workflows, warmUp } = plan;
  const rows: readonly (readonly [string, string])[] = [
    ["Target", `${target.kind} at ${target.url}, version ${target.version ?? NOT_KNOWN}`],
    ["Begun", startedAt],
    ["Pace", pace],
    [
      "Jobs asked for",
      jobs.asked === null ? "as many as its time had room for" : String(jobs.asked),
    ],
    ["Seed", String(seed)],
    ["Warm-up", `${warmUp.jobs} jobs, ${secondsText(warmUp.forMs / MS_PER_SECOND)}`],
    ["Scenario", scenario ?? "none"],
  ];
  const mix = workflows.map(({ name, hash, weight }) => [name, amountText(weight), hash]);
  return {
    title: "What was run",
    markup: `${tableMarkup({ heads: ["What", "Value"], rows }, "What was run")}
${tableMarkup({ heads: ["Workflow", "Weight", "Hash of its graph, without seeds"], rows: mix }, "Workflows of the run")}`,
  };
}

/** Errors by class, the most frequent first. */
export function errorsSection({ errors }: LoadSummary): ReportSection {
  const rows = errors.map((one) => [one.class, String(one.count), one.example]);
  const table = { heads: ["Class", "Jobs", "An example"], rows };
  return {
    title: "Errors",
    markup:
      rows.length === 0 ? `<p class="quiet">None.</p>` : tableMarkup(table, "Errors by class"),
  };
}

/** What recovery did. */
export function recoverySection(summary: LoadSummary): ReportSection {
  const { retries, changedByRecovery, target } = summary;
  const facts: readonly (readonly [string, string])[] = [
    ["Attempts after the first", String(retries)],
    ["Jobs whose graph was changed", String(changedByRecovery)],
  ];
  const bare = `<p class="quiet">A ComfyUI by itself tries nothing again.</p>`;
  return {
    title: "Recovery",
    markup: `${factList(facts)}${target.kind === "comfyui" ? bare : ""}`,
  };
}

/** How well the harness kept its own times. */
export function harnessSection({ harness }: LoadSummary): ReportSection {
  const facts: readonly (readonly [string, string])[] = [
    ["Begun late, p99", msText(harness.lateP99Ms)],
    ["Event loop held up, p99", msText(harness.eventLoopP99Ms)],
  ];
  return {
    title: "The harness itself",
    markup: `${factList(facts)}<p class="quiet">Where these are large beside the latencies, the run measured its own host.</p>`,
  };
}
