import type { Graph } from "@holdfast/comfyui/protocol";
import { problemLines, type FileProblem } from "@holdfast/yaml-file";
import { readExperiment, type ExperimentPlan } from "../src/index.ts";

/** A graph that takes whatever is in `text`. */
export const textGraph = (text: string): Graph => ({
  "1": { class_type: "A", inputs: { text, seed: 5 } },
});

/** Lines of what is wrong with a file or with its graph, and of what is unwise. */
export function told(text: string, graph: Graph): readonly string[] {
  const lines = (problems: readonly FileProblem[]): readonly string[] =>
    problemLines(problems, "e");
  const reading = readExperiment(text);
  if (reading.kind === "invalid") return lines(reading.problems);
  const planned = reading.experiment.plan(graph);
  return planned.kind === "invalid" ? lines(planned.problems) : lines(planned.warnings);
}

/** The plan of a file that has to be right. */
export function readPlan(text: string, graph: Graph): ExperimentPlan {
  const reading = readExperiment(text);
  const planned = reading.kind === "ok" ? reading.experiment.plan(graph) : reading;
  if (planned.kind === "invalid") throw new Error(problemLines(planned.problems, "e").join("\n"));
  return planned.plan;
}
