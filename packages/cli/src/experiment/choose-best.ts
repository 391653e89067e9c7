import { join } from "node:path";
import { bestRuns, runName, type RankedRun, type ResultRecord } from "@holdfast/experiments";
import { systemClock } from "@holdfast/runtime/system";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { textTable, type Column } from "../terminal/text-table.ts";
import { listenForStop } from "../up/stop-signals.ts";
import { writeComparison } from "./comparison-file.ts";
import { readBest, withMark, writeBest, type BestOfExperiment } from "./folder/best-file.ts";
import { readFolder, type ReadFolder } from "./folder/read-folder.ts";
import type { BestOptions } from "./options.ts";
import { requireExperiment } from "./require-experiment.ts";
import { scoreByCommand } from "./score-command.ts";
import { namesText } from "./summary.ts";
import { tellBest } from "./tell-best.ts";

/** Runs of a ranking that are told. */
const TOLD = 10;
/** Reasons of runs without a score that are told. */
const REASONS_TOLD = 10;
/** What a command's scores are called. */
const SCORE = "score";

/** `holdfast experiment best`: marks a run by a metric, by a command's verdict, or by hand. */
export async function best(
  path: string,
  options: BestOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const { by, command, mark } = options;
  if ([by, command, mark].filter((one) => one !== undefined).length !== 1) {
    throw refused("expected one of --by METRIC, --command CMD and --mark RUN");
  }
  const folder = await requireExperiment(path);
  const read = await readFolder(folder);
  if (read === undefined) throw refused(`${path} cannot be read`);
  const before = await readBest(folder);
  if (mark !== undefined) {
    const record = read.results.find(({ name }) => name === mark);
    if (record === undefined) throw refused(`--mark: ${path} has no run ${mark} that ended`);
    const { index, name } = record;
    const after = withMark(before, { index, name, why: "by hand", value: null });
    await keepBest(folder, after);
    await tellBest(read, before, after, context);
    terminal.line(options.json === true ? JSON.stringify({ best: name, why: "by hand" }) : name);
    return;
  }
  const scored = command === undefined ? before : await scoreAll(command, read, before, terminal);
  const name = by ?? SCORE;
  const lowest = options.lowest === true;
  const ranking = bestRuns(withScores(read.results, scored), { by: name, lowest });
  if (ranking.kind === "none_completed") throw refused(`${path}: no run has completed`);
  if (ranking.kind === "unknown_metric") {
    throw refused(`--by: no run has ${name}; there are ${ranking.known.join(", ")}`);
  }
  const [first] = ranking.runs;
  if (first === undefined) return;
  const why = `${lowest ? "lowest" : "highest"} ${name}`;
  const marked = { index: first.record.index, name: first.record.name, why, value: first.value };
  const after = withMark(scored, marked);
  await keepBest(folder, after);
  await tellBest(read, before, after, context);
  if (options.json === true) {
    terminal.line(JSON.stringify({ best: marked.name, why, value: first.value }));
    return;
  }
  for (const line of rankingLines(ranking.runs, name, terminal)) terminal.line(line);
  if (ranking.unmeasured > 0) terminal.note(`${ranking.unmeasured} completed runs have no ${name}`);
}

async function keepBest(folder: string, found: BestOfExperiment): Promise<void> {
  await writeBest(folder, found);
  await writeComparison(folder);
}

function withScores(
  results: readonly ResultRecord[],
  { scores }: BestOfExperiment,
): readonly ResultRecord[] {
  return results.map((record) => {
    const score = scores[record.name];
    return score === undefined
      ? record
      : { ...record, metrics: { ...record.metrics, [SCORE]: score } };
  });
}

async function scoreAll(
  command: string,
  { path, results, history }: ReadFolder,
  before: BestOfExperiment,
  terminal: Terminal,
): Promise<BestOfExperiment> {
  const scores: Record<string, number> = {};
  /** Runs without a score, by the reason. */
  const unscored = new Map<string, number[]>();
  const stop = listenForStop(terminal, () => undefined);
  const last = new Map(
    results.filter(({ status }) => status === "completed").map((one) => [one.index, one]),
  );
  try {
    let done = 0;
    for (const { index, name, outputs } of last.values()) {
      if (!history.isCompleted(index) || outputs.length === 0) continue;
      const pictures = outputs.map(({ stored }) => join(path, stored));
      terminal.progress(`${(done += 1)} of ${last.size}: ${name}`);
      const { signal } = stop;
      const scored = await scoreByCommand(command, pictures, { clock: systemClock, signal });
      if (signal.aborted) throw new CommandFailure(EXIT.interrupted, "nothing was marked");
      if (scored.kind === "score") scores[name] = scored.score;
      else {
        const alike = unscored.get(scored.reason) ?? [];
        alike.push(index);
        unscored.set(scored.reason, alike);
      }
    }
  } finally {
    terminal.progress("");
    stop.release();
  }
  for (const line of unscoredLines(unscored)) terminal.note(line);
  if (Object.keys(scores).length === 0) {
    throw new CommandFailure(EXIT.failed, "--command: no run got a score, and nothing was marked");
  }
  return { ...before, scores };
}

/** A command that does not work fails alike for every run: said once. */
function unscoredLines(unscored: ReadonlyMap<string, readonly number[]>): readonly string[] {
  const lines = [...unscored]
    .slice(0, REASONS_TOLD)
    .map(([reason, indices]) => [reason, indices.toSorted((a, b) => a - b)] as const)
    .map(([reason, [first = 0, ...others]]) =>
      others.length === 0
        ? `${runName(first)} has no score: ${reason}`
        : `${others.length + 1} runs have no score: ${reason} (${namesText([first, ...others])})`,
    );
  const left = unscored.size - lines.length;
  return left > 0 ? [...lines, `… and ${left} more reasons`] : lines;
}

function rankingLines(
  runs: readonly RankedRun[],
  metric: string,
  terminal: Terminal,
): readonly string[] {
  const columns: readonly Column<RankedRun>[] = [
    { head: "RUN", cell: ({ record }) => record.name },
    { head: metric.toUpperCase(), cell: ({ value }) => String(value), isRight: true },
    { head: "TITLE", cell: ({ record }) => record.title },
    { head: "PICTURE", cell: ({ record }) => record.outputs[0]?.stored ?? "" },
  ];
  return textTable(runs.slice(0, TOLD), columns, terminal.resultColumns);
}

function refused(message: string): CommandFailure {
  return new CommandFailure(EXIT.refused, message);
}
