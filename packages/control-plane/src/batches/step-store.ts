/** Statements of a step: what is settled, given out and noted. All under the lock of the batch (I1). */
import { jobErrorSchema, type JobChanges, type JobError } from "@holdfast/contract";
import {
  statement,
  toJson,
  toTimestamp,
  type Queryable,
  type Transaction,
} from "../platform/db.ts";
import { MAX_PROMPT_IDS, STALE_RELEASE_MS, type ReleasedPage } from "./model.ts";
import { RELEASED_COLUMNS, toChanges, toReleasedPage, type ReleasedRow } from "./page-rows.ts";
import type { JobEnd, PageTurn } from "./settling.ts";
import { withError } from "./settling.ts";

const TAKE_TURNS = statement(
  "batches.take_turns",
  "delete from book_turns where batch_id = $1 returning job_id",
);

/** Takes what was told of a batch's jobs: their ids. */
export async function takeTurns(db: Queryable, batchId: string): Promise<string[]> {
  const { rows } = await db.query<{ job_id: string }>(TAKE_TURNS, [batchId]);
  return [...new Set(rows.map((row) => row.job_id))];
}

const REOPEN = statement(
  "batches.reopen",
  `update book_pages p set state = 'rendering', retry_at = null, ended_at = null,
     last_attempted_at = now()
   from jobs j
   where p.batch_id = $1 and p.job_id = any($2::text[]) and j.id = p.job_id
     and p.state <> 'rendering' and j.round > p.settled_round`,
);

/** Pages whose job somebody has queued again render again; gives how many. */
export async function reopenPages(
  tx: Transaction,
  batchId: string,
  jobIds: readonly string[],
): Promise<number> {
  const { rowCount } = await tx.query(REOPEN, [batchId, jobIds]);
  return rowCount;
}

/** A page whose job has ended in a round that is not settled yet, or is gone. */
export interface EndedPage {
  readonly page: ReleasedPage;
  readonly end: JobEnd | { readonly state: "gone"; readonly jobId: string };
  readonly promptIds: readonly string[];
  /** What recovery changed in the graph that the round ended with. */
  readonly changes: JobChanges | null;
}

const ENDED = statement(
  "batches.ended_pages",
  `select ${RELEASED_COLUMNS}, p.prompt_ids, j.state as job_state, j.poison, j.round, j.error, j.plan->'changes' as job_changes,
     (select array_agg(a.prompt_id order by a.number) from attempts a where a.job_id = p.job_id)
       as live_prompt_ids
   from book_pages p left join jobs j on j.id = p.job_id
   where p.batch_id = $1 and p.state = 'rendering' and p.releasing_since is null
     and (j.id is null or (j.ended_at is not null and j.round > p.settled_round))
   order by p.page limit $2`,
);

interface EndedRow extends ReleasedRow {
  readonly prompt_ids: string[];
  readonly job_state: JobEnd["state"] | null;
  readonly poison: boolean | null;
  readonly round: number | null;
  readonly error: unknown;
  readonly job_changes: unknown;
  readonly live_prompt_ids: string[] | null;
}

/** The first pages of a batch that are to be settled. */
export async function readEndedPages(
  tx: Transaction,
  batchId: string,
  limit: number,
): Promise<EndedPage[]> {
  const { rows } = await tx.query<EndedRow>(ENDED, [batchId, limit]);
  return rows.map((row) => {
    const jobId = row.job_id ?? "";
    return {
      page: toReleasedPage(row),
      end:
        row.job_state === null
          ? { state: "gone", jobId }
          : {
              state: row.job_state,
              jobId,
              poison: row.poison === true,
              round: row.round ?? 1,
              error: toJobError(row.error),
            },
      promptIds: [...new Set([...row.prompt_ids, ...(row.live_prompt_ids ?? [])])].slice(
        -MAX_PROMPT_IDS,
      ),
      changes: toChanges(row.job_changes),
    };
  });
}

function toJobError(value: unknown): JobError | null {
  return value === null ? null : (jobErrorSchema.safeParse(value).data ?? null);
}

