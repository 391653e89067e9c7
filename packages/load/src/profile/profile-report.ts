/** What profiling came to, for people: an HTML report, and a README for whoever opens the folder. */
import { bytesText, msText, secondsText, shareText } from "../plots/amounts.ts";
import { barPlot } from "../plots/bar-plot.ts";
import { escapeHtml, NOT_KNOWN, tableMarkup } from "../plots/markup.ts";
import { reportPage, type ReportSection } from "../plots/report-page.ts";
import { gpuSection } from "../report/timeline-sections.ts";
import type { LoadSummary } from "../summary/model.ts";
import type { LoadTimeline } from "../summary/timeline-model.ts";
import type { ProfiledNode, ProfiledWorkflow, ProfileSummary, WorkflowProfile } from "./model.ts";

/** What the report tells. */
export interface ProfileReportFacts {
  readonly summary: ProfileSummary;
  readonly profiles: readonly WorkflowProfile[];
  /** The cards over all of the time. */
  readonly timeline: LoadTimeline;
  readonly gpu: LoadSummary["gpu"];
}

const HEADS = [
  "Workflow",
  "Runs",
  "Cold",
  "Warm",
  "Model load",
  "Share of cold",
  "In loaders, cold",
  "First step, cold",
  "Peak VRAM",
  "Bottleneck",
];

function rowOf(one: ProfiledWorkflow): readonly string[] {
  const { runs, coldMs, warmMs, loadMs, loadShare, loaderMs, firstStepMs, bottlenecks } = one;
  const [first] = bottlenecks;
  return [
    one.name,
    `${runs.completed} of ${runs.asked}`,
    msText(coldMs),
    msText(warmMs?.mean ?? null),
    msText(loadMs),
    partText(loadShare),
    shortText(loaderMs.cold),
    msText(firstStepMs.cold),
    bytesText(one.vramPeakBytes),
    first === undefined ? NOT_KNOWN : `${nodeName(first)} (${partText(first.share)})`,
  ];
}

/** Under a tenth of its unit a figure is no more than that. */
function shortText(ms: number | null): string {
  return ms !== null && ms > 0 && ms < 0.1 ? "< 0.1 ms" : msText(ms);
}

function partText(share: number | null): string {
  return share !== null && share > 0 && share < 0.001 ? "< 0.1 %" : shareText(share);
}

function nodeName({ nodeId, classType, title }: ProfiledNode): string {
  return `${nodeId} ${title === null || title === classType ? classType : `${title} (${classType})`}`;
}

function endWords({ stoppedBecause }: ProfileSummary): string | null {
  if (stoppedBecause === "done") return null;
  return stoppedBecause === "cancelled"
    ? "It was stopped by hand: what was measured until then is told."
    : "It was stopped early: the server did not answer any more.";
}

/** The text of `report.html`. */
export function profileReportHtml({
  summary,
  profiles,
  timeline,
  gpu,
}: ProfileReportFacts): string {
  const { target, startedAt, durationSeconds, gpuName, workflows } = summary;
  const end = endWords(summary);
  return reportPage({
    title: `Profile of ${target.url}`,
    lead: `${target.kind === "holdfast" ? "Holdfast" : "ComfyUI"} ${target.version ?? "of unknown version"} on ${gpuName ?? "a card that is not known"}, from ${startedAt}, for ${secondsText(durationSeconds)}`,
    notices: [...(end === null ? [] : [end]), ...summary.notes].map((text) => ({
      tone: "busy" as const,
      text,
    })),
    sections: [
      {
        title: "Workflows",
        markup: `${barPlot({
          title: "Warm time, and loading models on top",
          of: "Workflow",
          parts: ["warm", "model load"],
          bars: workflows.map(({ name, warmMs, loadMs }) => ({
            label: name,
            values: [warmMs?.mean ?? null, loadMs],
          })),
          valueText: msText,
        })}
${tableMarkup({ heads: HEADS, rows: workflows.map(rowOf) }, "Workflows")}`,
      },
      ...workflows.map((one) => nodesSection(one, profiles)),
      gpuSection({ gpu }, timeline),
    ],
  });
}

const OF_WARM_RUNS = {
  title: "Time a node, warm",
  note: "Means of the runs whose models were loaded; nodes that came from the cache have no time.",
  parts: ["warm"],
};
/** What nodes are summed up of where no run was a warm one. */
const OF_ALL_RUNS = {
  title: "Time a node, all runs",
  note: "No run found its models loaded: means of all runs that completed.",
  parts: ["all runs"],
};

