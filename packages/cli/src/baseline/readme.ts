/** README.md of a baseline: what was measured on what, so that another one can be held against it. Pure. */
import { bytesText, mebibytesText, type LoadSummary } from "@holdfast/load";
import { millisecondsText, percentText } from "../load/figures.ts";
import { shellWord } from "../terminal/shell-word.ts";
import type { Hardware } from "./hardware.ts";

/** One load run of a baseline. */
export interface BaselineLoad {
  /** `load-4.json` */
  readonly file: string;
  readonly summary: LoadSummary;
}

/** All that the README tells. */
export interface BaselineFacts {
  /** The folder's. */
  readonly name: string;
  /** The folder as it was named: below `--root`. */
  readonly folder: string;
  readonly hardware: Hardware;
  /** Of the workflows in their order, as they were given: below the folder where that was. */
  readonly workflowFiles: readonly string[];
  readonly timeoutSeconds: number;
  readonly loads: readonly BaselineLoad[];
  /** False: it was stopped before its last run. */
  readonly isWhole: boolean;
}

/** The README as Markdown. */
export function baselineReadme(facts: BaselineFacts): string {
  const { name, loads, isWhole } = facts;
  const [first] = loads;
  const target = first?.summary.target;
  return `${[
    `# Baseline ${name}`,
    ...(isWhole ? [] : ["**It was stopped: some runs are missing.**"]),
    `Recorded by \`holdfast baseline record\`${target === undefined ? "" : ` on ${target.kind === "holdfast" ? "Holdfast" : "ComfyUI"} ${cell(target.version ?? "of unknown version")} at ${cell(target.url)}, ${first?.summary.startedAt}`}.`,
    "## Hardware and versions",
    table(["of", "is"], hardwareRows(facts.hardware)),
    "## Workflows",
    table(
      ["workflow", "hash", "weight"],
      (first?.summary.plan.workflows ?? []).map((one) => [one.name, one.hash, String(one.weight)]),
    ),
    "A hash is of the graph without its seeds: a run of another hash is other work, and is not compared.",
    "## Parameters",
    table(["parameter", "value"], parameterRows(facts)),
    "## Metrics",
    table(
      [
        "file",
        "pace",
        "completed",
        "success",
        "images/min",
        "p50",
        "p95",
        "p99",
        "errors",
        "GPU p95",
        "memory peak",
      ],
      loads.map(metricsRow),
    ),
    `Samples are in the \`load*.json\` files, a line a job and a look at a card in \`metrics.ndjson\`.`,
    "## Hold a new run against it",
    "In the folder where this one was recorded:",
    `\`\`\`sh\n${loads.map((load) => compareCommand(facts, load)).join("\n")}\n\`\`\``,
  ].join("\n\n")}\n`;
}

function hardwareRows({
  host,
  gpus,
  comfyui,
  instances,
}: Hardware): readonly (readonly string[])[] {
  const cards = (list: readonly { name: string; memoryBytes: number | null }[]): string =>
    list
      .map(
        (one) =>
          `${one.name}, ${one.memoryBytes === null ? "memory not told" : bytesText(one.memoryBytes)}`,
      )
      .join("; ");
  return [
    ["host that measured", `${host.system}, ${host.cpu}, ${bytesText(host.memoryBytes)}`],
    ["Holdfast and Node", `${host.holdfast}, ${host.node}`],
    ...(gpus === null
      ? [["GPUs", "of another host: not told"]]
      : [
          [
            "GPUs",
            gpus.cards.length === 0
              ? `none (${gpus.failure ?? "nvidia-smi tells of none"})`
              : cards(gpus.cards),
          ],
          ["driver", gpus.driver ?? "not told"],
          ["CUDA of the driver", gpus.cuda ?? "not told"],
        ]),
    ...(comfyui === null
      ? []
      : [
          ["ComfyUI", comfyui.version ?? "not told"],
          [
            "Python and PyTorch",
            `${comfyui.python ?? "not told"}, ${comfyui.pytorch ?? "not told"}`,
          ],
          ["ComfyUI's devices", comfyui.devices.length === 0 ? "not told" : cards(comfyui.devices)],
        ]),
    ...(instances === null ? [] : [["instances", instances.join(", ") || "none"]]),
  ];
}

function parameterRows({ loads, timeoutSeconds }: BaselineFacts): readonly (readonly string[])[] {
  const plan = loads[0]?.summary.plan;
  return [
    ["jobs a run", String(loads[0]?.summary.jobs.asked ?? "not told")],
    ["warm-up jobs, left out", String(plan?.warmUp.jobs ?? 0)],
    ["time-out of a job", `${timeoutSeconds} s`],
    ["seed", String(plan?.seed ?? "not told")],
  ];
}

function metricsRow({ file, summary }: BaselineLoad): readonly string[] {
  const total = summary.phases.total ?? null;
  const time = (ms: number | undefined): string => (ms === undefined ? "–" : millisecondsText(ms));
  const use = summary.gpu.map(({ utilisationPercent: one }) =>
    one === null ? "not told" : `${one.p95} %`,
  );
  const peak = summary.gpu.map(({ memoryPeakMb: mb }) =>
    mb === null ? "not told" : mebibytesText(mb),
  );
  return [
    file,
    summary.plan.pace,
    `${summary.jobs.completed} of ${summary.jobs.begun}`,
    summary.successRate === null ? "–" : percentText(summary.successRate),
    summary.imagesPerMinute === null ? "–" : summary.imagesPerMinute.toFixed(1),
    time(total?.p50),
    time(total?.p95),
    time(total?.p99),
    summary.errors.map((one) => `${one.class}: ${one.count}`).join(", ") || "none",
    use.join(", ") || "not told",
    peak.join(", ") || "not told",
  ];
}

function compareCommand(
  { folder, timeoutSeconds, workflowFiles }: BaselineFacts,
  { file, summary: { target, plan, jobs } }: BaselineLoad,
): string {
  const workflows = plan.workflows.map(({ name, weight }, index) => {
    const file = workflowFiles[index] ?? `${name}.json`;
    // What is behind the last = would be read as the weight.
    const isWeightSaid = weight !== 1 || file.includes("=");
    return `--workflow ${shellWord(isWeightSaid ? `${file}=${weight}` : file)}`;
  });
  return [
    `holdfast load --server ${shellWord(target.url)}`,
    ...workflows,
    `--jobs ${jobs.asked ?? ""} --concurrency ${plan.pace.replace("closed:", "")}`,
    `--warm-up ${plan.warmUp.jobs} --timeout ${timeoutSeconds} --seed ${plan.seed}`,
    `--compare ${shellWord(`${folder}/${file}`)}`,
  ].join(" ");
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(" | ")} |`;
  return [line(head), `|${" --- |".repeat(head.length)}`, ...rows.map(line)].join("\n");
}

/** Text from outside stays in its cell. */
function cell(text: string): string {
  return text.replaceAll(/[\r\n]+/g, " ").replaceAll("|", "\\|");
}
