import { findInput, parseGraph, type Graph } from "@holdfast/comfyui/protocol";
import { seedPlaces } from "@holdfast/recovery";
import {
  inFileOrder,
  listedProblems,
  placed,
  readBySchema,
  schemaTree,
  type FileProblem,
  type Finding,
  type YamlPlaces,
} from "@holdfast/yaml-file";
import type { ExperimentPlan, PlannedDimension, RunSource } from "../plan.ts";
import { graphRules, namedInputs } from "./graph-rules.ts";
import { experimentSchema, VALUES_MAX, type ExperimentSpec } from "./model.ts";
import { planSource } from "./plan-source.ts";
import { experimentRules } from "./rules.ts";
import { soundParts, type SoundDimension } from "./sound-parts.ts";

/** Largest file that is read: it may have the graph inside. */
export const EXPERIMENT_BYTES_MAX = 4 * 1024 * 1024;

/** An experiment that can be worked with, or everything that is wrong with its file. */
export type ExperimentReading =
  | { readonly kind: "ok"; readonly experiment: ReadExperiment }
  | { readonly kind: "invalid"; readonly problems: readonly FileProblem[] };

/** An experiment without its graph yet. */
export interface ReadExperiment {
  readonly spec: ExperimentSpec;
  /** The file that has the graph, as seen from the experiment's own; or the graph. */
  readonly workflow:
    | { readonly kind: "file"; readonly path: string }
    | { readonly kind: "inline"; readonly graph: Graph };
  /** Puts both together; `graph` is what `parseGraph` let through. */
  plan(graph: Graph): PlanReading;
}

/** An experiment that can be run, or what of it does not fit its graph. */
export type PlanReading =
  | {
      readonly kind: "ok";
      readonly plan: ExperimentPlan;
      /** Unwise, but not wrong. */
      readonly warnings: readonly FileProblem[];
    }
  | { readonly kind: "invalid"; readonly problems: readonly FileProblem[] };

const WORDS = {
  empty: "the file is empty: expected `name`, `workflow` and `dimensions`",
  notMapping: "expected a mapping (`name: castle`, `dimensions: …`) at the top of the file",
};

/**
 * Reads an experiment, YAML or JSON: its form, its keys and values, the rules between them, and
 * whether its constraints leave anything. The graph comes later, by `plan`, because it may lie in
 * another file, which somebody else reads.
 */
export function readExperiment(text: string): ExperimentReading {
  const form = { name: "an experiment", schema: schemaTree(experimentSchema) };
  const kind = { form, words: WORDS, bytesMax: EXPERIMENT_BYTES_MAX };
  const reading = readBySchema(text, experimentSchema, kind);
  if (reading.kind === "refused") return invalid(reading.problems);
  const { value, places, parsed: spec, shape } = reading;
  const parts = soundParts(value, VALUES_MAX);
  const rules = experimentRules(parts);
  const graph = spec === undefined ? undefined : inlineGraph(spec);
  const problems = [
    ...shape.map((one) => placed(one, places, one.part)),
    ...[...rules.problems, ...(graph?.problems ?? [])].map((one) => placed(one, places, "value")),
  ];
  if (problems.length > 0 || spec === undefined) return invalid(problems);
  const source = planSource(spec, parts.dimensions);
  if (source.kind === "invalid") return invalid([placed(source.problem, places, "value")]);
  const planned = { spec, dimensions: parts.dimensions, source: source.source };
  return {
    kind: "ok",
    experiment: {
      spec,
      workflow:
        graph === undefined
          ? { kind: "file", path: spec.workflow ?? "" }
          : { kind: "inline", graph: graph.graph },
      plan: (given) => withGraph(planned, given, places, rules.warnings),
    },
  };
}

interface InlineGraph {
  readonly graph: Graph;
  readonly problems: readonly Finding[];
}

function inlineGraph({ graph }: ExperimentSpec): InlineGraph | undefined {
  if (graph === undefined) return undefined;
  const parse = parseGraph(graph);
  if (parse.kind === "graph") return { graph: parse.graph, problems: [] };
  const nodeId = parse.details?.["nodeId"];
  const path = typeof nodeId === "string" ? ["graph", nodeId] : ["graph"];
  return { graph: {}, problems: [{ path, message: parse.message }] };
}

interface Planned {
  readonly spec: ExperimentSpec;
  readonly dimensions: readonly SoundDimension[];
  readonly source: RunSource;
}

function withGraph(
  { spec, dimensions, source }: Planned,
  graph: Graph,
  places: YamlPlaces,
  earlier: readonly Finding[],
): PlanReading {
  const { problems, warnings } = graphRules(dimensions, graph);
  if (problems.length > 0) return invalid(problems.map((one) => placed(one, places, "value")));
  const planned = dimensions.map((one) => toPlanned(one, graph));
  const plan: ExperimentPlan = {
    name: spec.name,
    seed: spec.seed,
    title: spec.title ?? titleOf(spec, dimensions),
    graph,
    dimensions: planned,
    source,
    seedInputs: seedPlaces(graph),
  };
  const told = [...earlier, ...warnings].map((one) => placed(one, places, "value"));
  return { kind: "ok", plan, warnings: inFileOrder(told) };
}

/** The first two dimensions, or the experiment's name where it has none. */
function titleOf(spec: ExperimentSpec, dimensions: readonly SoundDimension[]): string {
  const named = dimensions.slice(0, 2).map(({ name }) => `{${name}}`);
  return named.length === 0 ? spec.name : named.join("_");
}

function toPlanned(dimension: SoundDimension, graph: Graph): PlannedDimension {
  const { name, spec, options } = dimension;
  const heading = spec.as ?? ownHeading(dimension);
  const isNamed = heading === "Tech" && options.some(({ value }) => typeof value !== "string");
  return {
    name,
    options,
    inputs: namedInputs(dimension).flatMap(({ written }) => findInput(graph, written) ?? []),
    loraNodes: (spec.nodes ?? []).map((id) => String(id)),
    heading,
    label: spec.label ?? (isNamed ? "{name}={value}" : "{value}"),
  };
}

/** Where a dimension is told that does not say it itself. */
function ownHeading({ part, spec, options }: SoundDimension): string | null {
  if (part === "fragments") return null;
  if (spec.nodes !== undefined) return "LoRAs";
  return options.every(({ value }) => typeof value === "string") ? "Subject" : "Tech";
}

function invalid(problems: readonly FileProblem[]): {
  readonly kind: "invalid";
  readonly problems: readonly FileProblem[];
} {
  return { kind: "invalid", problems: listedProblems(problems) };
}
