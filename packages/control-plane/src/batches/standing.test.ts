import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { RecentPace } from "./pace.ts";
import { endOf, progressOf, type BookStanding, type WaitingPages } from "./standing.ts";

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

const NOW = Date.parse("2026-01-31T12:00:00Z");

describe("progress", () => {
  const batch = {
    counts: { ...NONE, done: 25, pending: 70, rendering: 5 },
    pageCount: 100,
    status: "running",
    parallel: true,
    endedAt: null,
  } as const;
  const pace = { pages: 25, ms: 50_000 };
  const unknown = { pages: 0, ms: 0 };
  const at = (given: RecentPace, waits: WaitingPages | null = null): BookStanding => ({
    nowMs: NOW,
    pace: given,
    waits,
  });
  const waiting = (pages: number, firstMs: number, lastMs = firstMs): WaitingPages => ({
    pages,
    firstAt: NOW + firstMs,
    lastAt: NOW + lastMs,
  });

  it("is by pages that have ended, and the rest by what they took", () => {
    expect(progressOf(batch, at(pace))).toEqual({
      percent: 25,
      pagesPerMinute: 30,
      secondsLeft: 150,
      waitingPages: 0,
      nextRoundAt: null,
    });
  });

  it("is 100 percent when the last page has ended, and not before", () => {
    const counts = { ...NONE, done: 9_999, pending: 1 };
    expect(progressOf({ ...batch, counts, pageCount: 10_000 }, at(unknown)).percent).toBe(99.9);
  });

  it("is unknown before a page has ended, also when the next round is known", () => {
    expect(progressOf(batch, at(unknown, waiting(2, 45_000)))).toMatchObject({
      pagesPerMinute: null,
      secondsLeft: null,
      waitingPages: 2,
      nextRoundAt: "2026-01-31T12:00:45.000Z",
    });
  });

  it("has no end in sight while paused, and none to wait for when it is over", () => {
    const paused = progressOf({ ...batch, status: "paused" }, at(pace, waiting(1, 45_000)));
    expect(paused).toMatchObject({ secondsLeft: null, waitingPages: 0, nextRoundAt: null });
    const over = { ...batch, counts: { ...NONE, done: 100 }, status: "completed" } as const;
    expect(progressOf({ ...over, endedAt: 1 }, at(pace))).toMatchObject({
      percent: 100,
      pagesPerMinute: null,
      secondsLeft: null,
    });
  });

  it("takes a page's time after the last round that is known, however few pages are left", () => {
    const counts = { ...NONE, done: 97, pending: 2, rendering: 1 };
    const { secondsLeft } = progressOf({ ...batch, counts }, at(pace, waiting(2, 60_000, 150_000)));
    expect(secondsLeft).toBe(152);
  });

  it("begins at the next round where nothing is rendered before", () => {
    const counts = { ...NONE, done: 90, pending: 10 };
    const all = at(pace, waiting(10, 60_000));
    expect(progressOf({ ...batch, counts }, all).secondsLeft).toBe(80);
    // Nine of ten are due: those are rendered meanwhile.
    const one = at(pace, waiting(1, 60_000));
    expect(progressOf({ ...batch, counts }, one).secondsLeft).toBe(62);
    // In order, those behind the one that waits do not pass it.
    expect(progressOf({ ...batch, counts, parallel: false }, one).secondsLeft).toBe(80);
  });

  it("is never less than the last round's wait and the pages left, whatever waits", () => {
    const wait = fc.integer({ min: 0, max: 600_000 });
    fc.assert(
      fc.property(
        fc.record({ pending: fc.nat(50), rendering: fc.nat(5), parallel: fc.boolean() }),
        fc.tuple(fc.integer({ min: 1, max: 50 }), wait, wait),
        fc.record({
          pages: fc.integer({ min: 1, max: 100 }),
          ms: fc.integer({ min: 1, max: 1e7 }),
        }),
        ({ pending, rendering, parallel }, [pages, one, other], given) => {
          fc.pre(pages <= pending);
          const counts = { ...NONE, done: 100 - pending - rendering, pending, rendering };
          const waits = waiting(pages, Math.min(one, other), Math.max(one, other));
          const left = progressOf({ ...batch, counts, parallel }, at(given, waits)).secondsLeft;
          const pageMs = given.ms / given.pages;
          expect((left ?? 0) * 1_000).toBeGreaterThanOrEqual(Math.max(one, other));
          expect((left ?? 0) * 1_000).toBeGreaterThanOrEqual((pending + rendering) * pageMs - 1);
        },
      ),
    );
  });
});
