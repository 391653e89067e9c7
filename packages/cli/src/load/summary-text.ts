/** What a load run came to, for a terminal. */
import { bytesText, mebibytesText, PHASES, type LoadSummary, type Phase } from "@holdfast/load";
import { durationText } from "../terminal/durations.ts";
import { textTable } from "../terminal/text-table.ts";
import { millisecondsText, percentText, STOPPED_WORDS } from "./figures.ts";

const MS_PER_SECOND = 1_000;

/** Lines of the result; `columns` is Infinity where nobody watches. */
export function summaryLines(summary: LoadSummary, columns: number): readonly string[] {
  const { jobs, target, durationSeconds, successRate, plan } = summary;
  const version = target.version === null ? "" : ` ${target.version}`;
  const kind = target.kind === "holdfast" ? "Holdfast" : "ComfyUI";
  return [
    `${kind}${version} at ${target.url}, ${plan.pace}, ${durationText(durationSeconds * MS_PER_SECOND)}; ended: ${STOPPED_WORDS[summary.stoppedBecause]}`,
    `${jobs.completed} of ${jobs.begun} jobs completed${othersText(summary)}; success ${percentText(successRate)}`,
    ...throughputLines(summary),
    "",
    ...phaseTable(summary, columns),
    ...workflowTable(summary, columns),
    ...levelTable(summary, columns),
    ...errorLines(summary),
    ...gpuLines(summary),
    ...costLines(summary),
    harnessLine(summary),
  ];
}

function othersText({ jobs }: LoadSummary): string {
  const parts: readonly (readonly [number, string])[] = [
    [jobs.failed, "failed"],
    [jobs.timedOut, "timed out"],
    [jobs.refused, "refused"],
    [jobs.cancelled, "cancelled"],
    [jobs.neverBegun, "due and never sent"],
  ];
  const told = parts.filter(([count]) => count > 0).map(([count, words]) => `${count} ${words}`);
  const warm = jobs.warmUp > 0 ? [`${jobs.warmUp} of warm-up, left out below`] : [];
  const all = [...told, ...warm];
  return all.length === 0 ? "" : `, ${all.join(", ")}`;
}

function throughputLines(summary: LoadSummary): readonly string[] {
  const { throughputPerMinute, imagesPerMinute, bytes, retries, changedByRecovery } = summary;
  if (throughputPerMinute === null || imagesPerMinute === null)
    return ["no job ended in its steady state"];
  const parts = [
    `${throughputPerMinute.toFixed(1)} jobs/min`,
    `${imagesPerMinute.toFixed(1)} files/min`,
    `${bytesText(bytes)} fetched`,
    `${retries} ${retries === 1 ? "retry" : "retries"}`,
    ...(changedByRecovery > 0 ? [`${changedByRecovery} changed by recovery`] : []),
  ];
  return [parts.join(", ")];
}

const PHASE_WORDS: Readonly<Record<Phase, string>> = {
  harness: "harness late",
  submit: "submit",
  queue: "queue",
  model_load: "model load",
  execute: "execute",
  collect: "collect",
  total: "total",
};

function phaseTable({ phases }: LoadSummary, columns: number): readonly string[] {
  const rows = PHASES.flatMap((phase) => {
    const found = phases[phase];
    return found === null ? [] : [{ phase, ...found }];
  });
  if (rows.length === 0) return [];
  const number = (name: "p50" | "p90" | "p95" | "p99" | "max") => ({
    head: name,
    cell: (row: (typeof rows)[number]) => millisecondsText(row[name]),
    isRight: true,
  });
  return textTable(
    rows,
    [
      { head: "phase", cell: ({ phase }) => PHASE_WORDS[phase] },
      { head: "jobs", cell: ({ count }) => String(count), isRight: true },
      number("p50"),
      number("p90"),
      number("p95"),
      number("p99"),
      number("max"),
    ],
    columns,
  );
}

function workflowTable({ byWorkflow }: LoadSummary, columns: number): readonly string[] {
  if (byWorkflow.length < 2) return [];
  const table = textTable(
    byWorkflow,
    [
      { head: "workflow", cell: ({ workflow }) => workflow },
      { head: "jobs", cell: ({ jobs }) => String(jobs), isRight: true },
      { head: "success", cell: ({ successRate }) => percentText(successRate), isRight: true },
      {
        head: "p50",
        cell: ({ phases }) => millisecondsText(phases.total?.p50 ?? null),
        isRight: true,
      },
      {
        head: "p95",
        cell: ({ phases }) => millisecondsText(phases.total?.p95 ?? null),
        isRight: true,
      },
    ],
    columns,
  );
  return ["", ...table];
}

function levelTable({ byLevel }: LoadSummary, columns: number): readonly string[] {
  if (byLevel.length === 0) return [];
  const table = textTable(
    byLevel,
    [
      { head: "level", cell: ({ level }) => String(level), isRight: true },
      { head: "jobs", cell: ({ jobs }) => String(jobs), isRight: true },
      { head: "success", cell: ({ successRate }) => percentText(successRate), isRight: true },
      { head: "jobs/min", cell: (one) => one.throughputPerMinute.toFixed(1), isRight: true },
      { head: "p50", cell: ({ total }) => millisecondsText(total?.p50 ?? null), isRight: true },
      { head: "p95", cell: ({ total }) => millisecondsText(total?.p95 ?? null), isRight: true },
    ],
    columns,
  );
  return ["", ...table];
}

function errorLines({ errors }: LoadSummary): readonly string[] {
  if (errors.length === 0) return [];
  const lines = errors.map(({ class: name, count, example }) => {
    const said = example.replaceAll(/\s+/g, " ").trim();
    return `  ${count} × ${name}${said === "" ? "" : `: ${said}`}`;
  });
  return ["", "errors:", ...lines];
}

function gpuLines({ gpu }: LoadSummary): readonly string[] {
  const lines = gpu.map(({ gpu: index, utilisationPercent: use, memoryPeakMb }) => {
    const used =
      use === null
        ? "use not told"
        : `use p50 ${Math.round(use.p50)} %, p95 ${Math.round(use.p95)} %, max ${Math.round(use.max)} %`;
    const memory =
      memoryPeakMb === null ? "memory not told" : `memory peak ${mebibytesText(memoryPeakMb)}`;
    return `GPU ${index}: ${used}; ${memory}`;
  });
  return lines.length === 0 ? ["GPU: nothing tells of it"] : lines;
}

function costLines({ cost }: LoadSummary): readonly string[] {
  if (cost === null) return [];
  const each = cost.perImage === null ? "" : `, ${cost.perImage.toFixed(5)} a file`;
  return [`cost: ${cost.total.toFixed(4)} ${cost.currency}${each}`];
}

function harnessLine({ harness }: LoadSummary): string {
  const { lateP99Ms, eventLoopP99Ms } = harness;
  return `the harness itself: p99 ${millisecondsText(lateP99Ms)} late, event loop p99 ${millisecondsText(eventLoopP99Ms)}`;
}
