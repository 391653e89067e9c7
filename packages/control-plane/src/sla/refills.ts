/** Which machine took the place of one that failed. Pure. */
import type { PoolEvent, SlotLoss, TimeRange } from "./model.ts";

/**
 * Machines that had been healthy and failed in the range, each with when its pool had another one in its
 * place: of machines that became healthy later each refills one loss, the oldest first. One that never
 * was healthy filled no slot, and its end loses none.
 */
export function machineLosses(
  events: readonly PoolEvent[],
  { from, to }: TimeRange,
): readonly SlotLoss[] {
  const losses: SlotLoss[] = [];
  for (const pool of new Set(events.map((one) => one.pool))) {
    const ofPool = events.filter((one) => one.pool === pool);
    const lost = ofPool
      .filter((one) => one.healthyAt !== null && isWithin(one.failedAt, from, to))
      .sort((a, b) => (a.failedAt ?? 0) - (b.failedAt ?? 0));
    const healthy = ofPool.flatMap((one) => one.healthyAt ?? []).sort((a, b) => a - b);
    let next = 0;
    for (const { name, reason, failedAt } of lost) {
      const lostAt = failedAt ?? 0;
      while (next < healthy.length && (healthy[next] ?? 0) <= lostAt) next += 1;
      const refilledAt = healthy[next] ?? null;
      if (refilledAt !== null) next += 1;
      losses.push({ kind: "machine", name, reason, lostAt, refilledAt, leftAt: null });
    }
  }
  return losses.sort((a, b) => b.lostAt - a.lostAt);
}

function isWithin(at: number | null, from: number, to: number): boolean {
  return at !== null && at >= from && at < to;
}
