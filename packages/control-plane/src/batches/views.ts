/** Books as the wire has them. Pure. */
import { PAGE_BADGES, type BatchView, type BookPageView } from "@holdfast/contract";
import { toInstant, toInstantOrNull } from "../access/pages.ts";
import { MAX_PROMPT_IDS, type Batch } from "./model.ts";
import type { PageFacts } from "./page-rows.ts";
import { progressOf, type BookStanding } from "./standing.ts";

const MS_PER_SECOND = 1_000;

/** What is read beside a batch to show it. */
export interface BatchExtras {
  readonly standing?: BookStanding | undefined;
  readonly changedPages?: number | undefined;
}

/** A batch as callers see it. */
export function toBatchView(
  batch: Batch,
  { standing, changedPages = 0 }: BatchExtras = {},
): BatchView {
  return {
    id: batch.id,
    number: batch.number,
    name: batch.name,
    owner: batch.owner,
    status: batch.status,
    parallel: batch.parallel,
    window: batch.window,
    priority: batch.priority,
    tags: [...batch.tags],
    maxRetries: batch.maxRetries,
    retryBackoffSeconds: batch.retryBackoffMs.map((ms) => ms / MS_PER_SECOND),
    pageCount: batch.pageCount,
    pages: { ...batch.counts },
    changedPages,
    progress: progressOf(batch, standing),
    metadata: { ...batch.metadata },
    createdAt: toInstant(batch.createdAt),
    endedAt: toInstantOrNull(batch.endedAt),
  };
}

/** A page as callers see it. */
export function toPageView(
  page: PageFacts,
  batch: Pick<Batch, "status" | "waitingReason">,
): BookPageView {
  const jobIds = page.jobId === null ? page.earlierJobIds : [...page.earlierJobIds, page.jobId];
  const promptIds = [...new Set([...page.promptIds, ...page.livePromptIds])];
  return {
    page: page.page,
    name: page.name,
    status: page.state,
    badge: PAGE_BADGES[page.state],
    jobId: page.jobId,
    version: page.version,
    retryAt: toInstantOrNull(page.retryAt),
    waitingReason: waitingReasonOf(page, batch),
    retry_count: page.retryCount,
    last_attempted_at: toInstantOrNull(page.lastAttemptedAt),
    needs_regeneration: page.state === "attention",
    changes: page.changes,
    job_metadata: {
      ...page.metadata,
      overrides: page.overrides,
      prompt_ids: promptIds.slice(-MAX_PROMPT_IDS),
      job_ids: jobIds,
      version: page.version,
    },
    image_error: [...page.imageErrors],
  };
}

function waitingReasonOf(
  page: PageFacts,
  batch: Pick<Batch, "status" | "waitingReason">,
): string | null {
  if (page.state === "rendering") return page.jobWaitingReason;
  if (page.state !== "pending") return null;
  if (batch.status === "paused") return "the book is paused";
  return page.retryAt === null ? batch.waitingReason : "its next round has still to begin";
}
