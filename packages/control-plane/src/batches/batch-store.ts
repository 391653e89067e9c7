import { BATCH_STATUSES, jobPolicySchema, type BatchStatus } from "@holdfast/contract";
import { z } from "zod";
import { statement, toJson, type Queryable, type Transaction } from "../platform/db.ts";
import type { Batch } from "./model.ts";

const COLUMNS = `id, number, owner, allowed_classes as "allowedClasses", name, status, parallel,
  page_window as "window", priority, tags, timeout_ms as "timeoutMs", policy, metadata,
  max_retries as "maxRetries", retry_backoff_ms as "retryBackoffMs", warnings,
  page_count as "pageCount", pending, rendering, attention, done, cancelled,
  spreads_priority as "spreadsPriority", waiting_reason as "waitingReason",
  created_at as "createdAt", ended_at as "endedAt"`;

interface BatchRow extends Omit<Batch, "counts" | "status"> {
  readonly status: string;
  readonly pending: number;
  readonly rendering: number;
  readonly attention: number;
  readonly done: number;
  readonly cancelled: number;
}

const statusSchema = z.enum(BATCH_STATUSES);

function toBatch(row: BatchRow): Batch {
  const { pending, rendering, attention, done, cancelled, ...rest } = row;
  return {
    ...rest,
    status: statusSchema.parse(row.status),
    policy: jobPolicySchema.parse(row.policy),
    counts: { pending, rendering, attention, done, cancelled },
  };
}

/** What is written of a new batch; its pages are counted by the trigger. */
export interface NewBatch extends Omit<
  Batch,
  "number" | "counts" | "spreadsPriority" | "waitingReason" | "createdAt" | "endedAt"
> {
  readonly request: { readonly key: string; readonly hash: string } | null;
}

/** Writes a batch; undefined when its caller has used the request's key before. */
export async function insertBatch(tx: Transaction, batch: NewBatch): Promise<Batch | undefined> {
  const { rows } = await tx.query<BatchRow>(
    `insert into batches (id, owner, allowed_classes, name, status, parallel, page_window, priority,
       tags, timeout_ms, policy, metadata, max_retries, retry_backoff_ms, warnings, page_count,
       request_key, request_hash, wake_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
       case when $5 = 'running' then now() end)
     on conflict (owner, request_key) where request_key is not null do nothing
     returning ${COLUMNS}`,
    [
      batch.id,
      batch.owner,
      batch.allowedClasses,
      batch.name,
      batch.status,
      batch.parallel,
      batch.window,
      batch.priority,
      batch.tags,
      batch.timeoutMs,
      toJson(batch.policy),
      toJson(batch.metadata),
      batch.maxRetries,
      batch.retryBackoffMs,
      batch.warnings,
      batch.pageCount,
      batch.request?.key ?? null,
      batch.request?.hash ?? null,
    ],
  );
  return rows[0] === undefined ? undefined : toBatch(rows[0]);
}

/** The batch that was made under a key, and the hash of that request. */
export async function readBatchByRequest(
  db: Queryable,
  owner: string,
  key: string,
): Promise<
  { readonly batch: Batch; readonly hash: string; readonly isRemoved: boolean } | undefined
> {
  const { rows } = await db.query<
    BatchRow & { readonly hash: string; readonly isRemoved: boolean }
  >(
    `select ${COLUMNS}, request_hash as hash, removed_at is not null as "isRemoved"
     from batches where owner = $1 and request_key = $2`,
    [owner, key],
  );
  const row = rows[0];
  if (row === undefined) return undefined;
  const { hash, isRemoved, ...batch } = row;
  return { batch: toBatch(batch), hash, isRemoved };
}

/** What callers name a batch by. */
export type BatchRef = { readonly id: string } | { readonly number: number };

/** One batch; those that are being removed are not there. */
export async function readBatch(db: Queryable, ref: BatchRef): Promise<Batch | undefined> {
  const { rows } = await db.query<BatchRow>(
    `select ${COLUMNS} from batches
     where ${"id" in ref ? "id = $1" : "number = $1"} and removed_at is null`,
    ["id" in ref ? ref.id : ref.number],
  );
  return rows[0] === undefined ? undefined : toBatch(rows[0]);
}

/** Which batches to list. Everything that is given must fit. */
export interface BatchFilter {
  readonly owner: string | null;
  readonly status: BatchStatus | null;
  /** Part of the name, in any case. */
  readonly name: string | null;
}

/** A page of batches from below an id, newest first. */
export async function listBatches(
  db: Queryable,
  filter: BatchFilter,
  page: { readonly cursor: string | null; readonly limit: number },
): Promise<Batch[]> {
  const values: unknown[] = [page.limit];
  const bind = (value: unknown): string => `$${values.push(value)}`;
  const conditions = ["removed_at is null"];
  if (filter.owner !== null) conditions.push(`owner = ${bind(filter.owner)}`);
  if (filter.status !== null) conditions.push(`status = ${bind(filter.status)}`);
  if (filter.name !== null) {
    conditions.push(`position(lower(${bind(filter.name)}) in lower(name)) > 0`);
  }
  if (page.cursor !== null) conditions.push(`id < ${bind(page.cursor)}`);
  const { rows } = await db.query<BatchRow>(
    `select ${COLUMNS} from batches where ${conditions.join(" and ")} order by id desc limit $1`,
    values,
  );
  return rows.map(toBatch);
}

const CHANGED = statement(
  "batches.changed_pages",
  `select batch_id as id, count(*)::int as pages from book_pages
   where batch_id = any($1::text[]) and state = 'done' and changes->>'loss' <> 'none'
   group by batch_id`,
);

