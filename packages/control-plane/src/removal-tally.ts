/** Everything that is removed by itself when its time is over: the labels of the metric. */
export const REMOVED_KINDS = [
  "job",
  "attempt",
  "output",
  "checkpoint",
  "graph",
  "requirement",
  "idempotency_key",
  "event",
  "webhook_delivery",
  "book_row",
  "alert",
  "alert_delivery",
  "machine",
  "instance",
  "inventory",
  "startup_run",
  "enrolment",
  "file",
  "blob",
] as const;
/** One of {@link REMOVED_KINDS}. */
export type RemovedKind = (typeof REMOVED_KINDS)[number];

/** Rows that this process has removed since it started. */
export interface RemovalTally {
  add(kind: RemovedKind, count: number): void;
  totals(): ReadonlyMap<RemovedKind, number>;
}

/** Makes a tally with zeros: a series that is there from the start shows its first rise. */
export function createRemovalTally(): RemovalTally {
  const totals = new Map<RemovedKind, number>(REMOVED_KINDS.map((kind) => [kind, 0]));
  return {
    add: (kind, count) => void totals.set(kind, (totals.get(kind) ?? 0) + count),
    totals: () => totals,
  };
}
