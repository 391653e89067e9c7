/** Silences in SQL. */
import { matcherText, parseMatcher, type Matcher, type Silence } from "@holdfast/alerts";
import { toTimestamp, type Queryable } from "../platform/db.ts";

/** A silence as it is kept. */
export interface StoredSilence extends Silence {
  readonly reason: string;
  readonly createdBy: string;
}

interface SilenceRow {
  readonly id: string;
  readonly matchers: readonly string[];
  readonly reason: string;
  readonly created_by: string;
  readonly starts_at: number;
  readonly ends_at: number;
}

/** A matcher that this version cannot read fits nothing: better told too much than too little. */
const FITS_NOTHING: Matcher = { name: "rule", isEqual: true, value: "" };

function toSilence(row: SilenceRow): StoredSilence {
  return {
    id: row.id,
    matchers: row.matchers.map((text) => parseMatcher(text) ?? FITS_NOTHING),
    reason: row.reason,
    createdBy: row.created_by,
    startsAt: row.starts_at,
    endsAt: row.ends_at,
  };
}

/** Makes a silence from now on, unless there are `limit` in force: then undefined. */
export async function insertSilence(
  db: Queryable,
  silence: Pick<StoredSilence, "id" | "matchers" | "reason" | "createdBy">,
  forMs: number,
  limit: number,
  nowMs: number | null,
): Promise<StoredSilence | undefined> {
  const { rows } = await db.query<SilenceRow>(
    `insert into alert_silences (id, matchers, reason, created_by, starts_at, ends_at)
     select $1, $2, $3, $4, coalesce($5::timestamptz, now()),
       coalesce($5::timestamptz, now()) + make_interval(secs => $6)
     where (select count(*) from alert_silences
       where ends_at > coalesce($5::timestamptz, now())) < $7
     returning *`,
    [
      silence.id,
      silence.matchers.map(matcherText),
      silence.reason,
      silence.createdBy,
      toTimestamp(nowMs),
      forMs / 1_000,
      limit,
    ],
  );
  return rows[0] === undefined ? undefined : toSilence(rows[0]);
}

/** Silences that have not ended. */
export async function selectActiveSilences(
  db: Queryable,
  nowMs: number | null,
): Promise<StoredSilence[]> {
  const { rows } = await db.query<SilenceRow>(
    "select * from alert_silences where ends_at > coalesce($1::timestamptz, now()) order by id",
    [toTimestamp(nowMs)],
  );
  return rows.map(toSilence);
}

/** A page of silences, newest first. */
export async function selectSilences(
  db: Queryable,
  page: { readonly cursor: string | null; readonly limit: number },
): Promise<StoredSilence[]> {
  const { rows } = await db.query<SilenceRow>(
    `select * from alert_silences where $1::text is null or id < $1 order by id desc limit $2`,
    [page.cursor, page.limit],
  );
  return rows.map(toSilence);
}

/** Ends a silence now; one that has ended stays as it is. Undefined when there is none. */
export async function endSilence(
  db: Queryable,
  id: string,
  nowMs: number | null,
): Promise<StoredSilence | undefined> {
  const { rows } = await db.query<SilenceRow>(
    `update alert_silences set ends_at = greatest(starts_at,
       least(ends_at, coalesce($2::timestamptz, now())))
     where id = $1 returning *`,
    [id, toTimestamp(nowMs)],
  );
  return rows[0] === undefined ? undefined : toSilence(rows[0]);
}

/** Forgets silences that ended long ago. Returns how many. */
export async function pruneSilences(
  db: Queryable,
  keepMs: number,
  nowMs: number | null,
): Promise<number> {
  const { rowCount } = await db.query(
    `delete from alert_silences
     where ends_at < coalesce($1::timestamptz, now()) - make_interval(secs => $2)`,
    [toTimestamp(nowMs), keepMs / 1_000],
  );
  return rowCount;
}
