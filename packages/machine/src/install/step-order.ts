import type { Step, StepResult } from "./model.ts";

/** What decides the order of a step. */
export type OrderedStep = Pick<Step, "id" | "after" | "lane">;

/**
 * What is wrong with a list of steps, in words; undefined when every step can be reached. Steps of
 * a lane run in the order of the list, so a step must not wait for a later one of its lane, nor two
 * lanes for each other.
 */
export function orderProblem(steps: readonly OrderedStep[]): string | undefined {
  const ids = new Set<string>();
  for (const { id } of steps) {
    if (ids.has(id)) return `two steps are named ${id}`;
    ids.add(id);
  }
  for (const { id, after } of steps) {
    const unknown = after.find((other) => !ids.has(other));
    if (unknown !== undefined) return `${id} comes after ${unknown}, which is not a step`;
  }
  const reached = new Set<string>();
  let left = [...steps];
  while (left.length > 0) {
    const heads = new Map<string, OrderedStep>();
    for (const step of left) if (!heads.has(step.lane)) heads.set(step.lane, step);
    const ready = [...heads.values()].filter((step) => step.after.every((id) => reached.has(id)));
    if (ready.length === 0) {
      return `these steps wait for each other: ${[...heads.values()].map(({ id }) => id).join(", ")}`;
    }
    for (const { id } of ready) reached.add(id);
    left = left.filter(({ id }) => !reached.has(id));
  }
  return undefined;
}

/**
 * The step that keeps this one from being done, or undefined. A required step is not kept by an
 * optional one that failed: nothing that may be absent can make an installation impossible. An
 * optional one is kept by anything it comes after.
 */
export function blockerOf(
  step: Pick<Step, "after" | "isOptional">,
  results: ReadonlyMap<string, Pick<StepResult, "outcome" | "isOptional">>,
): string | undefined {
  return step.after.find((id) => {
    const result = results.get(id);
    if (result === undefined) return true;
    const isMissing = result.outcome === "failed" || result.outcome === "not_reached";
    return isMissing && (step.isOptional || !result.isOptional);
  });
}
