/**
 * Giving pages out: each becomes a job, or its job gets another round. What is asked of the jobs here
 * may be asked again by another replica, or after a crash, and is the same then (I2 of the model).
 */
import {
  ERROR_CODES,
  HoldfastError,
  isHoldfastError,
  type EventType,
  type SubmitJob,
} from "@holdfast/contract";
import type { IdSource } from "@holdfast/runtime";
import type { JobsService } from "../jobs/service.ts";
import type { Db, Transaction } from "../platform/db.ts";
import { appendEvents } from "../platform/outbox.ts";
import { changeBatch, lockBatch, type BatchChange } from "./batch-store.ts";
import { callerOf, type Batch, type ReleasedPage, type StoredTrouble } from "./model.ts";
import { readGraphs } from "./page-store.ts";
import { endStray, readStrays } from "./regenerate-store.ts";
import { settleAndTell } from "./settle-service.ts";
import { decideRefusal } from "./settling.ts";
import { noteJobs, putBackPages, type MadeJob } from "./step-store.ts";

/** What giving out asks. */
export interface ReleaseDeps {
  readonly db: Db;
  readonly ids: IdSource;
  readonly jobs: Pick<JobsService, "submit" | "retry" | "cancel">;
  readonly onEvents: (written: readonly EventType[]) => void;
}

/** What became of one page. */
type Outcome =
  | { readonly kind: "made"; readonly jobId: string }
  | { readonly kind: "refused"; readonly trouble: StoredTrouble }
  /** Nobody's fault: the same is asked again after a while. */
  | { readonly kind: "wait"; readonly reason: string; readonly afterMs: number };

/** How long is waited where an answer does not say. */
const WAIT_MS = 5_000;
const MS_PER_SECOND = 1_000;
const MAX_NAME = 200;
/** Versions whose jobs are cancelled at once. */
const STRAYS = 100;

/** Gives pages out that are marked, and notes what became of them; tells whether a step is due for it. */
export async function giveOut(
  deps: ReleaseDeps,
  batch: Batch,
  pages: readonly ReleasedPage[],
): Promise<boolean> {
  if (pages.length === 0) return false;
  const fresh = pages.filter(({ trouble }) => trouble === null).map(({ graphNo }) => graphNo);
  const graphs = await readGraphs(deps.db, batch.id, fresh);
  const asked = await Promise.allSettled(
    pages.map((page) => askFor(deps, batch, page, graphs.get(page.graphNo))),
  );
  const outcomes = new Map<ReleasedPage, Outcome>();
  let broken: unknown;
  for (const [index, one] of asked.entries()) {
    const page = pages[index];
    if (one.status === "rejected") broken ??= one.reason;
    else if (page !== undefined) outcomes.set(page, one.value);
  }
  const noted = await deps.db.transaction((tx) => note(deps, tx, batch, outcomes));
  if (noted.told.length > 0) deps.onEvents(noted.told);
  // What broke under one page is asked again when its mark is old: it may have been done all the same.
  if (broken !== undefined) throw broken;
  return noted.isDue;
}

/** Cancels the jobs of versions that another one has taken the place of while they rendered. */
export async function endStrays(deps: ReleaseDeps, batch: Batch): Promise<void> {
  const strays = await readStrays(deps.db, batch.id, STRAYS);
  for (const stray of strays) {
    let { jobId } = stray;
    if (jobId === null && stray.trouble === null) {
      // Nobody knows whether a job was made of it: the same submit tells, and makes one at the worst.
      const graphs = await readGraphs(deps.db, batch.id, [stray.graphNo]);
      const outcome = await askFor(deps, batch, stray, graphs.get(stray.graphNo));
      if (outcome.kind === "made") jobId = outcome.jobId;
      else if (outcome.kind === "wait") continue;
    }
    if (jobId !== null) await cancelQuietly(deps, batch, jobId);
    await endStray(deps.db, stray, jobId);
  }
}

async function cancelQuietly(deps: ReleaseDeps, batch: Batch, jobId: string): Promise<void> {
  try {
    await deps.jobs.cancel(callerOf(batch), jobId);
  } catch (error) {
    if (!isHoldfastError(error, "job_ended") && !isHoldfastError(error, "not_found")) throw error;
  }
}