/** How many pages that are done came out other than they were asked for; batches without any are left out. */
export async function readChangedPages(
  db: Queryable,
  ids: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const { rows } = await db.query<{ id: string; pages: number }>(CHANGED, [ids]);
  return new Map(rows.map(({ id, pages }) => [id, pages]));
}

const LOCK = statement(
  "batches.lock",
  `select ${COLUMNS}, now() as "nowMs" from batches where id = $1 and removed_at is null
   for no key update`,
);
const TRY_LOCK = statement("batches.try_lock", `${LOCK.text} skip locked`);

/** A batch whose row this transaction has locked, and the database's time in epoch ms. */
export interface LockedBatch {
  readonly batch: Batch;
  readonly nowMs: number;
}

/**
 * Locks a batch (I1 of the model); undefined when there is none, or with `skip` when somebody else has
 * it. Not its key: whoever writes a row that names the batch does not wait.
 */
export async function lockBatch(
  tx: Transaction,
  id: string,
  how: "wait" | "skip",
): Promise<LockedBatch | undefined> {
  const { rows } = await tx.query<BatchRow & { readonly nowMs: number }>(
    how === "wait" ? LOCK : TRY_LOCK,
    [id],
  );
  const row = rows[0];
  if (row === undefined) return undefined;
  const { nowMs, ...batch } = row;
  return { batch: toBatch(batch), nowMs };
}

/** The batch as it stands in a transaction that has locked it, with its pages counted anew. */
export async function rereadBatch(tx: Transaction, id: string): Promise<Batch> {
  const { rows } = await tx.query<BatchRow>(`select ${COLUMNS} from batches where id = $1`, [id]);
  const [row] = rows;
  if (row === undefined) throw new Error(`batch ${id} is gone under its lock`);
  return toBatch(row);
}

/** What is changed of a batch; what is left out stays. */
export interface BatchChange {
  readonly status?: BatchStatus;
  readonly end?: "now" | "never";
  /** In how many ms it is looked at, by the database's clock; null: not by itself. */
  readonly wakeInMs?: number | null;
  readonly waitingReason?: string | null;
  readonly name?: string;
  readonly window?: number;
  readonly priority?: number;
  readonly spreadsPriority?: boolean;
  readonly remove?: true;
}

/** Changes a batch that is locked, or one column of it. */
export async function changeBatch(db: Queryable, id: string, change: BatchChange): Promise<void> {
  const values: unknown[] = [id];
  const sets: string[] = [];
  const set = (column: string, value: unknown): void => {
    sets.push(`${column} = $${values.push(value)}`);
  };
  if (change.status !== undefined) set("status", change.status);
  if (change.end !== undefined) sets.push(`ended_at = ${change.end === "now" ? "now()" : "null"}`);
  if (change.wakeInMs === null) sets.push("wake_at = null");
  else if (change.wakeInMs !== undefined) {
    sets.push(
      `wake_at = now() + make_interval(secs => $${values.push(change.wakeInMs)}::float8 / 1000)`,
    );
  }
  if (change.waitingReason !== undefined) set("waiting_reason", change.waitingReason);
  if (change.name !== undefined) set("name", change.name);
  if (change.window !== undefined) set("page_window", change.window);
  if (change.priority !== undefined) set("priority", change.priority);
  if (change.spreadsPriority !== undefined) set("spreads_priority", change.spreadsPriority);
  if (change.remove === true) sets.push("removed_at = now()", "wake_at = null");
  if (sets.length === 0) return;
  await db.query(`update batches set ${sets.join(", ")} where id = $1`, values);
}

/** A priority has been told to a batch's jobs, unless it was changed again meanwhile. */
export async function endSpreading(db: Queryable, id: string, priority: number): Promise<void> {
  await db.query("update batches set spreads_priority = false where id = $1 and priority = $2", [
    id,
    priority,
  ]);
}

const DUE = statement(
  "batches.due",
  `(select id from batches where wake_at <= now() order by wake_at limit $1)
   union
   (select distinct batch_id from (
     select batch_id from book_turns order by seq limit $2) t limit $1)`,
);

/** Batches for which something has to be done, at most twice `limit`. */
export async function readDueBatches(
  db: Queryable,
  limit: number,
  turns: number,
): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>(DUE, [limit, turns]);
  return rows.map(({ id }) => id);
}

/** Whether there is any batch for which something may have to be done by itself. */
export async function readHasLiving(db: Queryable): Promise<boolean> {
  const { rows } = await db.query<{ found: boolean }>(
    "select exists (select from batches where wake_at is not null) as found",
  );
  return rows[0]?.found === true;
}

/** Living books by status, and their pages by state, for metrics. */
export async function readBookGauges(db: Queryable): Promise<{
  readonly books: readonly { readonly status: string; readonly count: number }[];
  readonly pages: Readonly<Record<string, number>>;
}> {
  const { rows } = await db.query<{
    status: string;
    count: number;
    pending: number;
    rendering: number;
  }>(
    `select status, count(*)::int as count, sum(pending)::int as pending,
       sum(rendering)::int as rendering
     from batches where status in ('running', 'paused') and removed_at is null group by status`,
  );
  const sum = (of: "pending" | "rendering"): number =>
    rows.reduce((total, row) => total + row[of], 0);
  return {
    books: (["running", "paused"] as const).map((status) => ({
      status,
      count: rows.find((row) => row.status === status)?.count ?? 0,
    })),
    pages: { pending: sum("pending"), rendering: sum("rendering") },
  };
}
