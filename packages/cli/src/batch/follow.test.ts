import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, it } from "vitest";
import type { BatchView } from "@holdfast/contract";
import { book } from "../../testing/book-facts.ts";
import { answered, fakeApi, GONE, refused } from "../../testing/fake-api.ts";
import { recordingTerminal } from "../../testing/recording-terminal.ts";
import type { ApiAnswer } from "../api/api-client.ts";
import { EXIT } from "../exit-codes.ts";
import { exitCodeOfBatch, FOLLOW_EVERY_MS, followBatch } from "./follow.ts";

const COMPLETED = book({
  status: "completed",
  pages: { pending: 0, rendering: 0, attention: 0, done: 10, cancelled: 0 },
  progress: {
    percent: 100,
    pagesPerMinute: 3,
    secondsLeft: null,
    waitingPages: 0,
    nextRoundAt: null,
  },
});

function follow(answers: ApiAnswer[], isQuiet = false) {
  const clock = createFakeClock();
  const terminal = recordingTerminal();
  const stop = new AbortController();
  const api = fakeApi(() => answers.shift() ?? GONE);
  const ended = followBatch(api, book(), { clock, terminal, signal: stop.signal, isQuiet });
  // Looked at below, in its time.
  ended.catch(() => undefined);
  const pass = async (looks: number): Promise<void> => {
    for (let look = 0; look < looks; look += 1) await clock.advance(FOLLOW_EVERY_MS);
  };
  return { ended, terminal, pass, stop, api, clock };
}

it("tells changes until a book has ended, through a server that goes away", async () => {
  const { ended, terminal, pass, api } = follow([
    answered(book()),
    GONE,
    refused(503, "store_unavailable", "no disk"),
    { kind: "answered", response: new Response("cut") },
    answered(COMPLETED),
  ]);
  await pass(5);
  expect(await ended).toEqual(COMPLETED);
  expect(api.calls[0]?.path).toBe(`/api/v1/batches/${book().id}`);
  expect(terminal.notes).toEqual([
    expect.stringMatching(/^50 % {2}book 12: running/),
    "the server does not answer (nothing listens there); waiting for it, the book is safe",
    "the server answers again",
    expect.stringMatching(/^100 % {2}book 12: completed, 10 Done$/),
  ]);
});

it("goes on through a pause, and ends for a book that needs attention", async () => {
  const flagged = book({ status: "attention" });
  const { ended, pass } = follow([answered(book({ status: "paused" })), answered(flagged)], true);
  await pass(2);
  expect(await ended).toEqual(flagged);
});

it("ends for what no later look makes better, for a server that stays away, and when it is stopped", async () => {
  const lost = follow([refused(404, "not_found", "there is no batch 12")]);
  await lost.pass(1);
  await expect(lost.ended).rejects.toMatchObject({ exitCode: EXIT.refused });
  const gone = follow([]);
  await gone.pass(2);
  await gone.clock.advance(11 * 60_000);
  await gone.pass(2);
  await expect(gone.ended).rejects.toMatchObject({ exitCode: EXIT.unavailable });
  const stopped = follow([]);
  stopped.stop.abort(new Error("stop"));
  await expect(stopped.ended).rejects.toThrow("stop");
});

it.each<[BatchView["status"], number]>([
  ["completed", EXIT.ok],
  ["attention", EXIT.failed],
  ["cancelled", EXIT.notFinished],
])("a book that ended %s gives exit code %d", (status, code) => {
  expect(exitCodeOfBatch(book({ status }))).toBe(code);
});
