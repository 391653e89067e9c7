import { statement, type Queryable } from "../platform/db.ts";
import type { OutputFile, StoredFile } from "./model.ts";

/** A page of rows below `cursor`, newest first. */
export interface FilePage {
  /** Null lists everybody's. */
  readonly owner: string | null;
  readonly cursor: string | null;
  readonly limit: number;
}

interface FileRow {
  id: string;
  owner: string;
  name: string;
  sha256: string;
  size_bytes: number;
  media_type: string;
  created_at: number;
}

function toStoredFile(row: FileRow): StoredFile {
  return {
    id: row.id,
    owner: row.owner,
    name: row.name,
    sha256: row.sha256,
    sizeBytes: row.size_bytes,
    mediaType: row.media_type,
    createdAt: row.created_at,
  };
}

/** Makes the advisory locks of this feature differ from everybody else's. */
const LOCK_SEED = 7_283_281;

// The lock is shared among registrations and excludes the moment in which a collector removes bytes
// (model.ts I3). It is taken before the row is looked for and ends with the statement.
const REGISTER_BLOB = statement(
  "files_register_blob",
  `with locked as materialized (
     select pg_advisory_xact_lock_shared(hashtextextended($1, ${LOCK_SEED})) is not null as taken
   )
   insert into blobs (sha256, size_bytes) select $1, $2 from locked
   on conflict (sha256) do update set stored_at = now(), unnamed_since = null
   returning (xmax = 0) as is_new`,
);

/** Registers a stored blob, or keeps a known one for another grace period. True when it was new. */
export async function registerBlob(
  db: Queryable,
  blob: { readonly sha256: string; readonly sizeBytes: number },
): Promise<boolean> {
  const { rows } = await db.query<{ is_new: boolean }>(REGISTER_BLOB, [
    blob.sha256,
    blob.sizeBytes,
  ]);
  return rows[0]?.is_new === true;
}

/** Registers stored blobs, or keeps known ones for another grace period, in one statement. */
export async function registerBlobs(
  db: Queryable,
  blobs: readonly { readonly sha256: string; readonly sizeBytes: number }[],
): Promise<void> {
  await db.query(
    `insert into blobs (sha256, size_bytes)
     select sha256, size_bytes from unnest($1::text[], $2::bigint[]) as b (sha256, size_bytes)
     order by sha256
     on conflict (sha256) do update set stored_at = now(), unnamed_since = null`,
    [blobs.map((blob) => blob.sha256), blobs.map((blob) => blob.sizeBytes)],
  );
}

/** A blob touched within this time is not touched again: its grace period is much longer. */
export const TOUCH_EVERY_MS = 60 * 60 * 1000;

// A row that is fresh cannot be collected; one that is not counts only if this statement, and no
// collector, changed it. Rows are locked in order, so that two callers cannot block each other.
const TOUCH_BLOBS = statement(
  "files_touch_blobs",
  `with stale as (
     update blobs set stored_at = now(), unnamed_since = null where sha256 in (
       select sha256 from blobs
       where sha256 = any($1) and stored_at < now() - make_interval(secs => $2)
       order by sha256 for update
     ) returning sha256
   )
   select sha256 from stale
   union all
   select sha256 from blobs
   where sha256 = any($1) and stored_at >= now() - make_interval(secs => $2)`,
);

/** Those of the blobs that are registered; they are kept for another grace period. */
export async function touchBlobs(
  db: Queryable,
  sha256s: readonly string[],
): Promise<ReadonlySet<string>> {
  if (sha256s.length === 0) return new Set();
  const { rows } = await db.query<{ sha256: string }>(TOUCH_BLOBS, [
    sha256s,
    TOUCH_EVERY_MS / 1000,
  ]);
  return new Set(rows.map((row) => row.sha256));
}

/** Writes a file under its name; the bytes that the name meant before are forgotten. */
export async function upsertFile(
  db: Queryable,
  file: Pick<StoredFile, "id" | "owner" | "name" | "sha256" | "mediaType">,
): Promise<StoredFile> {
  const { rows } = await db.query<FileRow>(
    `with written as (
       insert into files (id, owner, name, sha256, media_type) values ($1, $2, $3, $4, $5)
       on conflict (owner, name) do update
         set sha256 = excluded.sha256, media_type = excluded.media_type, created_at = now()
       returning *
     )
     select written.*, blobs.size_bytes from written join blobs using (sha256)`,
    [file.id, file.owner, file.name, file.sha256, file.mediaType],
  );
  const row = rows[0];
  if (row === undefined) throw new Error("a file's blob was not registered");
  return toStoredFile(row);
}

/** One file; undefined when there is none that `owner` (null: anybody) has. */
export async function findFile(
  db: Queryable,
  id: string,
  owner: string | null,
): Promise<StoredFile | undefined> {
  const { rows } = await db.query<FileRow>(
    `select files.*, blobs.size_bytes from files join blobs using (sha256)
     where id = $1 and ($2::text is null or owner = $2)`,
    [id, owner],
  );
  return rows[0] === undefined ? undefined : toStoredFile(rows[0]);
}

