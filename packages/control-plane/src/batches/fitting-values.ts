import { parseGraph } from "@holdfast/comfyui/protocol";
import { findPlace } from "../jobs/overrides.ts";

/**
 * The values of a page that have a place in its graph. Whoever gives a page other values mends it: what
 * fitted nothing has kept it from being rendered, and would for ever. Pure.
 */
export function fittingValues(
  graph: unknown,
  set: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const parsed = parseGraph(graph);
  // Of a graph that is none nothing is known: it is refused as a whole.
  if (parsed.kind === "refused") return set;
  return Object.fromEntries(
    Object.entries(set).filter(([name]) => findPlace(parsed.graph, name) !== undefined),
  );
}
