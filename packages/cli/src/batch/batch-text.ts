/** Books in words. */
import { PAGE_BADGES, PAGE_STATUSES, type BatchView, type BookPageView } from "@holdfast/contract";
import { changesText } from "../jobs/changes-text.ts";
import { durationText } from "../terminal/durations.ts";
import { plainText, shorten, type Column } from "../terminal/text-table.ts";

const SECOND = 1000;
const BAR_WIDTH = 24;

/** How many pages are in each state, in the words of screens: `7 Done, 1 Needs attention`. */
export function countsText({ pages }: BatchView): string {
  const parts = PAGE_STATUSES.toReversed()
    .filter((status) => (pages[status] ?? 0) > 0)
    .map((status) => `${pages[status]} ${PAGE_BADGES[status]}`);
  return parts.length === 0 ? "no pages" : parts.join(", ");
}

/** `2 not as submitted`; empty where recovery has changed no result. */
function changedText({ changedPages }: BatchView): string {
  return changedPages > 0 ? `${changedPages} not as submitted` : "";
}

/** `about 3 min 5 s`; empty where nobody knows, or nothing is left. */
export function leftText({ status, progress }: BatchView): string {
  if (status !== "running" || progress.secondsLeft === null) return "";
  return `about ${durationText(Math.max(1, Math.round(progress.secondsLeft)) * SECOND)}`;
}

/**
 * `2 pages wait for their next round, at 12:21:57 UTC`; empty where none waits. No pause is longer than a
 * day, so a time is enough.
 */
function waitingText({ pages, progress }: BatchView): string {
  const { waitingPages: count, nextRoundAt } = progress;
  if (nextRoundAt === null || count === 0) return "";
  const who = count === 1 ? "1 page waits for its" : `${count} pages wait for their`;
  const first = count > 1 && (pages.rendering ?? 0) > 0 ? "the first " : "";
  const at = new Date(nextRoundAt).toISOString().slice(11, 19);
  return `${who} next round, ${first}at ${at} UTC`;
}

/** A book in one line. */
export function batchLine(batch: BatchView): string {
  const name = batch.name === null ? "" : ` ${plainText(batch.name)}`;
  const left = leftText(batch);
  const parts = [
    batch.status,
    countsText(batch),
    changedText(batch),
    waitingText(batch),
    left === "" ? "" : `${left} left`,
  ];
  return `book ${batch.number}${name}: ${parts.filter((part) => part !== "").join(", ")}`;
}

/** The line to go by while a book is watched on a screen. */
export function batchBar(batch: BatchView, columns: number): string {
  const percent = Math.min(100, Math.max(0, batch.progress.percent));
  const full = Math.floor((percent / 100) * BAR_WIDTH);
  const bar = "█".repeat(full) + "░".repeat(BAR_WIDTH - full);
  const shown = String(Math.floor(percent)).padStart(3);
  return shorten(`${bar} ${shown} %  ${batchLine(batch)}`, columns - 1);
}

/** Plain lines tell progress in steps of so many percent. */
const PLAIN_STEP = 10;

/** When a book goes on of which nothing is rendered now; null for any other. */
function idleUntil({ pages, progress }: BatchView): string | null {
  return (pages.rendering ?? 0) > 0 ? null : progress.nextRoundAt;
}

/** The line to print where no bar can be drawn; undefined when nothing worth a line has changed. */
export function batchChange(before: BatchView | undefined, now: BatchView): string | undefined {
  const key = ({ status, progress, pages }: BatchView): string =>
    [status, Math.floor(progress.percent / PLAIN_STEP), pages.attention ?? 0].join("|");
  const idle = idleUntil(now);
  const isIdleAnew = idle !== null && (before === undefined || idle !== idleUntil(before));
  if (before !== undefined && key(before) === key(now) && !isIdleAnew) return undefined;
  const { number, name: _, ...rest } = now;
  return `${Math.floor(now.progress.percent)} %  ${batchLine({ ...rest, number, name: null })}`;
}

