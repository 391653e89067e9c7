import { takeAdvisoryLock } from "./advisory-lock.ts";
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { PoolDb, Queryable } from "./db.ts";
import { buildIndexes, parseIndexBuilds, type IndexBuild } from "./index-builds.ts";
import type { Log } from "./log.ts";

/** One migration file. `breaking`: processes older than it cannot live with what it does. */
export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly checksum: string;
  readonly breaking: boolean;
  /** Its checksum before it was changed in a way that means nothing to who took it. */
  readonly was: string | null;
  /** What it builds outside of a transaction; null of a file that runs in one, as most do. */
  readonly indexes: readonly IndexBuild[] | null;
  readonly sql: string;
}

/** What the database remembers of a migration it took. */
export type AppliedMigration = Omit<Migration, "sql" | "was" | "indexes">;

/** What to do about a database, given the files and what it took already. */
export type MigrationPlan =
  | {
      readonly kind: "apply";
      readonly pending: readonly Migration[];
      /** Taken by a newer release and harmless to this one. */
      readonly unknown: readonly AppliedMigration[];
    }
  | { readonly kind: "refuse"; readonly reason: MigrationProblem; readonly message: string };

/** Why a database and the migration files do not fit together. */
export type MigrationProblem = "edited" | "missing" | "newer_database" | "out_of_order";

/** Thrown when {@link planMigrations} refuses; the message says what was found and what to do. */
export class MigrationError extends Error {
  readonly problem: MigrationProblem | "bad_folder";
  constructor(problem: MigrationProblem | "bad_folder", message: string) {
    super(message);
    this.name = "MigrationError";
    this.problem = problem;
  }
}

const FILE_NAME = /^(\d{4})_([a-z0-9_]+)\.sql$/;
const BREAKING = /^--!\s*breaking\b/m;
const CONCURRENTLY = /^--!\s*concurrently\b/m;
const WAS = /^--!\s*was ([0-9a-f]{64})\b/m;
/** Any constant will do, as long as every release uses the same. */
const LOCK_KEY = 7_283_280_001;

/** The migrations that this package ships, found from the sources as well as from the build. */
export function migrationsFolder(): string {
  return fileURLToPath(new URL("../../migrations", import.meta.url));
}

/** Reads a folder of `NNNN_name.sql` files in order. Throws MigrationError on a doubled number. */
export async function readMigrations(folder: string): Promise<Migration[]> {
  const migrations: Migration[] = [];
  for (const file of (await readdir(folder)).sort()) {
    const match = FILE_NAME.exec(file);
    if (match?.[1] === undefined || match[2] === undefined) {
      if (!file.endsWith(".sql")) continue;
      throw new MigrationError("bad_folder", `${file}: expected a name like 0007_what_changes.sql`);
    }
    const sql = (await readFile(join(folder, file), "utf8")).replaceAll("\r\n", "\n");
    const version = Number(match[1]);
    if (migrations.some((other) => other.version === version)) {
      throw new MigrationError("bad_folder", `${file}: number ${match[1]} is taken twice`);
    }
    migrations.push({
      version,
      name: match[2],
      checksum: createHash("sha256").update(sql).digest("hex"),
      breaking: BREAKING.test(sql),
      was: WAS.exec(sql)?.[1] ?? null,
      indexes: readIndexes(file, sql),
      sql,
    });
  }
  return migrations;
}

function readIndexes(file: string, sql: string): readonly IndexBuild[] | null {
  if (!CONCURRENTLY.test(sql)) return null;
  const indexes = parseIndexBuilds(sql);
  if (indexes !== undefined) return indexes;
  throw new MigrationError(
    "bad_folder",
    `${file}: expected nothing but statements like create index concurrently x on y (z), as --! concurrently says`,
  );
}

/**
 * Compares files with history. Pure. Refuses an edited or missing file, a gap filled afterwards,
 * and a database that a newer release changed in a way this one cannot live with.
 */
