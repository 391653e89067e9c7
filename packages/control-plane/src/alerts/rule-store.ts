/** The operators' own rules in SQL. */
import { entryName, parseAlertRule, toWireRule, type RuleEntry } from "@holdfast/alerts";
import { toJson, type Queryable } from "../platform/db.ts";

/** What the table holds: rules in the order in which they were made, and names that cannot be read. */
export interface StoredRules {
  readonly rules: readonly RuleEntry[];
  /** A newer version wrote them. */
  readonly unreadable: readonly string[];
}

/** Keeps everybody else from writing rules until the transaction ends; readers go on. */
export async function lockRules(tx: Queryable): Promise<void> {
  await tx.query("lock table alert_rules in share row exclusive mode");
}

/** Every rule of the table. */
export async function selectRules(db: Queryable): Promise<StoredRules> {
  const { rows } = await db.query<{ name: string; spec: unknown }>(
    "select name, spec from alert_rules order by created_at, name",
  );
  const rules: RuleEntry[] = [];
  const unreadable: string[] = [];
  for (const { name, spec } of rows) {
    const parsed = parseAlertRule(spec);
    if (parsed.kind === "ok") rules.push(parsed.value);
    else unreadable.push(name);
  }
  return { rules, unreadable };
}

/** A text that differs when the table does. */
export async function readRulesDigest(db: Queryable): Promise<string> {
  const { rows } = await db.query<{ digest: string }>(
    "select coalesce(string_agg(name || ':' || revision, ',' order by name), '') as digest from alert_rules",
  );
  return rows[0]?.digest ?? "";
}

/** Puts a rule in the place of the one of its name, or adds it. */
export async function putRule(tx: Queryable, entry: RuleEntry): Promise<void> {
  await tx.query(
    `insert into alert_rules (name, spec) values ($1, $2)
     on conflict (name) do update set spec = excluded.spec, revision = default, updated_at = now()`,
    [entryName(entry), toJson(toWireRule(entry))],
  );
}

/** Takes a rule away. False when there is none of the name. */
export async function deleteRule(db: Queryable, name: string): Promise<boolean> {
  const { rowCount } = await db.query("delete from alert_rules where name = $1", [name]);
  return rowCount > 0;
}
