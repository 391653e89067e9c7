import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseGraph } from "@holdfast/comfyui/protocol";
import {
  foldHistory,
  readExperiment,
  readResults,
  readStarts,
  RESULTS_FILE,
  STARTS_FILE,
  type ExperimentHistory,
  type ExperimentPlan,
  type HealthRecord,
  type ResultRecord,
} from "@holdfast/experiments";
import { readAbout, type AboutExperiment } from "./about-file.ts";
import { readTextOf } from "./line-file.ts";
import { HEALTH_FILE } from "./results-folder.ts";

/** Name of the copy of the experiment's file. */
export const SPEC_FILE = "spec.yaml";
/** Name of the copy of its graph. */
export const GRAPH_FILE = "workflow.json";

/** An experiment's folder, read while whoever writes it may go on. */
export interface ReadFolder {
  readonly path: string;
  readonly about: AboutExperiment;
  readonly history: ExperimentHistory;
  readonly results: readonly ResultRecord[];
}

/** Undefined where the folder has no experiment. */
export async function readFolder(path: string): Promise<ReadFolder | undefined> {
  const about = await readAbout(path);
  if (about === undefined) return undefined;
  const results = readResults(await readTextOf(join(path, RESULTS_FILE))).records;
  const starts = readStarts(await readTextOf(join(path, STARTS_FILE))).records;
  return { path, about, results, history: foldHistory(starts, results) };
}

/** Every attempt of a check; a line that is being written, or was damaged, is left out. */
export async function readChecks(path: string): Promise<readonly HealthRecord[]> {
  const lines = (await readTextOf(join(path, HEALTH_FILE))).split("\n");
  return lines.flatMap((line) => {
    try {
      const value = JSON.parse(line) as Partial<HealthRecord>;
      return typeof value.at === "string" && Array.isArray(value.services)
        ? [value as HealthRecord]
        : [];
    } catch {
      return [];
    }
  });
}

/** The plan, from the copies in the folder; undefined where somebody changed them. */
export async function readPlan(path: string): Promise<ExperimentPlan | undefined> {
  try {
    const reading = readExperiment(await readFile(join(path, SPEC_FILE), "utf8"));
    const parsed = parseGraph(JSON.parse(await readFile(join(path, GRAPH_FILE), "utf8")));
    if (reading.kind === "invalid" || parsed.kind === "refused") return undefined;
    const planned = reading.experiment.plan(parsed.graph);
    return planned.kind === "ok" ? planned.plan : undefined;
  } catch {
    return undefined; // Its runs can be shown without it.
  }
}
