import type { AttemptView } from "@holdfast/contract";
import { bytesText, durationText } from "../terminal/durations.ts";

/** What a job's attempts put away and went on from, a line each. Older servers do not tell. */
export function checkpointLines(
  attempts: readonly (Pick<AttemptView, "number"> &
    Partial<Pick<AttemptView, "checkpoints" | "resume">>)[],
): readonly string[] {
  return attempts.flatMap(({ number, resume, checkpoints = [] }) => {
    const resumed =
      resume === null || resume === undefined
        ? []
        : [
            `try ${number} went on from try ${resume.fromAttempt}: ${nodes(resume.nodeIds)} not run again, ${durationText(resume.savedMs)} saved`,
          ];
    const saved = checkpoints.map(({ nodeId, sizeBytes, spentMs, keptUntil, problem }) =>
      problem === null
        ? `try ${number} put away node ${nodeId}: ${bytesText(sizeBytes)} after ${durationText(spentMs)}, kept until ${keptUntil}`
        : `checkpoint of node ${nodeId} is of no use: ${problem}`,
    );
    return [...resumed, ...saved];
  });
}

function nodes(ids: readonly string[]): string {
  return `${ids.length === 1 ? "node" : "nodes"} ${ids.join(", ")}`;
}