function nodesSection(
  { name, loaderMs, coldMs, warmMs }: ProfiledWorkflow,
  profiles: readonly WorkflowProfile[],
): ReportSection {
  const profile = profiles.find(({ workflow }) => workflow === name);
  const nodes = profile?.nodes ?? [];
  const rows = (profile?.runs ?? []).map((run) => [
    String(run.index + 1),
    run.kind,
    run.outcome === "completed" ? "completed" : `${run.outcome}: ${run.message}`,
    shortText(run.executeMs),
    shortText(run.firstStepMs),
    shortText(run.loaderMs),
    shortText(run.longestSilenceMs),
    String(run.seed),
  ]);
  const heads = ["Run", "Kind", "End", "Execution", "First step", "In loaders", "Silence", "Seed"];
  const loaders =
    loaderMs.cold === null || coldMs === null || coldMs === 0
      ? ""
      : `<p>Nodes that name a model file took ${escapeHtml(shortText(loaderMs.cold))} of the cold run, ${escapeHtml(partText(Math.min(1, loaderMs.cold / coldMs)))}.</p>`;
  return {
    title: `Nodes of ${name}`,
    markup: `${loaders}${barPlot({
      ...(warmMs === null ? OF_ALL_RUNS : OF_WARM_RUNS),
      of: "Node",
      bars: nodes
        .filter(({ meanMs }) => meanMs !== null)
        .map((node) => ({ label: nodeName(node), values: [node.meanMs] })),
      valueText: shortText,
    })}
${barPlot({
  title: "Time a node, cold",
  of: "Node",
  parts: ["cold"],
  bars: nodes
    .filter(({ coldMs }) => coldMs !== null)
    .sort((a, b) => (b.coldMs ?? 0) - (a.coldMs ?? 0))
    .map((node) => ({ label: nodeName(node), values: [node.coldMs] })),
  valueText: shortText,
})}
${tableMarkup({ heads, rows }, `Runs of ${name}`)}`,
  };
}

/** The text of `README.md`: `files` are those that lie beside it, with what they hold. */
export function profileReadme(
  summary: ProfileSummary,
  files: readonly (readonly [name: string, words: string])[],
): string {
  const { target, startedAt, durationSeconds, runsAsked, gpuName, workflows, notes } = summary;
  const end = endWords(summary);
  // Names come from files and servers: a line each, and no markup.
  const plain = (text: string): string => text.replaceAll(/\s+/g, " ").replaceAll("<", "\\<");
  const cell = (text: string): string => plain(text).replaceAll("|", "\\|");
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(" | ")} |`;
  const slowest = workflows.flatMap(({ name, bottlenecks }) =>
    bottlenecks.length === 0
      ? []
      : [
          `- ${plain(name)}: ${bottlenecks.map((node) => `${plain(nodeName(node))}, ${partText(node.share)}, ${msText(node.meanMs)}`).join("; ")}`,
        ],
  );
  return `# Profile of ${startedAt.slice(0, 10)}

${target.kind === "holdfast" ? "Holdfast" : "ComfyUI"} ${plain(target.version ?? "of unknown version")} at ${plain(target.url)}, on ${plain(gpuName ?? "a card that is not known")}. Begun
${startedAt}, ${secondsText(durationSeconds)}; ${runsAsked} runs a workflow, each with a seed of its own.
${end === null ? "" : `\n${end}\n`}
${line(HEADS)}
${line(HEADS.map(() => "---"))}
${workflows.map((one) => line(rowOf(one))).join("\n")}

\`${NOT_KNOWN}\` was not measured. Cold: the models had to be loaded; files that were read shortly before come from
the host's memory, not from its disk. Warm: the mean of runs whose models were loaded. Model load: cold less
warm, where cold was the longer one. Peak VRAM: above what was in use before the workflow's first run.

## Slowest nodes

${slowest.length === 0 ? "Not known." : slowest.join("\n")}

## Notes

${notes.length === 0 ? "None." : notes.map((note) => `- ${plain(note)}`).join("\n")}

## Files

${files.map(([name, words]) => `- \`${plain(name)}\`: ${words}`).join("\n")}
`;
}
