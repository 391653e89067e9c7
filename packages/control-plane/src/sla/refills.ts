/** Which machine took the place of one that failed. Pure. */
import type { PoolEvent, SlotLoss, TimeRange } from "./model.ts";

/**
 * Machines that had been healthy and failed in the range, each with when its pool had another one in its
 * place: of machines that became healthy later each refills one loss, the oldest first. One that never
 * was healthy filled no slot, and its end loses none. Of what nobody refilled, no more is missing than the
 * pool lacks (`lacking`, by pool; what is not in it lacks all): the newest losses. The others were given up, with
 * the next machine of the pool that was ended on purpose, or at once where none was: no round of the fleet
 * wanted another one. What failed before the range is told as long as it is missing.
 */
export function machineLosses(
  events: readonly PoolEvent[],
  range: TimeRange,
  lacking: ReadonlyMap<string, number> = new Map(),
): readonly SlotLoss[] {
  const pools = new Set(events.map((one) => one.pool));
  const losses = [...pools].flatMap((pool) => {
    const ofPool = events.filter((one) => one.pool === pool);
    return lossesOfPool(ofPool, range, lacking.get(pool) ?? Infinity);
  });
  return losses.sort((a, b) => b.lostAt - a.lostAt);
}

function lossesOfPool(
  events: readonly PoolEvent[],
  { from, to }: TimeRange,
  lacking: number,
): readonly SlotLoss[] {
  const lost = events.flatMap(({ name, reason, healthyAt, failedAt }) =>
    healthyAt === null || failedAt === null || failedAt >= to
      ? []
      : [{ name, reason, lostAt: failedAt }],
  );
  lost.sort((a, b) => a.lostAt - b.lostAt);
  const healthy = createTaker(events.map((one) => one.healthyAt));
  const ended = createTaker(events.map((one) => one.endedAt));
  // Those of the range first: what nobody wanted long ago takes no machine from them.
  const recent = lost.filter(({ lostAt }) => lostAt >= from);
  const older = lost.filter(({ lostAt }) => lostAt < from);
  const told = [...recent, ...older].map((one) => ({
    ...one,
    kind: "machine" as const,
    refilledAt: healthy(one.lostAt),
  }));
  const open = told.filter((one) => one.refilledAt === null).sort((a, b) => b.lostAt - a.lostAt);
  const missing = new Set(open.slice(0, lacking));
  return told
    .filter((one) => one.lostAt >= from || missing.has(one))
    .map((one) => {
      const isLeft = one.refilledAt === null && !missing.has(one);
      return { ...one, leftAt: isLeft ? (ended(one.lostAt) ?? one.lostAt) : null };
    });
}

/** Gives each instant once: the first one after another. */
function createTaker(instants: readonly (number | null)[]): (after: number) => number | null {
  const left = instants.flatMap((at) => at ?? []).sort((a, b) => a - b);
  return (after) => {
    const index = left.findIndex((at) => at > after);
    return index < 0 ? null : (left.splice(index, 1)[0] ?? null);
  };
}
