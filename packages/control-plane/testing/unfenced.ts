/** What the fence is in SQL, and how to take it out of a statement: for the twins of the fence's tests. */
import type { Db } from "../src/platform/db.ts";

/** Replacements in the text of a statement: each `from` must be there. */
export type StatementEdits = readonly (readonly [from: string, to: string])[];

/**
 * By statement, what makes a report of a holder that has lost its lease count all the same: the epochs
 * are not compared, nor does it matter that the attempt was ended when its lease ran out, or that the job
 * has ended. What is left in: an attempt's own success counts once, when its report comes twice.
 */
export const UNFENCED: Readonly<Record<string, StatementEdits>> = {
  "scheduler.report_facts": [
    ['a.outcome as "attemptOutcome"', `nullif(a.outcome, 'lease_lost') as "attemptOutcome"`],
    ['j.lease_epoch as "jobEpoch"', 'a.lease_epoch as "jobEpoch"'],
    ['j.state as "jobState"', `'processing' as "jobState"`],
  ],
  "scheduler.complete": [
    ["j.lease_epoch = g.lease_epoch and j.state = 'processing'", "g.lease_epoch is not null"],
    ["and a.outcome is null", "and coalesce(a.outcome, 'lease_lost') = 'lease_lost'"],
  ],
};

/** A database on which a report counts whatever epoch it was made under. */
export function withoutFence(db: Db): Db {
  return {
    ...db,
    query(text, values) {
      const edits = typeof text === "string" ? undefined : UNFENCED[text.name];
      if (typeof text === "string" || edits === undefined) return db.query(text, values);
      let unfenced = text.text;
      for (const [from, to] of edits) {
        if (!unfenced.includes(from)) throw new Error(`${text.name} has no "${from}" any more`);
        unfenced = unfenced.replace(from, to);
      }
      return db.query({ name: `${text.name}.unfenced`, text: unfenced }, values);
    },
  };
}
