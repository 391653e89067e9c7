import { text } from "node:stream/consumers";
import { Readable } from "node:stream";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { batchView, bookPage, outputOf, pagesOf } from "../../testing/book-facts.ts";
import type { PageWithOutputs } from "./book-files.ts";
import { contactSheet, contactSheetPolicy, type SheetChoice } from "./contact-sheet.ts";
import { htmlText } from "./html-text.ts";

const ERROR = {
  at: "2026-11-27T10:00:00.000Z",
  attempt: 1,
  class: "memory",
  subclass: "vram",
  message: "out of memory <b>",
  strategy: "retry",
  node_id: null,
  node_type: null,
  job_id: null,
  final: false,
};

function sheet(
  pages: readonly PageWithOutputs[],
  choice: Partial<SheetChoice> = {},
  batch = batchView(),
): Promise<string> {
  const { signal } = new AbortController();
  const chosen = {
    status: undefined,
    after: 0,
    limit: 200,
    isStandalone: false,
    signal,
    ...choice,
  };
  return text(Readable.from(contactSheet(batch, pagesOf(pages), chosen)));
}

const flagged: PageWithOutputs = {
  page: bookPage(2, {
    status: "attention",
    badge: "Needs attention",
    name: '"><img src=x onerror=alert(1)>',
    image_error: [ERROR, { ...ERROR, message: "the latest" }],
  }),
  outputs: [],
};

describe("a contact sheet", () => {
  test("shows number, badge, pictures and the latest error", async () => {
    const html = await sheet([
      { page: bookPage(1, { image_error: [ERROR] }), outputs: [outputOf("a", "x")] },
      flagged,
    ]);
    expect(html).toContain('<img src="/api/v1/outputs/out_a/content" alt="Page 1" loading="lazy"');
    expect(html).toContain('<span class="badge done">Done</span></article>');
    expect(html).toContain('<span class="badge attention">Needs attention</span>');
    expect(html).toContain("memory/vram: the latest");
    expect(html).not.toContain("out of memory");
  });

  test("shows a video or a latent as a link, and no more than a few pictures of a page", async () => {
    const many = Array.from({ length: 9 }, (_, i) => outputOf(`${i}`, "x", { ordinal: i }));
    const video = outputOf("v", "x", { mediaType: "video/mp4", name: "a.mp4" });
    const svg = outputOf("s", "x", { mediaType: "image/svg+xml", name: "a.svg" });
    const html = await sheet([{ page: bookPage(1), outputs: [...many, video, svg] }]);
    expect(html.match(/<img /g)).toHaveLength(4);
    expect(html).toContain('<p><a href="/api/v1/outputs/out_v/content">a.mp4</a></p>');
    expect(html).toContain(">a.svg</a></p>");
  });

  test("has no script, and nothing from elsewhere", async () => {
    const html = await sheet(
      [flagged],
      {},
      batchView({ name: "</title><script>alert(1)</script>" }),
    );
    expect(html).not.toMatch(/<script|<img src=x|javascript:|https?:\/\//);
    expect(html).toContain("&quot;&gt;&lt;img src=x onerror=alert(1)&gt;");
    expect(html).toContain("Book 12: &lt;/title&gt;&lt;script&gt;");
    expect(html).toContain("prefers-color-scheme:dark");
    expect(contactSheetPolicy()).toMatch(
      /default-src 'none'; style-src 'sha256-.{44}'; img-src 'self'/,
    );
  });

  test("goes on after the last page that it shows", async () => {
    const pages = Array.from({ length: 5 }, (_, i) => ({ page: bookPage(i + 1), outputs: [] }));
    const first = await sheet(pages, { limit: 3 });
    expect(first).toContain('<a href="?after=3&amp;limit=3" rel="next">Pages after 3</a>');
    expect(first).not.toContain("First pages");
    const rest = await sheet(pages, { limit: 3, after: 3, status: "done" });
    expect(rest).toContain('id="p5"');
    expect(rest).toContain('<a href="?status=done&amp;limit=3">First pages</a>');
    expect(rest).not.toContain("Pages after");
    expect(await sheet(pages, { limit: 4 })).toContain("Pages after 4");
    expect(await sheet(pages, { limit: 5 })).not.toContain("Pages after");
  });

  test("says what a page is a picture of, and what recovery changed", async () => {
    const changes = { loss: "size", steps: ["Reduced <4.width>: 1024 → 816."] } as const;
    const inParts = { loss: "none", steps: ["Decoded in parts."] } as const;
    const prompt = `a castle\n${"at dusk ".repeat(20)}<b>`;
    const html = await sheet(
      [
        {
          page: bookPage(1, { changes: { ...changes, steps: [...changes.steps] } }),
          outputs: [],
          prompt,
        },
        {
          page: bookPage(2, { changes: { ...inParts, steps: [...inParts.steps] } }),
          outputs: [],
          prompt: null,
        },
      ],
      {},
      batchView({ changedPages: 1 }),
    );
    expect(html).toContain(
      '<p class="changed">not as submitted (size): Reduced &lt;4.width&gt;: 1024 → 816.</p>',
    );
    expect(html).toMatch(/<p class="prompt">a castle at dusk [a-z ]*…<\/p>/);
    expect(html).toContain("3 pages have ended, 1 is not as submitted");
    expect(html.match(/class="changed"/g)).toHaveLength(1);
    expect(html.match(/class="prompt"/g)).toHaveLength(1);
  });

  test("that is to be kept as a file leads nowhere else", async () => {
    const pages = [1, 2].map((page) => ({ page: bookPage(page), outputs: [] }));
    const html = await sheet(pages, { isStandalone: true, limit: 1, status: "done" });
    expect(html).not.toMatch(/href=|<link|<nav/);
    expect(html).toContain("3 Done; here: Done");
    expect(html).toContain("pages after 1 are not on this sheet");
  });

  test("filters by the states that there are", async () => {
    const batch = batchView({
      pages: { pending: 0, rendering: 0, attention: 1, done: 2, cancelled: 0 },
    });
    const html = await sheet([flagged], { status: "attention" }, batch);
    expect(html).toContain(
      '<a href="?status=attention&amp;limit=200" aria-current="page">Needs attention (1)</a>',
    );
    expect(html).toContain("Done (2)");
    expect(html).not.toContain("Cancelled (");
  });

  test("says when there is nothing", async () => {
    expect(await sheet([])).toContain("no pages here");
  });

  test("of ten thousand pages is written in pieces of bounded size", async () => {
    const pages = Array.from({ length: 10_000 }, (_, i) => ({
      page: bookPage(i + 1),
      outputs: [outputOf("a", "x")],
    }));
    const { signal } = new AbortController();
    const chosen = { status: undefined, after: 0, limit: 10_000, isStandalone: false, signal };
    let longest = 0;
    for await (const piece of contactSheet(batchView(), pagesOf(pages, 100), chosen)) {
      longest = Math.max(longest, piece.length);
    }
    expect(longest).toBeLessThan(64_000);
  });
});

test("no text ends an element or an attribute", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (given) => {
      const html = htmlText(given);
      expect(html).not.toMatch(/[<>"'`]|&(?!(amp|lt|gt|quot|#39|#96);)/);
      expect(html.isWellFormed()).toBe(true);
    }),
  );
  expect(htmlText("a\u202Eb\0\n\uD800")).toBe("a b \uFFFD");
});
