import {
  applyRun,
  type ExperimentRun,
  type ExperimentSequence,
  type ResultRecord,
  type RunEnd,
} from "@holdfast/experiments";
import type { Graph } from "@holdfast/comfyui/protocol";
import type { Clock } from "@holdfast/runtime";
import { downFailure, refusedFailure } from "./failure-kind.ts";
import type { ResultsFolder } from "./folder/results-folder.ts";
import { keepFiles, type ImageStore, type KeptFile } from "./keep-files.ts";
import type { Rendered, Renderer, RunFailure } from "./renderer.ts";
import { startOfRun, timesOf } from "./run-start.ts";

/** What a run is made of. */
export interface OneRunDeps {
  readonly sequence: ExperimentSequence;
  readonly graph: Graph;
  readonly folder: ResultsFolder;
  readonly renderer: () => Promise<Renderer>;
  readonly store: ImageStore | undefined;
  readonly clock: Clock;
  /** Called at once: a check may be printed before its start is on the disk. */
  readonly onStart: (run: ExperimentRun) => void;
  /** Its start is on the disk. */
  readonly onBegun: (run: ExperimentRun) => Promise<void>;
  /** Its result is on the disk. */
  readonly onEnd: (record: ResultRecord) => Promise<void>;
}

/** One run from its start on the disk to its result on the disk. */
export async function doRun(index: number, deps: OneRunDeps): Promise<RunEnd> {
  const { sequence, folder, clock } = deps;
  const run = sequence.runAt(index);
  deps.onStart(run);
  const renderer = await deps.renderer();
  const start = await startOfRun(index, folder.runs.standing(index), { renderer, clock });
  const { attempt, promptId } = start.record;
  const { earlier } = start;
  const begun = clock.elapsed();
  if (!start.isFound) await folder.noteStart(start.record);
  await deps.onBegun(run);
  const graph = applyRun(deps.graph, run);
  const rendered = await renderer.render({ name: run.name, graph, promptId, earlier });
  const kept = await keep(rendered, { name: run.name, attempt }, deps);
  const now = { at: clock.now(), elapsedMs: clock.elapsed() - begun };
  const record: ResultRecord = {
    index,
    name: run.name,
    title: run.title,
    attempt,
    promptId,
    seed: run.seed,
    values: { ...run.values },
    set: run.set,
    status: kept.failure === undefined ? "completed" : "failed",
    ...timesOf(start, rendered.facts, now),
    error: kept.failure === undefined ? null : { ...withNodeType(kept.failure, graph) },
    recovery: [...rendered.facts.recovery],
    outputs: kept.files.map((file) => ({ ...file })),
    metrics: metricsOf(rendered),
  };
  await folder.noteResult(record);
  renderer.settled(promptId);
  await deps.onEnd(record);
  if (record.status === "completed") return "completed";
  return record.error?.isInfrastructure === true ? "down" : "failed";
}

/** A stall tells the node's id alone. */
function withNodeType(failure: RunFailure, graph: Graph): RunFailure {
  const { nodeId } = failure;
  if (nodeId === undefined || failure.nodeType !== undefined) return failure;
  const node = Object.hasOwn(graph, nodeId) ? graph[nodeId] : undefined;
  return node === undefined ? failure : { ...failure, nodeType: node.class_type };
}

async function keep(
  rendered: Rendered,
  run: { readonly name: string; readonly attempt: number },
  { folder, store }: OneRunDeps,
): Promise<{ readonly failure: RunFailure | undefined; readonly files: readonly KeptFile[] }> {
  try {
    const kept = await keepFiles(run, rendered.files, { folder: folder.path, store });
    if (kept.kind === "kept") return { failure: rendered.failure, files: kept.files };
    const words = `outputs cannot be stored: ${kept.reason}`;
    const failure = kept.kind === "refused" ? refusedFailure(words) : downFailure(words);
    return { failure: rendered.failure ?? failure, files: [] };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const failure = downFailure(`outputs cannot be kept: ${message}`, "disk_full");
    return { failure: rendered.failure ?? failure, files: [] };
  }
}

const MS_PER_SECOND = 1_000;
const BYTES_PER_MB = 1024 * 1024;

function metricsOf({ facts }: Rendered): Record<string, number> {
  const { executeMs, queueMs, vramPeakBytes, attempts, loss, recovery } = facts;
  return {
    ...(executeMs !== undefined && { execute_seconds: toSeconds(executeMs) }),
    ...(queueMs !== undefined && { queue_seconds: toSeconds(queueMs) }),
    ...(vramPeakBytes !== undefined && { vram_peak_mb: Math.round(vramPeakBytes / BYTES_PER_MB) }),
    recovery_used: recovery.length > 0 || attempts > 1 ? 1 : 0,
    attempts,
    loss,
  };
}

/** To the millisecond: clocks tell no more. */
function toSeconds(ms: number): number {
  return Math.round(ms) / MS_PER_SECOND;
}
