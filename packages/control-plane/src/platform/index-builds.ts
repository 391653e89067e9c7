/**
 * Indexes on tables that are big, built while writers go on. Postgres does that in no transaction, so a
 * build that is cut off leaves an index behind which is kept up to date and used for nothing: it is
 * dropped and built anew by the next start.
 */
import type { PoolDb, Queryable } from "./db.ts";
import type { Log } from "./log.ts";

/** One index: the statement that builds it, `create index concurrently NAME on …`. */
export interface IndexBuild {
  readonly name: string;
  readonly sql: string;
}

const BUILD = /^create (?:unique )?index concurrently ([a-z_]+) on [a-z_]+\s*\([^;]+$/;
/**
 * Of its own, and only tried for: who waits for a lock in a statement holds a snapshot, and the build
 * waits for everybody's. The two would wait for each other, and Postgres would see no circle in it when
 * a process stands between.
 */
const LOCK_KEY = 7_283_280_002;
const LOOK_AGAIN_SECONDS = 0.5;

/** The builds of a file that says `--! concurrently`; undefined when it holds anything else. */
export function parseIndexBuilds(sql: string): readonly IndexBuild[] | undefined {
  const statements = sql
    .replaceAll(/^--.*$/gm, "")
    .split(";")
    .map((statement) => statement.trim())
    .filter((statement) => statement !== "");
  const builds = statements.flatMap((statement) => {
    const name = BUILD.exec(statement)?.[1];
    return name === undefined ? [] : [{ name, sql: statement }];
  });
  return builds.length > 0 && builds.length === statements.length ? builds : undefined;
}

/** Builds those that are not there; safe to repeat, and to call from many replicas at once. */
export async function buildIndexes(
  db: Pick<PoolDb, "session">,
  builds: readonly IndexBuild[],
  log: Log,
): Promise<void> {
  await db.session(async (on) => {
    await takeTurn(on);
    for (const build of builds) await buildIndex(on, build, log);
  });
}

/** Ends with the session. However long another replica builds: without the index there is no start. */
async function takeTurn(on: Queryable): Promise<void> {
  for (;;) {
    const { rows } = await on.query<{ locked: boolean }>(
      "select pg_try_advisory_lock($1) as locked",
      [LOCK_KEY],
    );
    if (rows[0]?.locked === true) return;
    await on.query("select pg_sleep($1)", [LOOK_AGAIN_SECONDS]);
  }
}

async function buildIndex(on: Queryable, { name, sql }: IndexBuild, log: Log): Promise<void> {
  const { rows } = await on.query<{ isValid: boolean }>(
    `select indisvalid as "isValid" from pg_index where indexrelid = to_regclass($1)`,
    [name],
  );
  const found = rows[0];
  if (found?.isValid === true) return;
  if (found !== undefined) {
    log.warn({ index: name }, "index of a build that was cut off, built anew");
    await on.query(`drop index concurrently ${name}`);
  }
  await on.query(sql);
  log.info({ index: name }, "index built");
}