/** A page of files. */
export async function selectFiles(db: Queryable, page: FilePage): Promise<StoredFile[]> {
  const { rows } = await db.query<FileRow>(
    `select files.*, blobs.size_bytes from files join blobs using (sha256)
     where ($1::text is null or owner = $1) and ($2::text is null or id < $2)
     order by id desc limit $3`,
    [page.owner, page.cursor, page.limit],
  );
  return rows.map(toStoredFile);
}

/** Files looked at: those that nobody used for long, and how far it was looked. */
export interface UnusedFiles {
  readonly ids: readonly string[];
  readonly last: string | undefined;
}

/** A blob is touched when a submit reads its file, but not within {@link TOUCH_EVERY_MS} of the last time. */
const IS_UNUSED = `f.created_at < now() - make_interval(secs => $1)
  and b.stored_at < now() - make_interval(secs => $1 + ${TOUCH_EVERY_MS / 1000})`;

/** Looks at the next `limit` files after an id for those that were not used for so long. */
export async function selectUnusedFiles(
  db: Queryable,
  unusedMs: number,
  after: string,
  limit: number,
): Promise<UnusedFiles> {
  const { rows } = await db.query<{ id: string; isUnused: boolean }>(
    `select f.id, ${IS_UNUSED} as "isUnused"
     from (select * from files where id > $2 order by id limit $3) f
     join blobs b using (sha256) order by f.id`,
    [unusedMs / 1000, after, limit],
  );
  return {
    ids: rows.filter((row) => row.isUnused).map((row) => row.id),
    last: rows.length === limit ? rows.at(-1)?.id : undefined,
  };
}

/** Deletes those of the files that are unused still and that nobody is just using; returns how many. */
export async function deleteUnusedFiles(
  db: Queryable,
  unusedMs: number,
  ids: readonly string[],
): Promise<number> {
  const { rowCount } = await db.query(
    `with free as materialized (
       select f.id from files f join blobs b using (sha256)
       where f.id = any($2) and ${IS_UNUSED} order by f.id for update skip locked
     )
     delete from files using free where files.id = free.id`,
    [unusedMs / 1000, ids],
  );
  return rowCount;
}

/** Deletes a file; its bytes go when nothing else names them. False when there was none. */
export async function deleteFile(
  db: Queryable,
  id: string,
  owner: string | null,
): Promise<boolean> {
  const { rowCount } = await db.query(
    "delete from files where id = $1 and ($2::text is null or owner = $2)",
    [id, owner],
  );
  return rowCount > 0;
}

const FIND_NAMED = statement(
  "files_find_named",
  `select name, sha256, size_bytes from files join blobs using (sha256)
   where owner = $1 and name = any($2)`,
);

/** The bytes that an owner's file names mean. */
export async function selectNamed(
  db: Queryable,
  owner: string,
  names: readonly string[],
): Promise<{ readonly name: string; readonly sha256: string; readonly sizeBytes: number }[]> {
  const { rows } = await db.query<{ name: string; sha256: string; size_bytes: number }>(
    FIND_NAMED,
    [owner, names],
  );
  return rows.map((row) => ({ name: row.name, sha256: row.sha256, sizeBytes: row.size_bytes }));
}

interface OutputRow {
  id: string;
  job_id: string;
  owner: string;
  node_id: string;
  ordinal: number;
  kind: OutputFile["kind"];
  name: string;
  media_type: string;
  size_bytes: number;
  sha256: string;
  temporary: boolean;
  text: string | null;
}

const FIND_OUTPUT = statement(
  "files_find_output",
  "select outputs.*, jobs.owner from outputs join jobs on jobs.id = job_id where outputs.id = $1",
);

/** One output with its job's owner. */
export async function findOutput(db: Queryable, id: string): Promise<OutputFile | undefined> {
  const { rows } = await db.query<OutputRow>(FIND_OUTPUT, [id]);
  const row = rows[0];
  if (row === undefined) return undefined;
  return {
    id: row.id,
    jobId: row.job_id,
    owner: row.owner,
    nodeId: row.node_id,
    ordinal: row.ordinal,
    kind: row.kind,
    name: row.name,
    mediaType: row.media_type,
    sizeBytes: row.size_bytes,
    sha256: row.sha256,
    temporary: row.temporary,
    text: row.text,
  };
}

const UNNAMED = `not exists (select from files where files.sha256 = blobs.sha256)
     and not exists (select from outputs where outputs.sha256 = blobs.sha256)
     and not exists (select from checkpoints where checkpoints.sha256 = blobs.sha256)
     and not exists (select from startup_runs where startup_runs.log_sha256 = blobs.sha256)`;

/** A place in the order in which old blobs are looked at. Instants as Postgres writes them. */
export interface BlobPlace {
  readonly storedAt: string;
  readonly sha256: string;
}