export function planMigrations(
  files: readonly Migration[],
  applied: readonly AppliedMigration[],
): MigrationPlan {
  const byVersion = new Map(files.map((file) => [file.version, file]));
  const newestFile = Math.max(0, ...files.map((file) => file.version));
  const unknown: AppliedMigration[] = [];
  for (const past of applied) {
    const label = migrationLabel(past);
    const file = byVersion.get(past.version);
    if (file === undefined && past.version > newestFile) {
      if (past.breaking) {
        return refuse(
          "newer_database",
          `the database was changed by a newer Holdfast (${label}), which this version cannot work with: install that version or a newer one`,
        );
      }
      unknown.push(past);
    } else if (file === undefined) {
      return refuse(
        "missing",
        `the database took migration ${label}, but its file is not here: restore the file, or use the release it belongs to`,
      );
    } else if (past.checksum !== file.checksum && past.checksum !== file.was) {
      return refuse(
        "edited",
        `migration ${label} was edited after the database took it: restore the file and put the change into a new one`,
      );
    }
  }
  const done = new Set(applied.map((past) => past.version));
  const newestDone = Math.max(0, ...done);
  const pending = files.filter((file) => !done.has(file.version));
  const late = pending.find((file) => file.version < newestDone);
  if (late !== undefined && unknown.length === 0) {
    return refuse(
      "out_of_order",
      `migration ${migrationLabel(late)} is older than ${newestDone}, which the database took already: give it a higher number`,
    );
  }
  return { kind: "apply", pending, unknown };
}

function refuse(reason: MigrationProblem, message: string): MigrationPlan {
  return { kind: "refuse", reason, message };
}

function migrationLabel(migration: Pick<Migration, "version" | "name">): string {
  return `${String(migration.version).padStart(4, "0")}_${migration.name}`;
}

/**
 * Brings the database up to date, forward only. Each file runs in a transaction of its own, under
 * an advisory lock, so any number of replicas may start at once; one that says `--! concurrently` is
 * built outside of it first (`index-builds.ts`). Returns what this call applied.
 * Throws {@link MigrationError} when files and history do not fit.
 */
export async function migrate(
  db: PoolDb,
  options: { readonly folder: string; readonly log: Log },
): Promise<readonly AppliedMigration[]> {
  const files = await readMigrations(options.folder);
  const applied: AppliedMigration[] = [];
  const built = new Set<number>();
  for (;;) {
    const next = await db.transaction((tx) => applyNext(tx, files, built), {
      statementTimeoutMs: 0,
    });
    if (next.toBuild !== undefined) {
      await buildIndexes(db, next.toBuild.indexes ?? [], options.log);
      built.add(next.toBuild.version);
      continue;
    }
    for (const past of next.unknown) {
      if (applied.length === 0)
        options.log.warn(
          { migration: migrationLabel(past) },
          "database was changed by a newer release",
        );
    }
    if (next.applied === undefined) return applied;
    options.log.info({ migration: migrationLabel(next.applied) }, "migration applied");
    applied.push(next.applied);
  }
}

async function applyNext(
  tx: Queryable,
  files: readonly Migration[],
  built: ReadonlySet<number>,
): Promise<{
  readonly applied?: AppliedMigration;
  /** Not applied before its indexes are there. */
  readonly toBuild?: Migration;
  readonly unknown: readonly AppliedMigration[];
}> {
  await takeAdvisoryLock(tx, LOCK_KEY);
  await tx.query(`create table if not exists schema_migrations (
    version integer primary key,
    name text not null,
    checksum text not null,
    breaking boolean not null,
    applied_at timestamptz not null default now()
  )`);
  const { rows } = await tx.query<AppliedMigration>(
    "select version, name, checksum, breaking from schema_migrations order by version",
  );
  const plan = planMigrations(files, rows);
  if (plan.kind === "refuse") throw new MigrationError(plan.reason, plan.message);
  const next = plan.pending[0];
  if (next === undefined) return { unknown: plan.unknown };
  if (next.indexes !== null && !built.has(next.version)) {
    return { toBuild: next, unknown: plan.unknown };
  }
  if (next.indexes === null) await tx.query(next.sql);
  await tx.query(
    "insert into schema_migrations (version, name, checksum, breaking) values ($1, $2, $3, $4)",
    [next.version, next.name, next.checksum, next.breaking],
  );
  const { version, name, checksum, breaking } = next;
  return { applied: { version, name, checksum, breaking }, unknown: plan.unknown };
}