/** What a page comes to. */
export interface SettledPage {
  readonly page: ReleasedPage;
  readonly turn: PageTurn;
  /** The round of its job that this settles; left out: as it is. */
  readonly round?: number;
  /** Of that round. */
  readonly changes?: JobChanges | null;
  readonly promptIds?: readonly string[];
  /** A try without a job is one as well. */
  readonly isAttempt?: boolean;
}

const SETTLE = statement(
  "batches.settle",
  `update book_pages p set state = r.state, releasing_since = null, retry_at = r.retry_at,
     retry_count = coalesce(r.retry_count, p.retry_count),
     settled_round = coalesce(r.round, p.settled_round),
     changes = case when r.round is null then p.changes else r.changes end,
     image_errors = coalesce(r.image_errors, p.image_errors),
     prompt_ids = coalesce(r.prompt_ids, p.prompt_ids),
     last_attempted_at = case when r.is_attempt then now() else p.last_attempted_at end,
     ended_at = case when r.state in ('attention', 'done', 'cancelled') then now() end
   from json_to_recordset($2::json) as r (page int, version int, retried int, state text,
     retry_at timestamptz, retry_count int, round int, changes jsonb, image_errors jsonb,
     prompt_ids text[], is_attempt boolean)
   where p.batch_id = $1 and p.page = r.page and p.version = r.version and p.retry_count = r.retried
     and p.state = 'rendering'
   returning p.page`,
);

const STATE_OF = {
  done: "done",
  cancelled: "cancelled",
  retry: "pending",
  flagged: "attention",
} as const;

/** Writes what pages that were rendering come to; gives those of which that was still true. */
export async function settlePages(
  tx: Transaction,
  batchId: string,
  settled: readonly SettledPage[],
): Promise<ReadonlySet<number>> {
  if (settled.length === 0) return new Set();
  const rows = settled.map(({ page, turn, round, changes, promptIds, isAttempt }) => ({
    page: page.page,
    version: page.version,
    retried: page.retryCount,
    state: STATE_OF[turn.kind],
    retry_at: turn.kind === "retry" ? toTimestamp(turn.retryAt) : null,
    retry_count: turn.kind === "retry" ? turn.retryCount : null,
    round: round ?? null,
    changes: changes ?? null,
    image_errors: "error" in turn ? withError(page.imageErrors, turn.error) : null,
    prompt_ids: promptIds ?? null,
    is_attempt: isAttempt === true,
  }));
  const { rows: done } = await tx.query<{ page: number }>(SETTLE, [batchId, toJson(rows)]);
  return new Set(done.map(({ page }) => page));
}

const RELEASE = statement(
  "batches.release",
  `with picked as (
     select page from book_pages
     where batch_id = $1 and state = 'pending' and (retry_at is null or retry_at <= now())
     order by page limit $2
   ), marked as (
     update book_pages p set state = 'rendering', releasing_since = now(), retry_at = null
     from picked where p.batch_id = $1 and p.page = picked.page
     returning p.*
   )
   select ${RELEASED_COLUMNS} from marked p order by p.page`,
);

/** Marks the first pages that are due as given out (I2). */
export async function releasePages(
  tx: Transaction,
  batchId: string,
  limit: number,
): Promise<ReleasedPage[]> {
  const { rows } = await tx.query<ReleasedRow>(RELEASE, [batchId, limit]);
  return rows.map(toReleasedPage);
}

const WAIT_MS = `greatest(0, extract(epoch from coalesce(retry_at, now()) - now()) * 1000)::float8`;

/** In how many ms a pending page is due, the soonest or the first by number; null: there is none. */
export async function readPendingWait(
  tx: Transaction,
  batchId: string,
  which: "soonest" | "first",
): Promise<number | null> {
  const { rows } = await tx.query<{ wait: number | null }>(
    which === "soonest"
      ? `select min(${WAIT_MS}) as wait from book_pages where batch_id = $1 and state = 'pending'`
      : `select ${WAIT_MS} as wait from book_pages
         where batch_id = $1 and state = 'pending' order by page limit 1`,
    [batchId],
  );
  return rows[0]?.wait ?? null;
}

/** A page of which a job was made, or given another round. */
export interface MadeJob {
  readonly page: ReleasedPage;
  readonly jobId: string;
}

