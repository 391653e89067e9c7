/** The workflows of a load run: `--workflow FILE[=WEIGHT]`, each read and checked. */
import { createHash } from "node:crypto";
import { basename } from "node:path";
import {
  findTemplateVariables,
  hashGraph,
  parseGraph,
  type Graph,
} from "@holdfast/comfyui/protocol";
import { CommandFailure } from "../command-failure.ts";
import { readGraph } from "../submit/read-graph.ts";
import { readText } from "../submit/read-text.ts";
import { isVaried, JOB_VARIABLES, unseeded } from "./seeded-graph.ts";

/** A workflow of the mix. */
export interface LoadWorkflow {
  /** Of its file, without the ending. */
  readonly name: string;
  /** As it was given; `-` is standard input. */
  readonly file: string;
  readonly weight: number;
  readonly graph: Graph;
  /** Of the graph without its seeds, in hex. */
  readonly hash: string;
  /** Its jobs differ; false: ComfyUI may answer all but the first from its cache. */
  readonly isVaried: boolean;
}

/** A workflow, or what is wrong with it. */
export type WorkflowReading =
  | { readonly kind: "ok"; readonly workflow: LoadWorkflow }
  | { readonly kind: "bad"; readonly problem: string };

/** Reads one `FILE[=WEIGHT]`. */
export async function readWorkflow(argument: string): Promise<WorkflowReading> {
  const [, file = argument, weightText = "1"] = /^(.+)=([^=/\\]*)$/.exec(argument) ?? [];
  const weight = weightText.trim() === "" ? Number.NaN : Number(weightText);
  if (Number.isNaN(weight)) {
    const words = `expected FILE or FILE=WEIGHT such as book_small.json=3, found ${argument}`;
    return { kind: "bad", problem: `--workflow: ${words}` };
  }
  const text = await readText(file).catch((error: unknown) => {
    if (error instanceof CommandFailure) return error;
    throw error;
  });
  if (text instanceof CommandFailure) {
    return { kind: "bad", problem: `--workflow: ${text.message}` };
  }
  const read = readGraph(text, file);
  if (read.kind === "bad") return { kind: "bad", problem: `--workflow: ${read.message}` };
  const parsed = parseGraph(read.graph);
  if (parsed.kind === "refused") {
    return { kind: "bad", problem: `--workflow: ${file}: ${parsed.message}` };
  }
  const { graph } = parsed;
  const unknown = findTemplateVariables(graph)
    .map(({ name }) => name)
    .filter((name) => !JOB_VARIABLES.includes(name));
  if (unknown.length > 0) {
    const names = unknown.map((name) => `{{${name}}}`).join(", ");
    const problem = `--workflow: ${file} has ${names}: a load run has values for {{seed}} and {{index}} alone`;
    return { kind: "bad", problem };
  }
  const name = basename(file).replace(/\.json$/i, "") || "workflow";
  const hash = hashGraph(unseeded(graph), sha256);
  return { kind: "ok", workflow: { name, file, weight, graph, hash, isVaried: isVaried(graph) } };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
