import { statement, type Queryable } from "../platform/db.ts";
import { PACE_PAGES, paceOf } from "./pace.ts";
import type { BookStanding } from "./standing.ts";

/*
 * A page that was given out and not noted yet has still the start of its round before. What was tried
 * without a job took no time, and what was cancelled tells none. A round that is due waits for no instant.
 */
const STANDINGS = statement(
  "batches.standings",
  `select b.id, now() as "nowMs", e.starts, e.ends, r.since as "renderingSince", w.pages,
     w.first_at as "firstAt", w.last_at as "lastAt"
   from batches b
   cross join lateral (
     select array_agg((extract(epoch from last_attempted_at) * 1000)::float8) as starts,
       array_agg((extract(epoch from ended_at) * 1000)::float8) as ends
     from (
       select last_attempted_at, ended_at from book_pages
       where batch_id = b.id and ended_at is not null and state in ('done', 'attention')
         and last_attempted_at < ended_at
       order by ended_at desc limit ${PACE_PAGES}) recent) e
   cross join lateral (
     select min(coalesce(releasing_since, last_attempted_at)) as since from book_pages
     where batch_id = b.id and state = 'rendering') r
   cross join lateral (
     select count(*)::int as pages, min(retry_at) as first_at, max(retry_at) as last_at
     from book_pages where batch_id = b.id and retry_at > now()) w
   where b.id = any($1::text[])`,
);

interface StandingRow {
  readonly id: string;
  readonly nowMs: number;
  readonly starts: readonly number[] | null;
  readonly ends: readonly number[] | null;
  readonly renderingSince: number | null;
  readonly pages: number;
  readonly firstAt: number | null;
  readonly lastAt: number | null;
}

/** How far batches are that are going: their pace lately, and which pages wait. */
export async function readStandings(
  db: Queryable,
  ids: readonly string[],
): Promise<ReadonlyMap<string, BookStanding>> {
  const { rows } = await db.query<StandingRow>(STANDINGS, [ids]);
  return new Map(rows.map((row) => [row.id, toStanding(row)]));
}

function toStanding(row: StandingRow): BookStanding {
  const { nowMs, firstAt, lastAt, pages } = row;
  const starts = row.starts ?? [];
  const spans = (row.ends ?? []).map((endedAt, at) => ({
    startedAt: starts[at] ?? endedAt,
    endedAt,
  }));
  return {
    nowMs,
    pace: paceOf(spans, row.renderingSince, nowMs),
    waits: firstAt === null || lastAt === null ? null : { pages, firstAt, lastAt },
  };
}
