import type { BatchView, BookPageView } from "@holdfast/contract";

/** A book that is half done. */
export function book(over: Partial<BatchView> = {}): BatchView {
  return {
    id: "bat_00000000000000000000000001",
    number: 12,
    name: "cats",
    owner: "local",
    status: "running",
    parallel: true,
    window: 256,
    priority: 0,
    tags: [],
    maxRetries: 3,
    retryBackoffSeconds: [15, 45, 90],
    pageCount: 10,
    pages: { pending: 3, rendering: 2, attention: 1, done: 4, cancelled: 0 },
    changedPages: 0,
    progress: {
      percent: 50,
      pagesPerMinute: 3.25,
      secondsLeft: 185,
      waitingPages: 0,
      nextRoundAt: null,
    },
    metadata: {},
    createdAt: "2026-01-31T12:00:00.000Z",
    endedAt: null,
    ...over,
  };
}

/** A page that needs attention. */
export function bookPage(over: Partial<BookPageView> = {}): BookPageView {
  return {
    page: 3,
    name: null,
    status: "attention",
    badge: "Needs attention",
    jobId: null,
    version: 1,
    retryAt: null,
    waitingReason: null,
    retry_count: 3,
    last_attempted_at: null,
    needs_regeneration: true,
    changes: null,
    job_metadata: {},
    image_error: [
      {
        at: "2026-01-31T12:00:00.000Z",
        attempt: 1,
        class: "memory",
        subclass: "vram",
        message: "out of\nmemory",
        strategy: "retry",
        node_id: null,
        node_type: null,
        job_id: null,
        final: true,
      },
    ],
    ...over,
  };
}
