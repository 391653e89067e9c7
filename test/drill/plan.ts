/** Which faults a drill has, from its seed: every kind by its weight, in a shuffled order. */
import { invariant, nextInt, seededRandom, type Random } from "@holdfast/runtime";
import type { FaultKind } from "./fault-kind.ts";
import { MACHINE_KINDS } from "./machine-kinds.ts";
import { MEMORY_KINDS } from "./memory-kinds.ts";
import { WAITING_KINDS } from "./waiting-kinds.ts";

/** All kinds of faults. */
export const FAULT_KINDS: readonly FaultKind[] = [
  ...MEMORY_KINDS,
  ...WAITING_KINDS,
  ...MACHINE_KINDS,
];

/** At most this share of the faults goes away by itself. */
export const TRANSIENT_SHARE_MAX = 0.2;

/** One fault to play. */
export interface PlannedFault {
  readonly index: number;
  readonly kind: FaultKind;
  /** What its choices come from. */
  readonly seed: number;
}

/**
 * Plans so many faults. Each kind gets its share by weight, at least one where there is room; what the
 * roundings leave goes to the largest remainders. Throws when too many were transient.
 */
export function planFaults(seed: number, count: number): readonly PlannedFault[] {
  const random = seededRandom(seed);
  const kinds = shuffled(random, dealt(count));
  const transient = kinds.filter(({ isTransient }) => isTransient).length;
  invariant(transient <= count * TRANSIENT_SHARE_MAX, "most faults stay until something changes");
  return kinds.map((kind, index) => ({ index, kind, seed: nextInt(random, 2 ** 31) }));
}

function dealt(count: number): FaultKind[] {
  const total = FAULT_KINDS.reduce((sum, { weight }) => sum + weight, 0);
  const shares = FAULT_KINDS.map((kind) => {
    const share = (kind.weight / total) * count;
    const whole = Math.max(Math.floor(share), count >= FAULT_KINDS.length ? 1 : 0);
    return { kind, whole, rest: share - whole };
  });
  const order = [...shares].sort((a, b) => b.rest - a.rest);
  let left = count - shares.reduce((sum, { whole }) => sum + whole, 0);
  for (let at = 0; left !== 0; at = (at + 1) % order.length) {
    const share = order[left > 0 ? at : order.length - 1 - at];
    if (share === undefined) break;
    const step = Math.sign(left);
    if (share.whole + step < (step < 0 ? 1 : 0)) continue;
    share.whole += step;
    left -= step;
  }
  return shares.flatMap(({ kind, whole }) => Array.from({ length: whole }, () => kind));
}

function shuffled<T>(random: Random, items: readonly T[]): T[] {
  const result = [...items];
  for (let at = result.length - 1; at > 0; at -= 1) {
    const other = nextInt(random, at + 1);
    [result[at], result[other]] = [result[other] as T, result[at] as T];
  }
  return result;
}