const NOTE = statement(
  "batches.note",
  `update book_pages p set job_id = r.job_id, releasing_since = null,
     settled_round = case when p.job_id is distinct from r.job_id then 0 else p.settled_round end,
     last_attempted_at = now()
   from unnest($2::int[], $3::int[], $4::text[], $5::int[]) as r (page, version, job_id, retry_count)
   where p.batch_id = $1 and p.page = r.page and p.version = r.version
     and p.retry_count = r.retry_count
     and p.state = 'rendering' and p.releasing_since is not null`,
);
/** Their page is another version by now: the job is nobody's, and cancelled within a second. */
const NOTE_STRAYS = statement(
  "batches.note_strays",
  `update book_page_versions v set job_id = r.job_id, releasing_since = null, ends_job = true
   from unnest($2::int[], $3::int[], $4::text[]) as r (page, version, job_id)
   where v.batch_id = $1 and v.page = r.page and v.version = r.version`,
);
const NOTED = statement(
  "batches.noted",
  `select coalesce(bool_or(j.ended_at is not null), false) as "hasEnded",
     coalesce(bool_or(j.ended_at is null and j.priority <> b.priority), false) as "isOutranked"
   from jobs j, batches b where j.id = any($1::text[]) and b.id = $2`,
);

/** What is to be done about jobs that were just noted. */
export interface NotedJobs {
  /** One of them has ended already. */
  readonly hasEnded: boolean;
  /** One of them has another priority than the batch: that was changed meanwhile, or while it rested. */
  readonly isOutranked: boolean;
}

/**
 * Notes the jobs of pages that were given out. A note that comes so late that the page is at another round
 * by now counts for nothing: whoever gives that out has still to ask for it.
 */
export async function noteJobs(
  tx: Transaction,
  batchId: string,
  made: readonly MadeJob[],
): Promise<NotedJobs> {
  if (made.length === 0) return { hasEnded: false, isOutranked: false };
  const values = [
    batchId,
    made.map(({ page }) => page.page),
    made.map(({ page }) => page.version),
    made.map(({ jobId }) => jobId),
  ];
  await tx.query(NOTE, [...values, made.map(({ page }) => page.retryCount)]);
  await tx.query(NOTE_STRAYS, values);
  const { rows } = await tx.query<NotedJobs & Record<string, unknown>>(NOTED, [values[3], batchId]);
  return rows[0] ?? { hasEnded: false, isOutranked: false };
}

/** Pages that were given out and that the queue did not take: they wait again. */
export async function putBackPages(
  tx: Transaction,
  batchId: string,
  pages: readonly ReleasedPage[],
): Promise<void> {
  await tx.query(
    `update book_pages p set state = 'pending', releasing_since = null
     from unnest($2::int[], $3::int[]) as r (page, version)
     where p.batch_id = $1 and p.page = r.page and p.version = r.version
       and p.state = 'rendering' and p.releasing_since is not null`,
    [batchId, pages.map(({ page }) => page), pages.map(({ version }) => version)],
  );
}

/** Pending pages of a batch that is cancelled are cancelled, at most `limit`; gives how many. */
export async function cancelPending(
  tx: Transaction,
  batchId: string,
  limit: number,
): Promise<number> {
  const { rowCount } = await tx.query(
    `with picked as (
       select page from book_pages where batch_id = $1 and state = 'pending' order by page limit $2)
     update book_pages p set state = 'cancelled', ended_at = now(), retry_at = null
     from picked where p.batch_id = $1 and p.page = picked.page`,
    [batchId, limit],
  );
  return rowCount;
}

/**
 * Takes over pages that were given out long ago and never noted: whoever had them is gone, or slow.
 * What is asked for them again is the same.
 */
export async function takeStaleReleases(db: Queryable, limit: number): Promise<ReleasedPage[]> {
  const { rows } = await db.query<ReleasedRow>(
    `with stale as (
       select batch_id, page from book_pages
       where releasing_since < now() - make_interval(secs => $1::float8 / 1000)
       order by releasing_since limit $2 for no key update skip locked
     ), taken as (
       update book_pages p set releasing_since = now() from stale s
       where p.batch_id = s.batch_id and p.page = s.page
       returning p.*
     )
     select ${RELEASED_COLUMNS} from taken p order by p.batch_id, p.page`,
    [STALE_RELEASE_MS, limit],
  );
  return rows.map(toReleasedPage);
}
