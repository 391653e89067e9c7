/** What runs of the same cost have in common. Pure. */
import type { GraphPatch } from "@holdfast/comfyui/protocol";

/** A value of a graph that decides what it costs. */
export interface CostValue {
  readonly nodeId: string;
  readonly input: string;
  readonly value: string | number | boolean;
}

/**
 * Those of the inputs that a patch takes out of a template by which the work grows. What decides the
 * cost and stays in the template (`length`, `frames`, samplers, models) is in the template's hash.
 */
const COST_INPUTS: ReadonlySet<string> = new Set([
  "batch_size",
  "denoise",
  "height",
  "steps",
  "width",
]);

/** The values of a patch that decide the cost, in an order of their own. */
export function costValues(patch: GraphPatch): readonly CostValue[] {
  const values = patch.set.flatMap(({ nodeId, input, value }): CostValue[] => {
    if (!isScalar(value)) return [];
    // ComfyUI renders the negative prompt at every guidance but 1: another number changes no cost.
    if (input === "cfg") return Number(value) === 1 ? [{ nodeId, input, value: 1 }] : [];
    return COST_INPUTS.has(input) ? [{ nodeId, input, value }] : [];
  });
  return values.sort((a, b) => order(a, b));
}

/**
 * Names the runs that should take equally long on the same card: the same template with the same
 * values where values decide. An estimate is never from another size.
 */
export function costKey(
  shape: string,
  values: readonly CostValue[],
  sha256: (text: string) => string,
): string {
  const own = values.map(({ nodeId, input, value }) => [nodeId, input, value]);
  return sha256(JSON.stringify([shape, own])).slice(0, COST_KEY_LENGTH);
}

/** Enough of a hash that no two shapes meet, and little to keep with every job. */
const COST_KEY_LENGTH = 32;

function order(a: CostValue, b: CostValue): number {
  if (a.nodeId !== b.nodeId) return a.nodeId < b.nodeId ? -1 : 1;
  return a.input < b.input ? -1 : 1;
}

function isScalar(value: unknown): value is string | number | boolean {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}
