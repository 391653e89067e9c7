import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { parseGraph, quoteBigIntegers, type Graph } from "@holdfast/comfyui/protocol";
import {
  EXPERIMENT_BYTES_MAX,
  readExperiment,
  type ExperimentPlan,
  type ReadExperiment,
} from "@holdfast/experiments";
import { problemLines } from "@holdfast/yaml-file";
import { fieldOf } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";

/** An experiment that can be run. */
export interface LoadedExperiment {
  readonly plan: ExperimentPlan;
  /** The file as it was read. */
  readonly specText: string;
  /** Of the file and its graph: what changes the runs changes this. */
  readonly specHash: string;
  /** Unwise, but not wrong; one line each. */
  readonly warnings: readonly string[];
}

/** Largest file of a graph that is read. */
const GRAPH_FILE_MAX_BYTES = 64 * 1024 * 1024;

/** Reads an experiment and its graph. Throws {@link CommandFailure} with everything that is wrong. */
export async function loadExperiment(file: string): Promise<LoadedExperiment> {
  const specText = await readText(file, EXPERIMENT_BYTES_MAX);
  const reading = readExperiment(specText);
  if (reading.kind === "invalid") throw refused(problemLines(reading.problems, file));
  const graph = await graphOf(reading.experiment, file);
  const planned = reading.experiment.plan(graph);
  if (planned.kind === "invalid") throw refused(problemLines(planned.problems, file));
  const hash = createHash("sha256").update(specText).update("\0").update(JSON.stringify(graph));
  return {
    plan: planned.plan,
    specText,
    specHash: hash.digest("hex"),
    warnings: problemLines(planned.warnings, file),
  };
}

async function graphOf({ workflow }: ReadExperiment, specFile: string): Promise<Graph> {
  if (workflow.kind === "inline") return workflow.graph;
  const path = resolve(dirname(specFile), workflow.path);
  const text = await readText(path, GRAPH_FILE_MAX_BYTES);
  let value: unknown;
  try {
    value = JSON.parse(quoteBigIntegers(text.replace(/^\uFEFF/, "")));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw refused([
      `${path} is not JSON: ${reason}. Expected a workflow in the API format (editor: Workflow > Export (API)).`,
    ]);
  }
  // The body of a POST /prompt is taken too, as `submit` takes it.
  const prompt = fieldOf(value, "prompt");
  const isBody = typeof prompt === "object" && fieldOf(prompt, "class_type") === undefined;
  const parsed = parseGraph(prompt !== undefined && isBody ? prompt : value);
  if (parsed.kind === "refused") throw refused([`${path}: ${parsed.message}`]);
  return parsed.graph;
}

async function readText(path: string, maxBytes: number): Promise<string> {
  const info = await stat(path).catch((cause: unknown) => {
    throw new CommandFailure(EXIT.refused, `there is no file ${path}`, { cause });
  });
  if (!info.isFile()) throw refused([`${path} is not a file`]);
  if (info.size > maxBytes) {
    throw refused([`${path}: expected at most ${maxBytes} bytes, found ${info.size}`]);
  }
  return await readFile(path, "utf8");
}

function refused(lines: readonly string[]): CommandFailure {
  return new CommandFailure(EXIT.refused, lines.join("\n"));
}
