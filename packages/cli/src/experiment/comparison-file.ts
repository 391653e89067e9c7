import { join } from "node:path";
import {
  comparedRuns,
  comparisonPage,
  COMPARISON_RUNS_MAX,
  type ComparisonFacts,
  type ResultRecord,
} from "@holdfast/experiments";
import { systemClock } from "@holdfast/runtime/system";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { writeWhole } from "./folder/about-file.ts";
import { readBest } from "./folder/best-file.ts";
import { readChecks, readFolder, readPlan } from "./folder/read-folder.ts";
import type { ShowOptions } from "./options.ts";
import { requireExperiment } from "./require-experiment.ts";

/** Name of the page that compares runs. */
export const COMPARISON_FILE = "comparison.html";

/** `holdfast experiment report`. */
export async function report(
  path: string,
  options: ShowOptions,
  { terminal }: CommandContext,
): Promise<void> {
  const written = await writeComparison(await requireExperiment(path));
  if (written.left > 0) {
    terminal.note(`${written.left} runs are not on the page, which holds ${COMPARISON_RUNS_MAX}`);
  }
  terminal.line(options.json === true ? JSON.stringify(written) : written.file);
}

/** Writes the page of an experiment; how many runs it has no room for. */
export async function writeComparison(
  folder: string,
): Promise<{ readonly file: string; readonly runs: number; readonly left: number }> {
  const facts = await comparisonFacts(folder);
  const file = join(folder, COMPARISON_FILE);
  await writeWhole(file, comparisonPage(facts));
  const runs = facts.runs.length;
  return { file, runs, left: Math.max(0, runs - COMPARISON_RUNS_MAX) };
}

async function comparisonFacts(folder: string): Promise<ComparisonFacts> {
  const read = await readFolder(folder);
  if (read === undefined) throw new CommandFailure(EXIT.failed, `${folder} cannot be read`);
  const { about, history, results } = read;
  const plan = await readPlan(folder);
  const best = await readBest(folder);
  const sets = new Map(results.map((record) => [record.index, setOf(record)]));
  const runs = comparedRuns(results, {
    setOf: (index) => sets.get(index) ?? [],
    lossOf: ({ metrics }) => lossOf(metrics["loss"]),
  }).map((run) => {
    const score = best.scores[run.name];
    return score === undefined ? run : { ...run, metrics: { ...run.metrics, score } };
  });
  return {
    name: about.name,
    specHash: about.specHash,
    writtenAt: new Date(systemClock.now()).toISOString(),
    counts: {
      planned: about.count,
      completed: history.completed,
      failed: history.failed + history.toRepeat.length,
      repeated: runs.filter(({ attempts }) => attempts > 1).length,
    },
    dimensions: (plan?.dimensions ?? []).map(({ name, options }) => ({
      name,
      values: options.map(({ value }) => value),
    })),
    runs,
    healthChecks: await readChecks(folder),
    best: best.marks.map(({ index, why }) => ({ index, why })),
  };
}

/** Written by us, and by anybody who changed the file since. */
function setOf(record: ResultRecord): ComparisonFacts["runs"][number]["set"] {
  const { set } = record;
  return Array.isArray(set) ? (set as ComparisonFacts["runs"][number]["set"]) : [];
}

function lossOf(loss: number | undefined): 0 | 1 | 2 | 3 {
  return loss === 1 || loss === 2 || loss === 3 ? loss : 0;
}