/** The columns of a list of batches. `now` is epoch ms. */
export function batchColumns(now: number): readonly Column<BatchView>[] {
  return [
    { head: "NO", cell: ({ number }) => String(number), isRight: true },
    { head: "ID", cell: ({ id }) => id, isId: true },
    {
      head: "AGE",
      cell: ({ createdAt }) => durationText(Math.max(0, now - Date.parse(createdAt))),
    },
    { head: "STATUS", cell: ({ status }) => status },
    { head: "PAGES", cell: ({ pageCount }) => String(pageCount), isRight: true },
    { head: "DONE", cell: ({ pages }) => String(pages.done ?? 0), isRight: true },
    { head: "FLAGGED", cell: ({ pages }) => String(pages.attention ?? 0), isRight: true },
    { head: "LEFT", cell: (batch) => leftText(batch).replace(/^about /, "") },
    { head: "NAME", cell: ({ name, tags }) => name ?? tags.join(",") },
  ];
}

/** What `batch show` tells, name and value. */
export function batchFacts(batch: BatchView): readonly (readonly [string, string])[] {
  const { progress } = batch;
  const pace = progress.pagesPerMinute;
  return [
    ["book", `${batch.number}  ${batch.id}${batch.name === null ? "" : `  ${batch.name}`}`],
    ["status", batch.status],
    ["pages", `${batch.pageCount}: ${countsText(batch)}`],
    [
      "changed",
      changedText(batch) === ""
        ? ""
        : `${changedText(batch)}; how: holdfast batch pages ${batch.number} --status done`,
    ],
    ["progress", `${progress.percent.toFixed(1)} % have ended`],
    ["pace", pace === null ? "" : `${pace.toFixed(1)} pages a minute`],
    ["waiting", waitingText(batch)],
    ["left", leftText(batch)],
    ["order", batch.parallel ? `beside each other, at most ${batch.window}` : "one after another"],
    ["priority", String(batch.priority)],
    [
      "retries",
      `${batch.maxRetries} a page, after ${batch.retryBackoffSeconds.map((s) => `${s} s`).join(", ")}`,
    ],
    ["tags", batch.tags.join(", ")],
    ["owner", batch.owner],
    ["created", batch.createdAt],
    ["ended", batch.endedAt ?? ""],
  ];
}

/** The columns of a list of pages. */
export function pageColumns(): readonly Column<BookPageView>[] {
  return [
    { head: "PAGE", cell: ({ page }) => String(page), isRight: true },
    { head: "STATE", cell: ({ badge }) => badge },
    { head: "VERSION", cell: ({ version }) => String(version), isRight: true },
    { head: "RETRIES", cell: ({ retry_count: retries }) => String(retries), isRight: true },
    { head: "JOB", cell: ({ jobId }) => jobId ?? "", isId: true },
    { head: "NAME", cell: ({ name }) => name ?? "" },
    { head: "WHY", cell: whyText },
  ];
}

function waitText({ retryAt, waitingReason }: BookPageView): readonly string[] {
  if (retryAt !== null) return [`next round at ${retryAt}`];
  return waitingReason === null ? [] : [waitingReason];
}

/** `node 5 MaskToImage: `; empty where no node is to blame. */
function nodeText({ node_id: id, node_type: type }: BookPageView["image_error"][number]): string {
  const known = [id, type].filter((part) => part !== null && part !== "");
  return known.length === 0 ? "" : `node ${known.join(" ")}: `;
}

/** Why a page is not done: what it waits for, and its latest error. Of one that is: what recovery changed. */
export function whyText(page: BookPageView): string {
  const changed = changesText(page.changes);
  if (page.status === "done") return changed;
  const error = page.image_error.at(-1);
  const words = [
    ...waitText(page),
    ...(changed === "" ? [] : [changed]),
    ...(error === undefined
      ? []
      : [
          `${error.class}${error.subclass === null ? "" : `/${error.subclass}`}: ${nodeText(error)}${error.message}`,
        ]),
  ];
  return words.join("; ");
}
