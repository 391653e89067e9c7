/** What an attempt puts away while it runs, and what it goes on from. Pure. */
import { createHash } from "node:crypto";
import { applyPatch, type Graph } from "@holdfast/comfyui/protocol";
import type { CheckpointMode, Lease } from "@holdfast/contract";
import {
  checkpointNodes,
  findCheckpointSites,
  resumeGraph,
  segmentSamplers,
  type LossLevel,
} from "@holdfast/recovery";

/** A latent of an earlier attempt, or the word that it is of no use. */
export interface KnownCheckpoint {
  readonly key: string;
  /** Null when there is a problem with it. */
  readonly sha256: string | null;
  readonly sizeBytes: number;
}

/** What is known of a job that runs again. */
export interface JobCheckpoints {
  readonly known: readonly KnownCheckpoint[];
  /** Nodes that must each give an output (P3). */
  readonly promised: readonly string[];
}

/** What a job's policy, and the settings where it says nothing, make of checkpoints. */
export interface CheckpointPolicy {
  readonly mode: CheckpointMode;
  /** Null allows anything. */
  readonly maxLoss: LossLevel | null;
  /** Steps × megapixels × pictures from which a sampler's latent is put away. */
  readonly minWork: number;
}

/** No earlier attempt. */
export const NO_CHECKPOINTS: JobCheckpoints = { known: [], promised: [] };

/** What a lease says of checkpoints. */
export type CheckpointPlan = Pick<Lease, "checkpoints" | "graph" | "resume">;

/** Whoever asks for segments wants every latent, however little work it is. */
const EVERY_SITE = { minWork: 0 };

/** The graph to run, the latents of it to put away, and those to go on from. Deterministic. */
export function planCheckpoints(
  graph: Graph,
  { mode, maxLoss, minWork }: CheckpointPolicy,
  job: JobCheckpoints = NO_CHECKPOINTS,
): CheckpointPlan {
  if (mode === "off") return { graph };
  const wantsAll = mode === "segments";
  // Segments are not identical to one piece: a job that forbids any loss stays whole.
  const mayCut = wantsAll && maxLoss !== "none";
  const run = mayCut ? applyPatch(graph, segmentSamplers(graph).patch) : graph;
  const sites = findCheckpointSites(run, sha256, wantsAll ? EVERY_SITE : { minWork });
  if (sites.length === 0) return { graph: run };
  const known = new Map(job.known.map((checkpoint) => [checkpoint.key, checkpoint]));
  // What could not be saved or loaded once is left alone: it must never cost a job its attempts.
  const usable = sites.filter(({ key }) => known.get(key)?.sha256 !== null);
  const checkpoints = checkpointNodes(run, usable).map(({ nodeId, node, key, source }) => ({
    nodeId,
    node: { ...node, inputs: { ...node.inputs } },
    key,
    ofNodeId: source[0],
  }));
  const resumed = resumeGraph(run, usable, (key) => known.has(key), job.promised);
  if (resumed.kind === "nothing") return { graph: run, checkpoints };
  const { set, unset, putNodes, removeNodes } = resumed.patch;
  return {
    graph: run,
    checkpoints,
    resume: {
      patch: {
        set: [...set],
        ...(unset !== undefined && { unset: [...unset] }),
        ...(putNodes !== undefined && {
          putNodes: putNodes.map(({ nodeId, node }) => ({
            nodeId,
            node: { ...node, inputs: { ...node.inputs } },
          })),
        }),
        ...(removeNodes !== undefined && { removeNodes: [...removeNodes] }),
      },
      files: resumed.files.flatMap(({ nodeId, input, name, key }) => {
        const { sha256: hash, sizeBytes } = known.get(key) ?? { sha256: null, sizeBytes: 0 };
        return hash === null ? [] : [{ nodeId, input, name, key, sha256: hash, sizeBytes }];
      }),
    },
  };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
