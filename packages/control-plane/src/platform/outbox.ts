import type { Queryable, Transaction } from "./db.ts";
import { statement, toJson, toTimestamp } from "./db.ts";

/**
 * The outbox: events written in the transaction of the change they tell.
 *
 * Ids are given before commit, so commit order is not id order: a reader that remembers the last
 * `seq` skips what a slower transaction commits later under a smaller one. Therefore:
 * O1  a reader takes only rows whose transaction is older than every running one
 *     (`xid < pg_snapshot_xmin(pg_current_snapshot())`): no row can appear among those any more;
 * O2  it reads in the order (xid, seq) and remembers both.
 * The price: a transaction that writes for long holds back all events that follow it.
 */

/** An event to be written. */
export interface NewEvent {
  /** Unique; a second event with the same id is dropped, so a repeated change tells itself once. */
  readonly id: string;
  readonly type: string;
  readonly version: number;
  /** Whose event it is: what a caller may see hangs on it. */
  readonly owner: string;
  readonly jobId?: string | null;
  readonly payload: object;
}

/** An event as read. `at` in epoch milliseconds. */
export interface StoredEvent {
  readonly cursor: EventCursor;
  readonly id: string;
  readonly type: string;
  readonly version: number;
  readonly at: number;
  readonly owner: string;
  readonly jobId: string | null;
  readonly payload: unknown;
}

/** A place in the order of events: everything up to and including it has been read. */
export interface EventCursor {
  /** A transaction id (64 bits) as text. */
  readonly xid: string;
  readonly seq: number;
}

/** Before the first event. */
export const FIRST_CURSOR: EventCursor = { xid: "0", seq: 0 };

/** Which events to read; all that are given must fit. */
export interface EventFilter {
  readonly owner?: string;
  readonly jobId?: string;
  readonly types?: readonly string[];
}

/** Channel on which writers tell that there are new events. */
export const EVENTS_CHANNEL = "holdfast_events";
/** Events read at once at most. */
export const MAX_EVENT_PAGE = 1_000;

const APPEND = statement(
  "outbox-append",
  `insert into events (id, type, version, at, owner, job_id, payload)
   select id, type, version, coalesce($7::timestamptz, now()), owner, job_id, payload
   from unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::jsonb[])
     with ordinality as t (id, type, version, owner, job_id, payload, place)
   order by place
   on conflict (id) do nothing`,
);

/**
 * Writes events in the caller's transaction, in one statement. `nowMs` is for tests; without it the
 * database's time counts.
 */
export async function appendEvents(
  tx: Transaction,
  events: readonly NewEvent[],
  nowMs?: number,
): Promise<void> {
  if (events.length === 0) return;
  await tx.query(APPEND, [
    events.map((event) => event.id),
    events.map((event) => event.type),
    events.map((event) => event.version),
    events.map((event) => event.owner),
    events.map((event) => event.jobId ?? null),
    events.map((event) => toJson(event.payload)),
    toTimestamp(nowMs),
  ]);
}

interface EventRow {
  readonly seq: number;
  readonly xid: string;
  readonly id: string;
  readonly type: string;
  readonly version: number;
  readonly at: number;
  readonly owner: string;
  readonly job_id: string | null;
  readonly payload: unknown;
}

const COLUMNS = "seq, xid::text as xid, id, type, version, at, owner, job_id, payload";
const SETTLED = "xid < pg_snapshot_xmin(pg_current_snapshot())";

const READ_ALL = statement(
  "outbox-read-all",
  `select ${COLUMNS} from events
   where (events.xid, seq) > ($1::xid8, $2) and ${SETTLED} order by events.xid, seq limit $3`,
);
const READ_FILTERED = statement(
  "outbox-read-filtered",
  `select ${COLUMNS} from events
   where (events.xid, seq) > ($1::xid8, $2) and ${SETTLED}
     and ($4::text is null or owner = $4) and ($5::text[] is null or type = any($5))
   order by events.xid, seq limit $3`,
);
const READ_JOB = statement(
  "outbox-read-job",
  `select ${COLUMNS} from events
   where job_id = $6 and (events.xid, seq) > ($1::xid8, $2) and ${SETTLED}
     and ($4::text is null or owner = $4) and ($5::text[] is null or type = any($5))
   order by events.xid, seq limit $3`,
);

/** Reads the settled events after a cursor, in commit-safe order (O1, O2). */
export async function readEventsAfter(
  db: Queryable,
  cursor: EventCursor,
  limit: number,
  filter: EventFilter = {},
): Promise<StoredEvent[]> {
  const place = [cursor.xid, cursor.seq, Math.min(limit, MAX_EVENT_PAGE)];
  const wanted = [filter.owner ?? null, filter.types ?? null];
  let found;
  if (filter.jobId !== undefined) {
    found = await db.query<EventRow>(READ_JOB, [...place, ...wanted, filter.jobId]);
  } else if (filter.owner !== undefined || filter.types !== undefined) {
    found = await db.query<EventRow>(READ_FILTERED, [...place, ...wanted]);
  } else {
    found = await db.query<EventRow>(READ_ALL, place);
  }
  return found.rows.map(toStoredEvent);
}

