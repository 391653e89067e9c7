import type { ResultRecord } from "./record.ts";

/** The ends of one run. */
export interface RunEnds {
  /** The one that counts: a completed one wins, otherwise the later (I2 of the records). */
  readonly last: ResultRecord;
  /** The others, one for each attempt, in their order. */
  readonly before: readonly ResultRecord[];
  /** The highest attempt that ended. */
  readonly attempts: number;
}

/** Puts records together that may come in any order and twice; in the order of the runs' numbers. */
export function endsByRun(records: Iterable<ResultRecord>): readonly RunEnds[] {
  const byRun = new Map<number, Map<number, ResultRecord>>();
  for (const record of records) {
    const attempts = byRun.get(record.index) ?? new Map<number, ResultRecord>();
    byRun.set(record.index, attempts);
    const known = attempts.get(record.attempt);
    if (known?.status !== "completed") attempts.set(record.attempt, record);
  }
  return [...byRun]
    .sort(([a], [b]) => a - b)
    .flatMap(([, attempts]) => {
      const inOrder = [...attempts.values()].sort((a, b) => a.attempt - b.attempt);
      const last = inOrder.findLast(({ status }) => status === "completed") ?? inOrder.at(-1);
      if (last === undefined) return [];
      const before = inOrder.filter((record) => record !== last);
      return [{ last, before, attempts: inOrder.at(-1)?.attempt ?? last.attempt }];
    });
}
