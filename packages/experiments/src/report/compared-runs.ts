import type { InputValue } from "@holdfast/comfyui/protocol";
import { endsByRun } from "../results/last-ends.ts";
import { runEnd, type ResultRecord } from "../results/record.ts";
import type { ComparedError, ComparedRun, EarlierEnd } from "./comparison-facts.ts";

/** What the records of results do not hold, asked for each run. */
export interface RunExtras {
  /** What was put into the graph of run n. */
  readonly setOf: (index: number) => readonly InputValue[];
  /** What recovery cost. */
  readonly lossOf: (record: ResultRecord) => ComparedRun["loss"];
}

/**
 * Runs as the comparison page tells them, in the order of their numbers. Records may come in any order
 * and twice; outputs are taken for pictures by their names.
 */
export function comparedRuns(
  records: Iterable<ResultRecord>,
  { setOf, lossOf }: RunExtras,
): readonly ComparedRun[] {
  return endsByRun(records).map(({ last, before, attempts }) => ({
    index: last.index,
    name: last.name,
    title: last.title,
    seed: last.seed,
    values: last.values,
    set: setOf(last.index),
    status: runEnd(last),
    startedAt: last.startedAt,
    endedAt: last.endedAt,
    durationMs: last.durationMs,
    error: last.error === null ? null : comparedError(last.error),
    attempts,
    earlier: before.flatMap((record) => earlierEnd(record)),
    recovery: last.recovery,
    loss: lossOf(last),
    metrics: last.metrics,
    images: last.outputs.flatMap(({ stored }) => (IMAGE.test(stored) ? [{ path: stored }] : [])),
  }));
}

/** What browsers show as a picture. */
const IMAGE = /\.(?:png|jpe?g|webp|gif|avif)$/i;

function earlierEnd({ attempt, endedAt, error }: ResultRecord): EarlierEnd[] {
  if (error === null) return [];
  const { isInfrastructure } = error;
  return [{ attempt, endedAt, isInfrastructure, ...comparedError(error) }];
}

function comparedError(error: NonNullable<ResultRecord["error"]>): ComparedError {
  const { class: errorClass, message, nodeId, nodeType, exceptionType, traceback } = error;
  return { class: errorClass, message, nodeId, nodeType, exceptionType, traceback };
}
