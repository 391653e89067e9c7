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
  const standing = folder.runs.standing(index);
  const earlier = standing.last && {
    promptId: standing.last.promptId,
    hasEnded: standing.hasEnded,
  };
  const promptId = renderer.nextPromptId(earlier);
  const attempt = standing.starts + 1;
  const startedAt = new Date(clock.now()).toISOString();
  const begun = clock.elapsed();
  await folder.noteStart({ index, attempt, promptId, startedAt });
  await deps.onBegun(run);
  const graph = applyRun(deps.graph, run);
  const rendered = await renderer.render({ name: run.name, graph, promptId, earlier });
  const kept = await keep(rendered, { name: run.name, attempt }, deps);
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
    startedAt,
    endedAt: new Date(clock.now()).toISOString(),
    durationMs: Math.max(0, Math.round(clock.elapsed() - begun)),
    error: kept.failure === undefined ? null : { ...kept.failure },
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
    ...(executeMs !== undefined && { execute_seconds: executeMs / MS_PER_SECOND }),
    ...(queueMs !== undefined && { queue_seconds: queueMs / MS_PER_SECOND }),
    ...(vramPeakBytes !== undefined && { vram_peak_mb: Math.round(vramPeakBytes / BYTES_PER_MB) }),
    recovery_used: recovery.length > 0 || attempts > 1 ? 1 : 0,
    attempts,
    loss,
  };
}
