/** One step of a book: what has ended is settled, what is due is given out, its end is told. */
import type { EventType } from "@holdfast/contract";
import type { JobsService } from "../jobs/service.ts";
import type { Transaction } from "../platform/db.ts";
import { appendEvents, type NewEvent } from "../platform/outbox.ts";
import {
  changeBatch,
  endSpreading,
  lockBatch,
  readBatch,
  rereadBatch,
  type LockedBatch,
} from "./batch-store.ts";
import { doneEvent } from "./book-events.ts";
import {
  callerOf,
  CHANGE_STEP,
  isOver,
  LOOK_AGAIN_MS,
  RELEASE_STEP,
  SETTLE_STEP,
  type Batch,
  type ReleasedPage,
} from "./model.ts";
import { readStrayBatches } from "./regenerate-store.ts";
import { endStrays, giveOut, type ReleaseDeps } from "./release-service.ts";
import { settleAndTell } from "./settle-service.ts";
import { decideEnd } from "./settling.ts";
import { endOf } from "./standing.ts";
import {
  cancelPending,
  readEndedPages,
  readPendingWait,
  releasePages,
  reopenPages,
  takeStaleReleases,
  takeTurns,
} from "./step-store.ts";

/** What a step asks. */
export interface StepDeps extends ReleaseDeps {
  readonly jobs: ReleaseDeps["jobs"] & Pick<JobsService, "cancelMany" | "prioritize">;
}

/** Whether there is more to do at once; `busy`: another replica is at it. */
export type Stepped = "more" | "idle" | "busy";

/** Jobs of a cancelled batch that were noted late are looked for so often. */
const CANCEL_AGAIN_MS = 2_000;
/** A new priority that could not be told to all jobs is told again so soon. */
const SPREAD_AGAIN_MS = 1_000;
/** Pages taken over at once that nobody noted. */
const STALE_PAGES = 100;
/** Batches looked at in one go for jobs of versions that are over. */
const STRAY_BATCHES = 20;

/** Takes one step of a batch; nothing when another replica is at it. */
export async function stepBatch(deps: StepDeps, batchId: string): Promise<Stepped> {
  const taken = await deps.db.transaction((tx) => takeStep(deps, tx, batchId));
  if (taken === undefined) return "busy";
  if (taken.told.length > 0) deps.onEvents(taken.told);
  const { batch } = taken;
  let { hasMore } = taken;
  if (batch.status === "cancelled" && batch.counts.rendering > 0) {
    const { cancelled } = await deps.jobs.cancelMany(callerOf(batch), { batchId });
    hasMore ||= cancelled > 0;
  }
  if (batch.spreadsPriority) {
    const { priority } = batch;
    const { more } = await deps.jobs.prioritize(callerOf(batch), { batchId, priority });
    if (!more) await endSpreading(deps.db, batchId, priority);
  }
  const isDue = await giveOut(deps, batch, taken.released);
  return hasMore || isDue ? "more" : "idle";
}

/**
 * Takes up what somebody has begun and not brought to its end: it crashed, or is slow. What breaks of one
 * batch is told to `onBroken`, and the others have their turn.
 */
export async function takeUpLost(
  deps: StepDeps,
  onBroken: (batchId: string, error: unknown) => void,
): Promise<Stepped> {
  const stale = await takeStaleReleases(deps.db, STALE_PAGES);
  const byBatch = new Map<string, ReleasedPage[]>();
  for (const page of stale) {
    const all = byBatch.get(page.batchId) ?? [];
    byBatch.set(page.batchId, all);
    all.push(page);
  }
  let hasMore = stale.length === STALE_PAGES;
  const each = async (id: string, work: (batch: Batch) => Promise<unknown>): Promise<void> => {
    try {
      const batch = await readBatch(deps.db, { id });
      if (batch !== undefined) await work(batch);
    } catch (error) {
      onBroken(id, error);
    }
  };
  for (const [id, pages] of byBatch) {
    await each(id, async (batch) => {
      hasMore = (await giveOut(deps, batch, pages)) || hasMore;
    });
  }
  for (const id of await readStrayBatches(deps.db, STRAY_BATCHES)) {
    await each(id, (batch) => endStrays(deps, batch));
  }
  return hasMore ? "more" : "idle";
}

interface TakenStep {
  /** As it stands after the step. */
  readonly batch: Batch;
  readonly released: readonly ReleasedPage[];
  readonly told: readonly EventType[];
  readonly hasMore: boolean;
}