/** Blobs looked at that no file, output, checkpoint or machine's run names, and how far it was looked. */
export interface UnnamedBlobs {
  /** Seen so for the first time. */
  readonly found: readonly string[];
  /** Seen so for the first time longer ago than the grace period. */
  readonly over: readonly string[];
  /** Noted as unnamed before, and named again. */
  readonly named: readonly string[];
  /** The last blob looked at; undefined at the end of the old ones. */
  readonly last: BlobPlace | undefined;
}

/**
 * Looks at the next `limit` blobs, in order of age, that were last stored or touched before the grace
 * period, for those that no file, output, checkpoint or machine's run names.
 */
export async function selectUnnamedBlobs(
  db: Queryable,
  graceMs: number,
  after: BlobPlace | undefined,
  limit: number,
): Promise<UnnamedBlobs> {
  const { rows } = await db.query<BlobPlace & { isUnnamed: boolean; isOver: boolean | null }>(
    `select sha256, stored_at::text as "storedAt", ${UNNAMED} as "isUnnamed",
       unnamed_since < now() - make_interval(secs => $1) as "isOver"
     from (
       select sha256, stored_at, unnamed_since from blobs
       where stored_at < now() - make_interval(secs => $1)
         and (stored_at, sha256) > (coalesce($2::timestamptz, '-infinity'), $3)
       order by stored_at, sha256 limit $4
     ) as blobs
     order by stored_at, sha256`,
    [graceMs / 1000, after?.storedAt ?? null, after?.sha256 ?? "", limit],
  );
  const unnamed = rows.filter((row) => row.isUnnamed);
  const named = rows.filter((row) => !row.isUnnamed && row.isOver !== null);
  return {
    found: unnamed.filter((row) => row.isOver === null).map((row) => row.sha256),
    over: unnamed.filter((row) => row.isOver === true).map((row) => row.sha256),
    named: named.map((row) => row.sha256),
    last: rows.length === limit ? rows.at(-1) : undefined,
  };
}

/** Notes that nothing names some blobs from now on, and that others are named again. */
export async function noteUnnamed(
  db: Queryable,
  { found, named }: Pick<UnnamedBlobs, "found" | "named">,
): Promise<void> {
  await db.query(
    `with noted as materialized (
       select sha256 from blobs
       where sha256 = any($1) and unnamed_since is null or sha256 = any($2)
       order by sha256 for update skip locked
     )
     update blobs set unnamed_since = case when ${UNNAMED} then now() end
     from noted where blobs.sha256 = noted.sha256`,
    [found, named],
  );
}

/** Those of the blobs that are inputs of a job: it may be run, or run again, at any time. */
export async function selectJobInputs(
  db: Queryable,
  sha256s: readonly string[],
): Promise<string[]> {
  // As the index on the inputs has it: only jobs that read one of these are looked at.
  const { rows } = await db.query<{ sha256: string }>(
    `select distinct input ->> 'sha256' as sha256
     from jobs, jsonb_array_elements(inputs) as input
     where inputs <> '[]' and jsonb_path_query_array(inputs, '$[*].sha256') ?| $1
       and input ->> 'sha256' = any($1)`,
    [sha256s],
  );
  return rows.map((row) => row.sha256);
}

/** Deletes a blob's row if it may still go; gives its size, undefined when it is wanted again. */
export async function deleteUnnamedBlob(
  db: Queryable,
  sha256: string,
  graceMs: number,
): Promise<number | undefined> {
  const { rows } = await db.query<{ size_bytes: number }>(
    `delete from blobs
     where sha256 = $1 and stored_at < now() - make_interval(secs => $2)
       and unnamed_since < now() - make_interval(secs => $2) and ${UNNAMED}
     returning size_bytes`,
    [sha256, graceMs / 1000],
  );
  return rows[0]?.size_bytes;
}

/** Holds off registrations of a blob until the transaction ends. */
export async function lockBlob(tx: Queryable, sha256: string): Promise<void> {
  await tx.query(`select pg_advisory_xact_lock(hashtextextended($1, ${LOCK_SEED}))`, [sha256]);
}

/** Whether a blob is registered. */
export async function isRegistered(db: Queryable, sha256: string): Promise<boolean> {
  const { rows } = await db.query("select from blobs where sha256 = $1", [sha256]);
  return rows.length > 0;
}

/** Puts the row of a blob back whose bytes could not be removed, as old as it was. */
export async function restoreBlob(
  tx: Queryable,
  blob: { readonly sha256: string; readonly sizeBytes: number; readonly ageMs: number },
): Promise<void> {
  await tx.query(
    `insert into blobs (sha256, size_bytes, stored_at, unnamed_since)
     values ($1, $2, now() - make_interval(secs => $3), now() - make_interval(secs => $3))
     on conflict (sha256) do nothing`,
    [blob.sha256, blob.sizeBytes, blob.ageMs / 1000],
  );
}
