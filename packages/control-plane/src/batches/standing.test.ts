import { describe, expect, it } from "vitest";
import { endOf, progressOf } from "./standing.ts";

const NONE = { pending: 0, rendering: 0, attention: 0, done: 0, cancelled: 0 };

describe("a batch", () => {
  it("is not over while a page is to be rendered", () => {
    expect(endOf({ ...NONE, done: 3, pending: 1 })).toBeNull();
    expect(endOf({ ...NONE, attention: 3, rendering: 1 })).toBeNull();
  });

  it("needs attention when a page is flagged, whatever else there is", () => {
    expect(endOf({ ...NONE, done: 3, cancelled: 1, attention: 1 })).toBe("attention");
  });

  it("is completed when the rest of it was cancelled page by page", () => {
    expect(endOf({ ...NONE, done: 3 })).toBe("completed");
    expect(endOf({ ...NONE, done: 3, cancelled: 1 })).toBe("completed");
  });

  it("is cancelled when nothing of it was rendered", () => {
    expect(endOf({ ...NONE, cancelled: 4 })).toBe("cancelled");
  });
});

describe("progress", () => {
  const batch = {
    counts: { ...NONE, done: 25, pending: 70, rendering: 5 },
    pageCount: 100,
    status: "running",
    endedAt: null,
  } as const;

  it("is by pages that have ended, and the rest by what they took", () => {
    expect(progressOf(batch, { pages: 25, ms: 50_000 })).toEqual({
      percent: 25,
      pagesPerMinute: 30,
      secondsLeft: 150,
    });
  });

  it("is 100 percent when the last page has ended, and not before", () => {
    const counts = { ...NONE, done: 9_999, pending: 1 };
    const pace = { pages: 0, ms: 0 };
    expect(progressOf({ ...batch, counts, pageCount: 10_000 }, pace).percent).toBe(99.9);
  });

  it("is unknown before a page has ended", () => {
    expect(progressOf(batch, { pages: 0, ms: 0 })).toMatchObject({
      pagesPerMinute: null,
      secondsLeft: null,
    });
  });

  it("has no end in sight while paused, and none to wait for when it is over", () => {
    const pace = { pages: 25, ms: 50_000 };
    expect(progressOf({ ...batch, status: "paused" }, pace).secondsLeft).toBeNull();
    const over = { ...batch, counts: { ...NONE, done: 100 }, status: "completed" } as const;
    expect(progressOf({ ...over, endedAt: 1 }, pace)).toEqual({
      percent: 100,
      pagesPerMinute: null,
      secondsLeft: null,
    });
  });
});
