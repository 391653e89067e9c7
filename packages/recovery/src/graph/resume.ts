/**
 * Goes on where an earlier attempt was: saved latents in the place of the samplers that made them
 * (F19). What only those samplers needed is not run again.
 */
import {
  diffGraph,
  links,
  nodeOf,
  promisedOutputs,
  pruneTo,
  rewireOutput,
  type Graph,
  type GraphPatch,
} from "@holdfast/comfyui/protocol";
import { freeId, LOAD_CLASS } from "./add-checkpoints.ts";
import type { CheckpointSite } from "./checkpoint-sites.ts";

/** A latent to be there before the graph is run, and the input that names it. */
export interface ResumeFile {
  /** The node that loads it, of the resumed graph. */
  readonly nodeId: string;
  readonly input: string;
  /** What stands in the input until the file has its name on the instance. */
  readonly name: string;
  readonly key: string;
  /** The node whose work it is. */
  readonly ofNodeId: string;
}

/** What resuming comes to. */
export type Resumed =
  | {
      readonly kind: "resumed";
      /** From the graph to the resumed one. */
      readonly patch: GraphPatch;
      readonly files: readonly ResumeFile[];
      /** Nodes of the graph that need not run. */
      readonly skipped: readonly string[];
    }
  /** No saved latent spares any node. */
  | { readonly kind: "nothing" };

const LOAD_INPUT = "latent";

/**
 * Puts the saved ones among `sites` in the place of their samplers. `promised` names the outputs that
 * must be given (P3): they and all that ends in nothing stay, whoever made their classes.
 */
export function resumeGraph(
  graph: Graph,
  sites: readonly CheckpointSite[],
  isSaved: (key: string) => boolean,
  promised: readonly string[],
): Resumed {
  const roots = rootsOf(graph, promised);
  let candidates = sites.filter(({ key }) => isSaved(key));
  for (;;) {
    const { resumed, loaders } = rewire(graph, candidates, roots);
    // A sampler that must run for another of its outputs makes its latent anyway; a loader that nobody
    // needs stands before one that is needed.
    const useful = candidates.filter(
      ({ key, source }) =>
        nodeOf(resumed, source[0]) === undefined &&
        nodeOf(resumed, loaders.get(key)?.nodeId ?? "") !== undefined,
    );
    if (useful.length === 0) return { kind: "nothing" };
    if (useful.length < candidates.length) {
      candidates = useful;
      continue;
    }
    return {
      kind: "resumed",
      patch: diffGraph(graph, resumed),
      files: candidates.flatMap(({ key }) => loaders.get(key) ?? []),
      skipped: Object.keys(graph).filter((id) => nodeOf(resumed, id) === undefined),
    };
  }
}

function rewire(
  graph: Graph,
  sites: readonly CheckpointSite[],
  roots: readonly string[],
): { readonly resumed: Graph; readonly loaders: ReadonlyMap<string, ResumeFile> } {
  const loaders = new Map<string, ResumeFile>();
  let result = graph;
  for (const { key, source } of sites) {
    const nodeId = freeId(result, `resume:${source[0]}:${String(source[1])}`);
    const name = `${key}.latent`;
    loaders.set(key, { nodeId, input: LOAD_INPUT, name, key, ofNodeId: source[0] });
    result = {
      ...rewireOutput(result, source, [nodeId, 0]),
      [nodeId]: { class_type: LOAD_CLASS, inputs: { [LOAD_INPUT]: name } },
    };
  }
  return { resumed: pruneTo(result, roots), loaders };
}

/** What is run for its own sake. */
function rootsOf(graph: Graph, promised: readonly string[]): readonly string[] {
  const feeding = new Set(links(graph).map(({ fromId }) => fromId));
  const ends = Object.keys(graph).filter((id) => !feeding.has(id));
  const outputs = promisedOutputs(graph).map(({ nodeId }) => nodeId);
  return [...new Set([...promised, ...outputs, ...ends])];
}
