/**
 * A book: a batch of pages, each of which becomes a job when it is released.
 *
 * I1 Whoever changes the state of a page locks its batch's row first: one step of a book at a time over all replicas.
 * I2 A page that is given out is marked (`releasingSince`) before anything is asked of the jobs, and
 *    what is asked can be asked again: a submit under a key made of batch, page and version, a retry of
 *    one round alone. So a crash anywhere between makes no second job, and no second round.
 * I3 A round of a page's job is settled once: rounds up to `settledRound` are not looked at any more.
 * I4 A job that ended, or was queued again by whomever, is a row in `book_turns`, written by a trigger
 *    in the transaction of that change. Wakes only make it sooner.
 * I5 The numbers of a batch's pages by state are kept with every change, by a trigger.
 */
import {
  imageErrorSchema,
  type BatchStatus,
  type ImageError,
  type JobPolicy,
  type PageStatus,
} from "@holdfast/contract";
import { z } from "zod";
import type { Caller } from "../access/model.ts";

/** How many pages of a batch are in each state. */
export type PageCounts = Readonly<Record<PageStatus, number>>;

/** A batch. Instants are epoch milliseconds. */
export interface Batch {
  readonly id: string;
  readonly number: number;
  readonly owner: string;
  /** Node classes that its caller's graphs could use when it was made; null allows all. */
  readonly allowedClasses: readonly string[] | null;
  readonly name: string | null;
  readonly status: BatchStatus;
  readonly parallel: boolean;
  /** Pages that are jobs at one time. */
  readonly window: number;
  readonly priority: number;
  readonly tags: readonly string[];
  readonly timeoutMs: number | null;
  readonly policy: JobPolicy;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly maxRetries: number;
  /** Pauses before fresh rounds of a page; the last repeats. */
  readonly retryBackoffMs: readonly number[];
  readonly warnings: readonly string[];
  readonly pageCount: number;
  readonly counts: PageCounts;
  readonly spreadsPriority: boolean;
  readonly waitingReason: string | null;
  readonly createdAt: number;
  /** Of a cancelled batch: null until its last page has ended. */
  readonly endedAt: number | null;
}

/** What is told of why a page has no job; see `PageTrouble`. */
export const troubleSchema = z.object({
  code: z.string(),
  message: z.string(),
  details: z.record(z.string(), z.unknown()).optional(),
});
/** See {@link troubleSchema}. */
export type StoredTrouble = z.infer<typeof troubleSchema>;

const templateValueSchema = z.union([z.string(), z.number(), z.boolean()]);

/** What the JSON column `variables` holds by name. */
export const variableValueSchema = z.object({
  within: templateValueSchema,
  alone: templateValueSchema.optional(),
});
/**
 * A value of a variable within a text; and, if that is another one, where the variable is all that an
 * input other than a text is.
 */
export type VariableValue = Readonly<z.infer<typeof variableValueSchema>>;

/** What the JSON column `image_errors` holds, the newest last. */
export const imageErrorsSchema = z.array(imageErrorSchema);

/** A page, given out and not noted yet (I2). */
export interface ReleasedPage {
  readonly batchId: string;
  readonly page: number;
  readonly version: number;
  readonly name: string | null;
  readonly graphNo: number;
  readonly overrides: Readonly<Record<string, unknown>>;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly trouble: StoredTrouble | null;
  /** The job whose next round is wanted; null where there is none yet. */
  readonly jobId: string | null;
  readonly settledRound: number;
  readonly retryCount: number;
  readonly imageErrors: readonly ImageError[];
}

/** The caller that jobs of a batch are submitted and changed as. */
export function callerOf(batch: Pick<Batch, "owner" | "allowedClasses">): Caller {
  return { id: batch.owner, role: "user", allowedClasses: batch.allowedClasses };
}

/** Whether a batch is over: only a regenerate, or a redrive of one of its jobs, opens it again. */
export function isOver(batch: Pick<Batch, "endedAt">): boolean {
  return batch.endedAt !== null;
}

/** Pages that are jobs at one time, unless a batch says otherwise. */
export const DEFAULT_WINDOW = 256;
/** Pages given out by one step: each asks the database for something, and others do as well. */
export const RELEASE_STEP = 50;
/** Pages settled by one step. */
export const SETTLE_STEP = 500;
/** Pages that a cancel or a regenerate changes in one transaction. */
export const CHANGE_STEP = 1_000;
/** A page that was given out for so long without a note is taken up by whoever sees it. */
export const STALE_RELEASE_MS = 10_000;
/** A living batch is looked at so often though nothing has woken it. */
export const LOOK_AGAIN_MS = 60_000;
/** Most prompt ids that a page keeps. */
export const MAX_PROMPT_IDS = 100;
/** Versions of a page that one answer shows. */
export const MAX_VERSIONS_SHOWN = 50;
