import { canonicalJson, type GraphLimits } from "@holdfast/comfyui/protocol";
import { HoldfastError, type CreateBatch } from "@holdfast/contract";
import type { IdSource } from "@holdfast/runtime";
import type { Caller } from "../access/model.ts";
import type { Db } from "../platform/db.ts";
import { appendEvents } from "../platform/outbox.ts";
import type { Refusal } from "../jobs/submission.ts";
import { sha256 } from "../jobs/submit-preparation.ts";
import { insertBatch, readBatchByRequest, type NewBatch } from "./batch-store.ts";
import { createdEvent } from "./book-events.ts";
import { DEFAULT_WINDOW, type Batch } from "./model.ts";
import { insertGraphs, insertPages } from "./page-store.ts";
import { planBook } from "./plan-book.ts";
import type { PlannedBook } from "./planned-book.ts";

/** What a batch is when its caller does not say. */
export interface BookDefaults {
  readonly maxRetries: number;
  readonly retryBackoffMs: readonly number[];
  readonly parallel: boolean;
}

/** What making a batch asks. */
export interface CreateDeps {
  readonly db: Db;
  readonly ids: IdSource;
  readonly graphLimits?: GraphLimits;
  readonly defaults: BookDefaults;
  /** A batch of these events was written. */
  readonly onCreated: () => void;
}

/** What a create gave. */
export interface CreatedBatch {
  readonly batch: Batch;
  /** False when the idempotency key had been used before: this is the batch of that time. */
  readonly created: boolean;
  readonly warnings: readonly string[];
}

/** Pages written by one statement. */
const INSERT_STEP = 2_000;
const MS_PER_SECOND = 1_000;

/**
 * Makes a batch with all its pages in one transaction, and no job. Throws what is wrong with the book,
 * `idempotency_conflict`, or `job_removed` for a key whose batch was removed since.
 */
export async function createBatch(
  deps: CreateDeps,
  caller: Caller,
  request: CreateBatch,
  idempotencyKey?: string,
): Promise<CreatedBatch> {
  const { db, ids } = deps;
  const stored =
    idempotencyKey === undefined
      ? null
      : { key: idempotencyKey, hash: sha256(canonicalJson(request)) };
  if (stored !== null) {
    const before = await findRepeat(db, caller, stored);
    if (before !== undefined) return before;
  }
  const book = plan(deps, caller, request);
  const planned = toNewBatch(deps, caller, request, book);
  const batch = await db.transaction(async (tx) => {
    const made = await insertBatch(tx, { ...planned, id: ids.next("bat"), request: stored });
    if (made === undefined) return undefined;
    await insertGraphs(
      tx,
      made.id,
      book.graphs.map((graph) => JSON.stringify(graph)),
    );
    for (let from = 0; from < book.pages.length; from += INSERT_STEP) {
      await insertPages(tx, made.id, book.pages.slice(from, from + INSERT_STEP), caller.id);
    }
    await appendEvents(tx, [createdEvent(ids.next("evt"), made, caller.id)]);
    return { ...made, counts: { ...made.counts, pending: book.pages.length } };
  });
  if (batch === undefined && stored !== null) {
    // Somebody else has just used the key.
    const before = await findRepeat(db, caller, stored);
    if (before !== undefined) return before;
  }
  if (batch === undefined) throw new Error("a batch was not written, and nobody has its key");
  deps.onCreated();
  return { batch, created: true, warnings: book.warnings };
}

/** The error that says a refusal. */
export function toError(refusal: Refusal): HoldfastError {
  return new HoldfastError(refusal.code, refusal.message, {
    ...(refusal.details !== undefined && { details: refusal.details }),
  });
}

function plan(
  { defaults, graphLimits: limits }: CreateDeps,
  caller: Caller,
  request: CreateBatch,
): PlannedBook {
  const isParallel = request.parallel ?? defaults.parallel;
  if (!isParallel && (request.window ?? 1) !== 1) {
    throw new HoldfastError(
      "invalid_request",
      "window is 1 where pages go in order: leave it out, or say parallel",
      { details: { field: "window" } },
    );
  }
  const { allowedClasses } = caller;
  const facts = { allowedClasses, sha256, ...(limits !== undefined && { limits }) };
  const planned = planBook(request, facts);
  if (planned.kind === "refused") throw toError(planned);
  return planned.book;
}

function toNewBatch(
  { defaults }: CreateDeps,
  caller: Caller,
  request: CreateBatch,
  book: PlannedBook,
): Omit<NewBatch, "id" | "request"> {
  const parallel = request.parallel ?? defaults.parallel;
  return {
    owner: caller.id,
    allowedClasses: caller.allowedClasses,
    name: request.name ?? null,
    status: request.paused === true ? "paused" : "running",
    parallel,
    window: parallel ? (request.window ?? DEFAULT_WINDOW) : 1,
    priority: request.priority ?? 0,
    tags: [...new Set(request.tags)],
    timeoutMs: request.timeoutMs ?? null,
    policy: request.policy ?? {},
    metadata: request.metadata ?? {},
    maxRetries: request.maxRetries ?? defaults.maxRetries,
    retryBackoffMs:
      request.retryBackoffSeconds?.map((seconds) => Math.round(seconds * MS_PER_SECOND)) ??
      defaults.retryBackoffMs,
    warnings: book.warnings,
    pageCount: book.pages.length,
  };
}

async function findRepeat(
  db: Db,
  caller: Caller,
  request: { readonly key: string; readonly hash: string },
): Promise<CreatedBatch | undefined> {
  const before = await readBatchByRequest(db, caller.id, request.key);
  if (before === undefined) return undefined;
  if (before.hash !== request.hash) {
    throw new HoldfastError(
      "idempotency_conflict",
      "this Idempotency-Key was used with another body; use a new key for another batch",
      { details: { batchId: before.batch.id } },
    );
  }
  if (before.isRemoved) {
    throw new HoldfastError(
      "job_removed",
      `this Idempotency-Key was used before, and its batch was removed since; use a new key to render again`,
      { details: { batchId: before.batch.id } },
    );
  }
  return { batch: before.batch, created: false, warnings: before.batch.warnings };
}