async function takeStep(
  deps: StepDeps,
  tx: Transaction,
  batchId: string,
): Promise<TakenStep | undefined> {
  const locked = await lockBatch(tx, batchId, "skip");
  if (locked === undefined) {
    // Of a batch that is gone nobody has to be told anything any more.
    if ((await readBatch(tx, { id: batchId })) === undefined) await takeTurns(tx, batchId);
    return undefined;
  }
  // First what was told, then what is to be seen: a job that ends between the two is told of later.
  const turns = await takeTurns(tx, batchId);
  const reopened = turns.length === 0 ? 0 : await reopenPages(tx, batchId, turns);
  const status = reopened > 0 && isOver(locked.batch) ? ("running" as const) : locked.batch.status;
  const settled = await settleEnded(deps, tx, locked);
  if (status === "cancelled") await cancelPending(tx, batchId, CHANGE_STEP);
  const after = await rereadBatch(tx, batchId);
  const released =
    status === "running" ? await releasePages(tx, batchId, await roomOf(tx, after)) : [];
  const counts = {
    ...after.counts,
    pending: after.counts.pending - released.length,
    rendering: after.counts.rendering + released.length,
  };
  const wasOver = isOver(locked.batch) && reopened === 0;
  const end = wasOver ? null : endOf(counts);
  const standing: Batch = {
    ...after,
    counts,
    status: end !== null && status !== "cancelled" ? end : status,
    // Whether, not when: nobody asks for the instant here.
    endedAt: wasOver || end !== null ? locked.nowMs : null,
  };
  const isFull = settled.count === SETTLE_STEP;
  const wakeInMs = isFull ? 0 : await wakeOf(tx, standing, released.length);
  await changeBatch(tx, batchId, {
    wakeInMs,
    ...(standing.status !== locked.batch.status && { status: standing.status }),
    ...(end !== null ? { end: "now" as const } : reopened > 0 ? { end: "never" as const } : {}),
  });
  const events: readonly NewEvent[] =
    end === null ? settled.events : [...settled.events, doneEvent(deps.ids.next("evt"), standing)];
  await appendEvents(tx, events);
  return {
    batch: standing,
    released,
    told: [...new Set(events.map(({ type }) => type as EventType))],
    hasMore: wakeInMs === 0,
  };
}

async function settleEnded(
  { ids }: StepDeps,
  tx: Transaction,
  { batch, nowMs }: LockedBatch,
): Promise<{ readonly count: number; readonly events: readonly NewEvent[] }> {
  const ended = await readEndedPages(tx, batch.id, SETTLE_STEP);
  const settled = ended.map(({ page, end, promptIds, changes }) => {
    const decided = decideEnd(end, page.retryCount, batch, nowMs);
    const isOff = decided.kind === "retry" && batch.status === "cancelled";
    const turn = isOff ? ({ kind: "cancelled" } as const) : decided;
    const round = end.state === "gone" ? {} : { round: end.round, changes };
    return { page, turn, promptIds, ...round };
  });
  return { count: ended.length, events: await settleAndTell(ids, tx, batch, settled) };
}

/** How many pages may be given out now. */
async function roomOf(tx: Transaction, batch: Batch): Promise<number> {
  const { pending, rendering } = batch.counts;
  if (pending === 0) return 0;
  if (batch.parallel) return Math.max(0, Math.min(RELEASE_STEP, batch.window - rendering));
  // In order: the first that has not ended, and when its time has come.
  if (rendering > 0) return 0;
  return (await readPendingWait(tx, batch.id, "first")) === 0 ? 1 : 0;
}

/** In how many ms the batch is looked at again by itself; null: when somebody changes it. */
async function wakeOf(tx: Transaction, batch: Batch, released: number): Promise<number | null> {
  if (isOver(batch)) return null;
  const { pending, rendering } = batch.counts;
  if (batch.status === "cancelled") return pending > 0 ? 0 : CANCEL_AGAIN_MS;
  const atMost = batch.spreadsPriority ? SPREAD_AGAIN_MS : LOOK_AGAIN_MS;
  if (batch.status === "paused") return rendering > 0 || batch.spreadsPriority ? atMost : null;
  const isFull = batch.parallel ? rendering >= batch.window : rendering > 0;
  if (pending === 0 || isFull) return atMost;
  if (released === RELEASE_STEP) return 0;
  const wait = await readPendingWait(tx, batch.id, batch.parallel ? "soonest" : "first");
  return Math.min(wait ?? atMost, atMost);
}
