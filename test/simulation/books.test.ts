/** A book on machines that fail now and then: every page is a picture at last, or flagged with why not. */
import type { BatchView, BookPageDetail, BookPageView } from "@holdfast/contract";
import { afterEach, beforeEach, expect, it } from "vitest";
import { quickGraph } from "../support/api.ts";
import { until } from "../support/processes.ts";
import { startSystem, type TestSystem } from "../support/system.ts";

const PAGES = 60;
/** Pages whose graph has a node that fails for as long as its cause is there. */
const SPOILT = [7, 23, 41];
const LIMIT_MS = 90_000;

let system: TestSystem;
beforeEach(async () => {
  system = await startSystem({
    simulators: [{ seed: 11 }, { seed: 12 }],
    env: { COMFY_RETRY_BACKOFF_SEC: "0", COMFY_MAX_RETRIES: "2" },
  });
});
afterEach(() => system.close());

/** Scaled where it is to be spoilt: the fault strikes that class alone. */
function pageGraph(page: number): object {
  const graph = quickGraph(page);
  if (!SPOILT.includes(page)) return graph;
  const scaled = {
    class_type: "ImageScale",
    inputs: { image: ["1", 0], upscale_method: "lanczos", width: 32, height: 32, crop: "disabled" },
  };
  const save = { ...graph["2"], inputs: { ...graph["2"].inputs, images: ["9", 0] } };
  return { ...graph, "2": save, "9": scaled };
}

const ended = (id: string): Promise<BatchView> =>
  until(
    "the book has ended",
    async () => {
      const batch = await system.client.call<BatchView>("GET", `/api/v1/batches/${id}`);
      return batch.endedAt === null ? undefined : batch;
    },
    LIMIT_MS,
  );

async function pagesOf(id: string): Promise<readonly BookPageView[]> {
  const path = `/api/v1/batches/${id}/pages?limit=100`;
  return (await system.client.call<{ items: BookPageView[] }>("GET", path)).items;
}

it(
  "sixty pages on two machines where one attempt of ten fails are all done, or flagged with evidence",
  async () => {
    for (const { faults } of system.simulators) {
      faults.add({
        kind: "raise",
        exceptionType: "RuntimeError",
        message: "a chance failure",
        match: { nodeClass: "SaveImage", probability: 0.1, count: 0 },
      });
      faults.add({
        kind: "raise",
        exceptionType: "RuntimeError",
        message: "the scaler is broken",
        match: { nodeClass: "ImageScale", count: 0 },
      });
    }
    const { batch } = await system.client.call<{ batch: BatchView }>("POST", "/api/v1/batches", {
      name: "Sixty",
      pages: Array.from({ length: PAGES }, (_, at) => ({ graph: pageGraph(at + 1) })),
    });
    const over = await ended(batch.id);
    const flagged = (await pagesOf(batch.id)).filter(({ status }) => status !== "done");
    expect(over).toMatchObject({ status: "attention", pageCount: PAGES });
    expect(over.pages.done + over.pages.attention).toBe(PAGES);
    expect(flagged.map(({ page }) => page)).toEqual(expect.arrayContaining(SPOILT));
    for (const page of flagged) {
      expect(page).toMatchObject({
        badge: "Needs attention",
        needs_regeneration: true,
        retry_count: 2,
      });
      expect(page.image_error.at(-1)).toMatchObject({
        final: true,
        message: expect.stringContaining(
          SPOILT.includes(page.page) ? "the scaler is broken" : "a chance failure",
        ),
      });
      expect(page.image_error).toHaveLength(3);
    }
    // Chance has struck, and most of it was mended without a flag.
    const attempts = await system.client.call<{ total_errors: number }>(
      "GET",
      "/api/error-recovery/statistics",
    );
    expect(attempts.total_errors).toBeGreaterThan(SPOILT.length * 3);

    for (const { faults } of system.simulators) faults.clear();
    const { regenerated } = await system.client.call<{ regenerated: number[] }>(
      "POST",
      `/books/${batch.number}/regenerate`,
    );
    expect(regenerated).toEqual(flagged.map(({ page }) => page));
    expect(await ended(batch.id)).toMatchObject({ status: "completed", pages: { done: PAGES } });
    const mended = await system.client.call<BookPageDetail>(
      "GET",
      `/api/v1/batches/${batch.id}/pages/${SPOILT[0]}`,
    );
    expect(mended).toMatchObject({
      badge: "Done",
      version: 2,
      needs_regeneration: false,
      versions: [
        { version: 2, outputs: [{ kind: "image" }] },
        { version: 1, outputs: [] },
      ],
    });
  },
  2 * LIMIT_MS,
);
