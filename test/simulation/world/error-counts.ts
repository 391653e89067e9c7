import type { Violation } from "./ledger.ts";
import type { SimDatabase } from "./database.ts";

/** What the numbers of the statistics are made from, and what they must be. */
const SUMS = `select
  (select count(*)::int from error_events) as open,
  (select count(*)::int from attempts
   where outcome = 'failed' or (started and outcome in ('stalled', 'instance_died'))) as attempts,
  coalesce(sum(errors), 0)::int as errors,
  coalesce(sum(recovered + failed + cancelled), 0)::int as settled
  from (
    select errors, recovered, failed, cancelled from error_counts
    where grain = 'all' and dimension = 'class'
    union all
    select (kind = 'error')::int, (kind = 'recovered')::int, (kind = 'failed')::int,
      (kind = 'cancelled')::int
    from error_changes
  ) as c`;

/** When every job has ended: each failed attempt is counted once, and settled once. */
export async function checkErrorCounts(database: SimDatabase): Promise<readonly Violation[]> {
  const [sums] = await database.read(SUMS);
  const { open, attempts, errors, settled } = sums ?? {};
  const isRight = open === 0 && errors === attempts && settled === errors;
  return isRight
    ? []
    : [{ rule: "statistics", what: `failed attempts and counts differ: ${JSON.stringify(sums)}` }];
}
