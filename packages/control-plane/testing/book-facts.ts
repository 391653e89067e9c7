/** A book in memory, for tests of what is made of one. */
import type { BatchView, BookPageView, OutputView } from "@holdfast/contract";
import { createHash } from "node:crypto";
import type { OpenBlob } from "../src/batches/archive.ts";
import type { BookReader, PageWithOutputs } from "../src/batches/book-files.ts";

/** A batch of so many pages. */
export function batchView(over: Partial<BatchView> = {}): BatchView {
  return {
    id: "bat_00000000000000000000000001",
    number: 12,
    name: null,
    owner: "local",
    status: "running",
    parallel: true,
    window: 256,
    priority: 0,
    tags: [],
    maxRetries: 3,
    retryBackoffSeconds: [15, 45, 90],
    pageCount: 3,
    pages: { pending: 0, rendering: 0, attention: 0, done: 3, cancelled: 0 },
    changedPages: 0,
    progress: {
      percent: 100,
      pagesPerMinute: null,
      secondsLeft: null,
      waitingPages: 0,
      nextRoundAt: null,
    },
    metadata: {},
    createdAt: "2026-11-27T10:00:00.000Z",
    endedAt: null,
    ...over,
  };
}

/** A page that is done, unless told otherwise. */
export function bookPage(page: number, over: Partial<BookPageView> = {}): BookPageView {
  return {
    page,
    name: null,
    status: "done",
    badge: "Done",
    jobId: null,
    version: 1,
    retryAt: null,
    waitingReason: null,
    retry_count: 0,
    last_attempted_at: null,
    needs_regeneration: false,
    changes: null,
    job_metadata: {},
    image_error: [],
    ...over,
  };
}

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** An output of these bytes. */
export function outputOf(id: string, text: string, over: Partial<OutputView> = {}): OutputView {
  const bytes = Buffer.from(text);
  return {
    id: `out_${id}`,
    jobId: "job_00000000000000000000000001",
    nodeId: "9",
    ordinal: 0,
    kind: "image",
    name: "ComfyUI_00001_.png",
    mediaType: "image/png",
    sizeBytes: bytes.length,
    sha256: sha256(bytes),
    temporary: false,
    url: `/api/v1/outputs/out_${id}/content`,
    text: null,
    ...over,
  };
}

/** Reads pages from a list, some a step. */
export function pagesOf(all: readonly PageWithOutputs[], step = 2): BookReader["pages"] {
  return async function* (_id, { after = 0, status, signal }) {
    const chosen = all.filter(
      ({ page }) => page.page > after && (status === undefined || page.status === status),
    );
    for (let from = 0; from < chosen.length; from += step) {
      signal.throwIfAborted();
      yield chosen.slice(from, from + step);
    }
  };
}

/** A store of texts. */
export function storeOf(...texts: readonly string[]): OpenBlob {
  const blobs = new Map(texts.map((text) => [sha256(Buffer.from(text)), Buffer.from(text)]));
  return async (digest, range) => {
    const bytes = blobs.get(digest);
    if (bytes === undefined) return { kind: "missing" };
    const part = range === undefined ? bytes : bytes.subarray(range.start, range.end + 1);
    return { kind: "found", sizeBytes: bytes.length, body: part };
  };
}
