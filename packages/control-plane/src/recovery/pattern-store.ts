import { parseCustomPattern, toWirePattern, type CustomPattern } from "@holdfast/recovery";
import { toJson, type Queryable } from "../platform/db.ts";
import type { KnownPattern } from "./pattern-model.ts";

interface PatternRow {
  name: string;
  spec: unknown;
  updated_at: number;
}

/** Null for a row that this version cannot read: a newer one wrote it. */
function toPattern(row: PatternRow): KnownPattern | null {
  const parsed = parseCustomPattern(row.spec);
  if (parsed.kind === "invalid") return null;
  return { pattern: parsed.pattern, source: "api", updatedAt: row.updated_at };
}

/** What the table holds: patterns in the order in which they were made, and names that cannot be read. */
export interface StoredPatterns {
  readonly patterns: readonly KnownPattern[];
  readonly unreadable: readonly string[];
}

/** Keeps everybody else from writing patterns until the transaction ends; readers go on. */
export async function lockPatterns(tx: Queryable): Promise<void> {
  await tx.query("lock table error_patterns in share row exclusive mode");
}

/** Every pattern. There are few: the API takes 200. */
export async function selectPatterns(db: Queryable): Promise<StoredPatterns> {
  const { rows } = await db.query<PatternRow>(
    "select name, spec, updated_at from error_patterns order by created_at, name",
  );
  const patterns: KnownPattern[] = [];
  const unreadable: string[] = [];
  for (const row of rows) {
    const pattern = toPattern(row);
    if (pattern === null) unreadable.push(row.name);
    else patterns.push(pattern);
  }
  return { patterns, unreadable };
}

/** A text that differs when the table does. */
export async function readPatternsDigest(db: Queryable): Promise<string> {
  const { rows } = await db.query<{ digest: string }>(
    "select coalesce(string_agg(name || ':' || revision, ',' order by name), '') as digest from error_patterns",
  );
  return rows[0]?.digest ?? "";
}

/** Adds a pattern. False when its name is taken. */
export async function insertPattern(tx: Queryable, pattern: CustomPattern): Promise<boolean> {
  const { rowCount } = await tx.query(
    "insert into error_patterns (name, spec) values ($1, $2) on conflict (name) do nothing",
    [pattern.name, toJson(toWirePattern(pattern))],
  );
  return rowCount > 0;
}

/** Puts a pattern in the place of the one of its name, or adds it. */
export async function putPattern(tx: Queryable, pattern: CustomPattern): Promise<void> {
  await tx.query(
    `insert into error_patterns (name, spec) values ($1, $2)
     on conflict (name) do update set spec = excluded.spec, revision = default, updated_at = now()`,
    [pattern.name, toJson(toWirePattern(pattern))],
  );
}

/** Takes a pattern away. False when there is none of the name. */
export async function deletePattern(db: Queryable, name: string): Promise<boolean> {
  const { rowCount } = await db.query("delete from error_patterns where name = $1", [name]);
  return rowCount > 0;
}