/** Whether an event fits a filter: for readers that must move on past those that do not. */
export function matchesFilter(event: StoredEvent, filter: EventFilter): boolean {
  return (
    (filter.owner === undefined || filter.owner === event.owner) &&
    (filter.jobId === undefined || filter.jobId === event.jobId) &&
    (filter.types === undefined || filter.types.includes(event.type))
  );
}

function toStoredEvent(row: EventRow): StoredEvent {
  return {
    cursor: { xid: row.xid, seq: row.seq },
    id: row.id,
    type: row.type,
    version: row.version,
    at: row.at,
    owner: row.owner,
    jobId: row.job_id,
    payload: row.payload,
  };
}

/** The end of what is settled now: reading after it gives only what is told from now on. */
export async function currentCursor(db: Queryable): Promise<EventCursor> {
  const { rows } = await db.query<{ xid: string }>(
    "select pg_snapshot_xmin(pg_current_snapshot())::text as xid",
  );
  return { xid: rows[0]?.xid ?? "0", seq: 0 };
}

/** The place of an event, for a client that names the last one it saw; undefined when it is gone. */
export async function cursorOfEvent(
  db: Queryable,
  eventId: string,
): Promise<EventCursor | undefined> {
  const { rows } = await db.query<{ xid: string; seq: number }>(
    "select xid::text as xid, seq from events where id = $1",
    [eventId],
  );
  return rows[0];
}

/** A consumer that has not moved for this many retention times is dead: nothing waits for it. */
const DEAD_AFTER_RETENTIONS = 4;

/**
 * Deletes events older than `olderThanMs`, looking at the oldest `limit` alone, and none that a
 * living consumer has still to read. Returns how many; call again while it returns `limit`.
 */
export async function pruneEvents(
  db: Queryable,
  options: { readonly olderThanMs: number; readonly limit: number; readonly nowMs?: number },
): Promise<number> {
  const { rowCount } = await db.query(
    `delete from events where seq in (
       select e.seq from (select seq, xid, at from events order by seq limit $3) e
       where e.at < coalesce($1::timestamptz, now()) - make_interval(secs => $2)
         and not exists (
           select 1 from event_cursors c
           where (c.xid, c.seq) < (e.xid, e.seq)
             and c.updated_at > coalesce($1::timestamptz, now()) - make_interval(secs => $4)))`,
    [
      toTimestamp(options.nowMs),
      options.olderThanMs / 1000,
      options.limit,
      (options.olderThanMs * DEAD_AFTER_RETENTIONS) / 1000,
    ],
  );
  return rowCount;
}

/**
 * When the oldest event was written that a living consumer has still to read, in epoch ms; null when
 * all have read everything. `olderThanMs` is what events are kept for, as in {@link pruneEvents}.
 */
export async function oldestUnreadAt(
  db: Queryable,
  options: { readonly olderThanMs: number; readonly nowMs?: number },
): Promise<number | null> {
  const { rows } = await db.query<{ at: number | null }>(
    `select min(unread.at) as at
     from event_cursors c cross join lateral (
       select e.at from events e where (e.xid, e.seq) > (c.xid, c.seq)
       order by e.xid, e.seq limit 1) unread
     where c.updated_at > coalesce($1::timestamptz, now()) - make_interval(secs => $2)`,
    [toTimestamp(options.nowMs), (options.olderThanMs * DEAD_AFTER_RETENTIONS) / 1000],
  );
  return rows[0]?.at ?? null;
}

/**
 * After a dump was restored into another cluster, transaction ids start low again: stored events
 * would look unsettled for ever and new ones old. Run once at start: puts such rows and cursors
 * into the present. A consumer may see some events twice, none is skipped. Returns whether it had to.
 */
export async function repairAfterRestore(tx: Transaction): Promise<boolean> {
  // Under a lock: an event written meanwhile would have a present id and must not be moved.
  await tx.query("lock table events, event_cursors in share row exclusive mode");
  const { rows } = await tx.query<{ is_ahead: boolean }>(
    `select exists (select 1 from events where xid > pg_current_xact_id())
       or exists (select 1 from event_cursors where xid > pg_current_xact_id()) as is_ahead`,
  );
  if (rows[0]?.is_ahead !== true) return false;
  await tx.query(
    `update event_cursors c set xid = pg_current_xact_id(), seq = coalesce(
       (select min(e.seq) - 1 from events e where (e.xid, e.seq) > (c.xid, c.seq)), 
       (select max(e.seq) from events e), 0)`,
  );
  await tx.query("update events set xid = pg_current_xact_id()");
  return true;
}
