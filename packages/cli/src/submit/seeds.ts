import { fieldOf } from "../api/api-client.ts";

/** ComfyUI's largest seed, 2^64 − 1 (nodes.py 0.3.64: `"max": 0xffffffffffffffff`). */
const SEEDS = 2n ** 64n;
const SEED_INPUTS = ["seed", "noise_seed"];

/**
 * The `set` values that give job `index` of a `--count` its own seed: every seed in the graph grows
 * by `index`. `base` holds the values of `--set`, which count before the graph's. Undefined when the
 * graph has no seed to change.
 */
export function seedValues(
  graph: unknown,
  base: Readonly<Record<string, unknown>>,
  index: number,
): Readonly<Record<string, unknown>> | undefined {
  const values: Record<string, unknown> = {};
  for (const [nodeId, node] of Object.entries(typeof graph === "object" ? (graph ?? {}) : {})) {
    for (const input of SEED_INPUTS) {
      const name = `${nodeId}.${input}`;
      const seed = toSeed(base[name] ?? fieldOf(fieldOf(node, "inputs"), input));
      if (seed === undefined) continue;
      const next = (seed + BigInt(index)) % SEEDS;
      values[name] = next <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(next) : String(next);
    }
  }
  return Object.keys(values).length === 0 ? undefined : values;
}

/** A seed of any size; long ones are kept as text of their digits. Links are no seeds. */
function toSeed(value: unknown): bigint | undefined {
  if (typeof value === "number") return Number.isSafeInteger(value) ? BigInt(value) : undefined;
  return typeof value === "string" && /^\d{1,20}$/.test(value) ? BigInt(value) : undefined;
}
