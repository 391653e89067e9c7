/** Books as they are put together: made over HTTP, rendered by an agent, mended, handed out. */
import type { BatchView, BookPageDetail, BookPageView } from "@holdfast/contract";
import { unzipSync } from "fflate";
import { afterAll, beforeAll, expect, test } from "vitest";
import { quickGraph } from "../../../../test/support/api.ts";
import { until } from "../../../../test/support/processes.ts";
import { startSystem, type TestSystem } from "../../../../test/support/system.ts";

let system: TestSystem;
beforeAll(async () => {
  system = await startSystem({ env: { COMFY_RETRY_BACKOFF_SEC: "0", COMFY_MAX_RETRIES: "1" } });
});
afterAll(() => system.close());

const template = quickGraph(0);
const graph = {
  ...template,
  "1": { ...template["1"], inputs: { ...template["1"].inputs, color: "{{color}}" } },
};

async function make(body: object): Promise<BatchView> {
  const made = await system.client.call<{ batch: BatchView }>("POST", "/api/v1/batches", body);
  return made.batch;
}

const ended = (id: string): Promise<BatchView> =>
  until(
    `batch ${id} has ended`,
    async () => {
      const batch = await system.client.call<BatchView>("GET", `/api/v1/batches/${id}`);
      return batch.endedAt === null ? undefined : batch;
    },
    20_000,
  );

test.each([true, false])(
  "a table of values becomes pictures, a page a row (parallel: %s)",
  async (parallel) => {
    const rows = [1, 2, 3, 4].map((color) => ({ color }));
    const { id, number } = await make({ name: "Colours", graph, table: { rows }, parallel });
    expect(await ended(id)).toMatchObject({
      status: "completed",
      pages: { done: 4 },
      progress: { percent: 100, secondsLeft: null },
    });
    const page = await system.client.call<BookPageDetail>("GET", `/api/v1/batches/${id}/pages/3`);
    expect(page).toMatchObject({
      badge: "Done",
      job_metadata: { overrides: { "1.color": 3 }, prompt_ids: [expect.any(String)] },
      versions: [{ outputs: [{ kind: "image" }] }],
    });
    const archive = await fetch(`${system.url}/api/v1/batches/${number}/archive`);
    const files = unzipSync(new Uint8Array(await archive.arrayBuffer()));
    expect(Object.keys(files)).toEqual([
      "0001.png",
      "0002.png",
      "0003.png",
      "0004.png",
      "pages.json",
    ]);
    const sheet = await (await fetch(`${system.url}/api/v1/batches/${id}/contact-sheet`)).text();
    expect(sheet).toContain("Colours");
    const metrics = await (await fetch(`${system.url}/metrics`)).text();
    expect(metrics).toContain('holdfast_books{status="running"} 0');
  },
);

test("a malformed page is flagged, the rest is rendered, and it is mended by other values", async () => {
  const pages = [5, 6, 7, 8].map((color) => ({
    set: { [`${color % 2 === 0 ? 9 : 1}.color`]: color },
  }));
  const { id, number } = await make({ graph: template, pages });
  expect(await ended(id)).toMatchObject({ status: "attention", pages: { done: 2, attention: 2 } });
  const flagged = await system.client.call<{ items: BookPageView[] }>(
    "GET",
    `/api/v1/batches/${id}/pages?status=attention`,
  );
  expect(flagged.items).toMatchObject([
    { page: 2, retry_count: 1, image_error: [{ final: false }, { final: true }] },
    { page: 4 },
  ]);
  // What fitted nothing is left out with that.
  const mended = await system.client.call("POST", `/admin/books/${number}/regenerate-page/2`, {
    overrides: { "1.color": 6 },
  });
  expect(mended).toEqual({ success: true, book_id: String(number), regenerated: [2] });
  const other = await system.client.call("POST", `/api/v1/batches/${id}/pages/4/regenerate`, {
    set: { "1.color": 8 },
  });
  expect(other).toMatchObject({
    regenerated: [4],
    warnings: [expect.stringContaining("9.color")],
  });
  await until("all pages are done", async () => {
    const { status } = await ended(id);
    return status === "completed" ? true : undefined;
  });
});
