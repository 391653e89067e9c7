/** An experiment against its graph: where its values go. */
import {
  findInput,
  findTemplateVariables,
  inputOf,
  isLink,
  nodeOf,
  type Graph,
  type GraphNode,
} from "@holdfast/comfyui/protocol";
import type { Finding, Findings, YamlPath } from "@holdfast/yaml-file";
import { nearWords, shown } from "./name-words.ts";
import type { SoundDimension } from "./sound-parts.ts";

/** Variables that every run brings; see `runVariables`. */
const OWN_VARIABLES = ["seed", "index", "run"];

/** What the graph does not have, and what has no effect on it. */
export function graphRules(dimensions: readonly SoundDimension[], graph: Graph): Findings {
  const variables = findTemplateVariables(graph);
  const known = [...dimensions.map(({ name }) => name), ...OWN_VARIABLES];
  const unknown = variables
    .filter(({ name }) => !known.includes(name))
    .map(({ name, places }): Finding => {
      const [place] = places;
      const where = `node ${shown(place?.nodeId ?? "")}, input ${shown(place?.input ?? "")}`;
      const message = `the graph has {{${name}}} (${where}), and there is no dimension or fragment of that name`;
      return { path: ["dimensions"], message: `${message}; ${nearWords(name, known)}` };
    });
  const called = new Set(variables.map(({ name }) => name));
  return {
    problems: [
      ...unknown,
      ...dimensions.flatMap((one) => [...inputProblems(one, graph), ...nodeProblems(one, graph)]),
      ...sharedInputs(dimensions, graph),
    ],
    warnings: dimensions.flatMap((one) => idleDimension(one, called)),
  };
}

/** Every input that a dimension names, with its place in the file. */
export function namedInputs({
  name,
  part,
  spec: { input },
}: SoundDimension): readonly { readonly path: YamlPath; readonly written: string }[] {
  const path: YamlPath = [part, name, "input"];
  if (input === undefined) return [];
  if (typeof input === "string") return [{ path, written: input }];
  return input.map((written, index) => ({ path: [...path, index], written }));
}

function inputProblems(dimension: SoundDimension, graph: Graph): readonly Finding[] {
  return namedInputs(dimension).flatMap(({ path, written }): readonly Finding[] => {
    const found = findInput(graph, written);
    if (found === undefined) return [{ path, message: unknownInput(written, graph) }];
    const node = nodeOf(graph, found.nodeId);
    if (node === undefined || !isLink(inputOf(node, found.input))) return [];
    const message = `${shown(written)} is linked to another node: name an input with a value`;
    return [{ path, message }];
  });
}

function unknownInput(written: string, graph: Graph): string {
  const dot = written.indexOf(".");
  if (dot <= 0) return `expected \`node.input\`, like "6.text", found ${shown(written)}`;
  const nodeId = written.slice(0, dot);
  const node = nodeOf(graph, nodeId);
  if (node === undefined) {
    return `the graph has no node ${shown(nodeId)}; ${nearWords(nodeId, Object.keys(graph))}`;
  }
  const input = written.slice(dot + 1);
  const inputs = Object.entries(node.inputs).flatMap(([name, value]) =>
    isLink(value) ? [] : [name],
  );
  return `node ${shown(nodeId)} (${node.class_type}) has no input ${shown(input)}; ${nearWords(input, inputs)}`;
}

function nodeProblems(
  { name, part, spec: { nodes = [] } }: SoundDimension,
  graph: Graph,
): readonly Finding[] {
  return nodes.flatMap((written, index): readonly Finding[] => {
    const path: YamlPath = [part, name, "nodes", index];
    const id = String(written);
    const node = nodeOf(graph, id);
    if (node === undefined) {
      const loaders = Object.entries(graph).flatMap(([other, one]) =>
        isLoraLoader(one) ? [other] : [],
      );
      return [{ path, message: `the graph has no node ${shown(id)}; ${nearWords(id, loaders)}` }];
    }
    if (isLoraLoader(node)) return [];
    const message =
      `node ${shown(id)} (${node.class_type}) is no LoraLoader: expected inputs ` +
      "`lora_name` and `strength_model`, and `model` linked to another node";
    return [{ path, message }];
  });
}

/**
 * LoraLoader and LoraLoaderModelOnly (nodes.py, 0.3.64), and custom ones of the same inputs. A
 * bypassed one passes on what it is given, so that has to be a link.
 */
function isLoraLoader(node: GraphNode): boolean {
  const takesClip =
    Object.hasOwn(node.inputs, "clip") || Object.hasOwn(node.inputs, "strength_clip");
  return (
    Object.hasOwn(node.inputs, "lora_name") &&
    Object.hasOwn(node.inputs, "strength_model") &&
    isLink(inputOf(node, "model")) &&
    (!takesClip || isLink(inputOf(node, "clip")))
  );
}

function sharedInputs(dimensions: readonly SoundDimension[], graph: Graph): readonly Finding[] {
  const owner = new Map<string, string>();
  return dimensions.flatMap((dimension) =>
    namedInputs(dimension).flatMap(({ path, written }): readonly Finding[] => {
      const found = findInput(graph, written);
      if (found === undefined) return [];
      const key = JSON.stringify([found.nodeId, found.input]);
      const first = owner.get(key);
      if (first === undefined) {
        owner.set(key, dimension.name);
        return [];
      }
      return [{ path, message: `${shown(written)} is set by ${shown(first)} already` }];
    }),
  );
}

/** A dimension may be there to repeat everything with other seeds, so this refuses nothing. */
function idleDimension(
  { name, part, spec: { input, nodes } }: SoundDimension,
  called: ReadonlySet<string>,
): readonly Finding[] {
  if (input !== undefined || nodes !== undefined || called.has(name) || name === "seed") return [];
  const how = part === "dimensions" ? "give it an `input`, or write" : "write";
  const message = `has no effect on the graph: ${how} {{${name}}} in one of its texts`;
  return [{ path: [part, name], message }];
}