async function askFor(
  deps: ReleaseDeps,
  batch: Batch,
  page: ReleasedPage,
  graph: unknown,
): Promise<Outcome> {
  try {
    if (page.jobId !== null) {
      const again = await retryJob(deps, batch, page, page.jobId);
      if (again !== undefined) return again;
    }
    if (page.trouble !== null) return { kind: "refused", trouble: page.trouble };
    const { id, version, settledRound } = { id: batch.id, ...page };
    const round = page.jobId === null ? "" : `/after-${settledRound}`;
    const key = `${id}/${page.page}/${version}${round}`;
    const { jobs } = await deps.jobs.submit(callerOf(batch), [toRequest(batch, page, graph)], {
      idempotencyKey: key,
      // A batch's priority may be another by the second time.
      keyedBody: { key },
    });
    const jobId = jobs[0]?.job.id;
    if (jobId === undefined) throw new Error(`a submit of page ${page.page} of ${id} gave no job`);
    return { kind: "made", jobId };
  } catch (error) {
    return toOutcome(error);
  }
}

/** Another round of a page's job; undefined when that job is not there any more. */
async function retryJob(
  deps: ReleaseDeps,
  batch: Batch,
  page: ReleasedPage,
  jobId: string,
): Promise<Outcome | undefined> {
  try {
    await deps.jobs.retry(callerOf(batch), jobId, { afterRound: page.settledRound });
  } catch (error) {
    if (isHoldfastError(error, "not_found")) return undefined;
    throw error;
  }
  return { kind: "made", jobId };
}

function toOutcome(error: unknown): Outcome {
  if (!(error instanceof HoldfastError)) throw error;
  const { status } = ERROR_CODES[error.code];
  if (status === 429 || status === 503) {
    const { retryAfterSeconds } = error;
    const afterMs = retryAfterSeconds === undefined ? WAIT_MS : retryAfterSeconds * MS_PER_SECOND;
    return { kind: "wait", reason: error.message, afterMs };
  }
  if (status >= 500) throw error;
  const { code, message, details } = error;
  return {
    kind: "refused",
    trouble: { code, message, ...(details !== undefined && { details: { ...details } }) },
  };
}

function toRequest(batch: Batch, page: ReleasedPage, graph: unknown): SubmitJob {
  const name = page.name ?? `${batch.name ?? `batch ${batch.number}`}, page ${page.page}`;
  return {
    graph: graph as SubmitJob["graph"],
    ...(Object.keys(page.overrides).length > 0 && { set: { ...page.overrides } }),
    priority: batch.priority,
    tags: [...batch.tags],
    batchId: batch.id,
    name: name.slice(0, MAX_NAME),
    metadata: { ...page.metadata },
    ...(batch.timeoutMs !== null && { timeoutMs: batch.timeoutMs }),
    policy: batch.policy,
  };
}

async function note(
  deps: ReleaseDeps,
  tx: Transaction,
  batch: Batch,
  outcomes: ReadonlyMap<ReleasedPage, Outcome>,
): Promise<{
  readonly told: readonly EventType[];
  readonly isDue: boolean;
}> {
  const locked = await lockBatch(tx, batch.id, "wait");
  if (locked === undefined) return { told: [], isDue: false };
  const made: MadeJob[] = [];
  const refused: { readonly page: ReleasedPage; readonly trouble: StoredTrouble }[] = [];
  const back: ReleasedPage[] = [];
  let wait: Extract<Outcome, { kind: "wait" }> | undefined;
  for (const [page, outcome] of outcomes) {
    if (outcome.kind === "made") made.push({ page, jobId: outcome.jobId });
    else if (outcome.kind === "refused") refused.push({ page, trouble: outcome.trouble });
    else {
      back.push(page);
      wait ??= outcome;
    }
  }
  const { hasEnded, isOutranked } = await noteJobs(tx, batch.id, made);
  if (back.length > 0) await putBackPages(tx, batch.id, back);
  const told = await noteRefused(deps, tx, locked, refused);
  const isDue = hasEnded || refused.length > 0 || isOutranked;
  const change: BatchChange = {
    ...(wait !== undefined && { wakeInMs: wait.afterMs }),
    ...(wait?.reason !== locked.batch.waitingReason && { waitingReason: wait?.reason ?? null }),
    ...(isOutranked && { spreadsPriority: true }),
    ...(isDue && { wakeInMs: 0 }),
  };
  await changeBatch(tx, batch.id, change);
  return { told, isDue };
}

async function noteRefused(
  { ids }: ReleaseDeps,
  tx: Transaction,
  { batch, nowMs }: { readonly batch: Batch; readonly nowMs: number },
  refused: readonly { readonly page: ReleasedPage; readonly trouble: StoredTrouble }[],
): Promise<EventType[]> {
  const settled = refused.map(({ page, trouble }) => ({
    page,
    turn: decideRefusal(trouble, page.retryCount, batch, nowMs),
    isAttempt: true,
  }));
  const events = await settleAndTell(ids, tx, batch, settled);
  await appendEvents(tx, events);
  return events.map(({ type }) => type as EventType);
}
