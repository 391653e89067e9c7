/**
 * What the database went through: triggers write down every change of a job, an attempt, a lease, an
 * output and an event, in the transaction that makes it. Nothing that happens between two looks
 * escapes the invariants.
 */

/** A change of one row. Both sides for an update, `after` alone for an insert. */
export interface Change {
  readonly seq: number;
  /** Changes of one transaction have the same. */
  readonly xid: string;
  readonly table: "attempts" | "events" | "jobs" | "leases" | "outputs";
  readonly before: Readonly<Record<string, unknown>> | null;
  readonly after: Readonly<Record<string, unknown>> | null;
}

/** Columns that the invariants read. A change of none of them is no change. */
const COLUMNS = {
  jobs: [
    "id",
    "number",
    "state",
    "held",
    "poison",
    "round",
    "lineage",
    "lease_epoch",
    "attempt_count",
    "failure_count",
    "recovery_count",
    "dead_instances",
    "promised",
    "output_count",
    "run_at",
    "error",
  ],
  attempts: [
    "id",
    "job_id",
    "number",
    "round",
    "lineage",
    "lease_epoch",
    "instance_id",
    "prompt_id",
    "started",
    "outcome",
    "decision",
  ],
  leases: ["job_id", "lease_epoch", "attempt_id", "instance_id", "machine_id"],
  outputs: ["id", "job_id", "attempt_id", "lineage", "node_id", "ordinal", "sha256", "size_bytes"],
  events: ["id", "type", "job_id"],
} as const;

const rowOf = (row: "new" | "old", columns: readonly string[]): string =>
  `jsonb_build_object(${columns.map((column) => `'${column}', ${row}.${column}`).join(", ")})`;

const triggerOf = (table: string, columns: readonly string[]): string => `
  create function journal_${table}() returns trigger language plpgsql as $$
  declare
    b jsonb := case when tg_op <> 'INSERT' then ${rowOf("old", columns)} end;
    a jsonb := case when tg_op <> 'DELETE' then ${rowOf("new", columns)} end;
  begin
    if b is distinct from a then
      insert into sim_journal (tab, before, after) values ('${table}', b, a);
    end if;
    return null;
  end $$;
  create trigger sim_journal_${table} after insert or update or delete on ${table}
    for each row execute function journal_${table}();`;

/** Makes the journal in a migrated database. */
export const JOURNAL_SQL = `
  create table sim_journal (
    seq bigint generated always as identity primary key,
    xid text not null default pg_current_xact_id()::text,
    tab text not null,
    before jsonb,
    after jsonb
  );
  ${Object.entries(COLUMNS)
    .map(([table, columns]) => triggerOf(table, columns))
    .join("\n")}`;

/**
 * Changes after one, in the order in which they were made; none of a transaction that may still be
 * running. `seq` is not the order of commits where transactions ran side by side.
 */
export const READ_CHANGES = `
  select seq, xid, tab as "table", before, after from sim_journal
  where seq > $1 order by seq`;
