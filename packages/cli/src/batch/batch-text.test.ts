import { expect, it } from "vitest";
import { book, bookPage } from "../../testing/book-facts.ts";
import { textTable } from "../terminal/text-table.ts";
import {
  batchBar,
  batchChange,
  batchColumns,
  batchFacts,
  batchLine,
  pageColumns,
  whyText,
} from "./batch-text.ts";

const ALL_DONE = { pending: 0, rendering: 0, attention: 0, done: 10, cancelled: 0 };

it("tells a book in one line, in the words of screens", () => {
  expect(batchLine(book())).toBe(
    "book 12 cats: running, 4 Done, 1 Needs attention, 2 Rendering, 3 Pending, about 3 min 5 s left",
  );
  expect(batchLine(book({ name: "a\u001B[2J", status: "completed", pages: ALL_DONE }))).toBe(
    "book 12 a [2J: completed, 10 Done",
  );
});

it("tells of results that recovery changed", () => {
  const changed = book({ status: "completed", pages: ALL_DONE, changedPages: 2 });
  expect(batchLine(changed)).toBe("book 12 cats: completed, 10 Done, 2 not as submitted");
  expect(batchFacts(changed)).toContainEqual([
    "changed",
    "2 not as submitted; how: holdfast batch pages 12 --status done",
  ]);
  expect(batchFacts(book())).toContainEqual(["changed", ""]);
  const changes = { loss: "size" as const, steps: ["4.width 1024 → 816."] };
  expect(whyText(bookPage({ status: "done", changes }))).toBe(
    "not as submitted (size): 4.width 1024 → 816.",
  );
});

it("draws a bar that is full only at the end, and fits the screen", () => {
  expect(batchBar(book(), 200)).toMatch(/^█{12}░{12} {2}50 % {2}book 12 cats/);
  const progress = {
    percent: 99.9,
    pagesPerMinute: null,
    secondsLeft: null,
    waitingPages: 0,
    nextRoundAt: null,
  };
  expect(batchBar(book({ progress }), 200)).toMatch(/^█{23}░ {2}99 %/);
  expect(batchBar(book(), 40)).toHaveLength(39);
});

it("has a line for a state, a tenth of the way and a page that needs attention, and for nothing else", () => {
  const before = book();
  const at = (percent: number): ReturnType<typeof book> =>
    book({ progress: { ...before.progress, percent } });
  expect(batchChange(undefined, before)).toMatch(/^50 % {2}book 12: running, 4 Done/);
  expect(batchChange(before, at(59))).toBeUndefined();
  expect(batchChange(before, at(60))).toMatch(/^60 %/);
  expect(batchChange(before, book({ status: "paused" }))).toContain("paused");
  expect(batchChange(before, book({ pages: { ...before.pages, attention: 2 } }))).toBeDefined();
});

/** Two of its pages wait for their next round, at an instant. */
function waitingBook(rendering: number, nextRoundAt: string): ReturnType<typeof book> {
  const progress = { ...book().progress, waitingPages: 2, nextRoundAt };
  return book({ progress, pages: { ...book().pages, rendering } });
}

it("says when the next round begins, on a line of its own when nothing else goes on", () => {
  const idle = waitingBook(0, "2026-01-31T12:21:57.250Z");
  expect(batchLine(idle)).toBe(
    "book 12 cats: running, 4 Done, 1 Needs attention, 3 Pending, " +
      "2 pages wait for their next round, at 12:21:57 UTC, about 3 min 5 s left",
  );
  expect(batchFacts(idle)).toContainEqual([
    "waiting",
    "2 pages wait for their next round, at 12:21:57 UTC",
  ]);
  expect(batchFacts(book())).toContainEqual(["waiting", ""]);
  const busy = waitingBook(1, "2026-01-31T12:21:57.250Z");
  expect(batchLine(busy)).toContain("2 pages wait for their next round, the first at 12:21:57 UTC");
  const one = { ...idle, progress: { ...idle.progress, waitingPages: 1 } };
  expect(batchLine(one)).toContain("1 page waits for its next round, at 12:21:57 UTC");

  expect(batchChange(busy, idle)).toContain("at 12:21:57 UTC");
  expect(batchChange(idle, idle)).toBeUndefined();
  expect(batchChange(idle, waitingBook(0, "2026-01-31T12:23:27.250Z"))).toContain("12:23:27");
  // What is rendered meanwhile shows by itself.
  expect(batchChange(busy, waitingBook(1, "2026-01-31T12:23:27.250Z"))).toBeUndefined();
});

it("says what is left once", () => {
  expect(batchFacts(book())).toContainEqual(["left", "about 3 min 5 s"]);
});

it("names the node of an error, by what is known of it", () => {
  const [error] = bookPage().image_error;
  const why = (node_id: string | null, node_type: string | null): string =>
    whyText(
      bookPage({ image_error: error === undefined ? [] : [{ ...error, node_id, node_type }] }),
    );
  expect(why("5", "MaskToImage")).toBe("memory/vram: node 5 MaskToImage: out of\nmemory");
  expect(why("5", null)).toBe("memory/vram: node 5: out of\nmemory");
  expect(why(null, "MaskToImage")).toBe("memory/vram: node MaskToImage: out of\nmemory");
});

it("says why a page is not done", () => {
  expect(whyText(bookPage())).toBe("memory/vram: out of\nmemory");
  expect(whyText(bookPage({ status: "done" }))).toBe("");
  const waiting = {
    retryAt: "2026-01-31T12:05:00.000Z",
    waitingReason: "no machine",
    image_error: [],
  };
  expect(whyText(bookPage({ status: "pending", ...waiting }))).toBe(
    "next round at 2026-01-31T12:05:00.000Z",
  );
  expect(whyText(bookPage({ status: "pending", ...waiting, retryAt: null }))).toBe("no machine");
});

it("lists books and pages", () => {
  const now = Date.parse("2026-01-31T12:10:00Z");
  expect(textTable([book()], batchColumns(now), 200)[1]).toMatch(
    /^12 {2}bat_\w+ {2}10 min 0 s {2}running +10 +4 +1 {2}3 min 5 s {2}cats$/,
  );
  expect(textTable([bookPage()], pageColumns(), 200)[1]).toMatch(
    /3 {2}Needs attention +1 +3 +memory\/vram: out of memory$/,
  );
});
