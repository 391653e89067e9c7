/** Watches a book until it has ended. */
import type { BatchView } from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import { failureOf, type ApiClient } from "../api/api-client.ts";
import { batchPath, toBatch } from "../api/batch-calls.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { batchBar, batchChange } from "./batch-text.ts";

/** Between two looks. */
export const FOLLOW_EVERY_MS = 1_000;
/** A server that cannot be reached for so long is given up; the book goes on. */
const UNREACHABLE_LIMIT_MS = 10 * 60_000;

/** How to watch. */
export interface FollowOptions {
  readonly clock: Clock;
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
  /** Shows nothing on the way. */
  readonly isQuiet: boolean;
}

/** Whether nothing more happens to a book by itself. */
export function hasEnded({ status }: BatchView): boolean {
  return status === "completed" || status === "attention" || status === "cancelled";
}

/** The exit code for how a book ended. */
export function exitCodeOfBatch({ status }: BatchView): ExitCode {
  if (status === "completed") return EXIT.ok;
  return status === "cancelled" ? EXIT.notFinished : EXIT.failed;
}

/**
 * Shows how a book gets on, a bar on a screen and a line a change elsewhere, and answers it as it ended.
 * Waits for a server that does not answer. Rejects when its signal is aborted, and for what no later look
 * makes better.
 */
export async function followBatch(
  api: ApiClient,
  first: BatchView,
  { clock, terminal, signal, isQuiet }: FollowOptions,
): Promise<BatchView> {
  let shown: BatchView | undefined;
  const show = (batch: BatchView): void => {
    if (isQuiet) return;
    if (terminal.isInteractive) return terminal.progress(batchBar(batch, terminal.columns));
    const line = batchChange(shown, batch);
    if (line !== undefined) terminal.note(line);
    shown = batch;
  };
  let batch = first;
  let lostSince: number | undefined;
  try {
    for (;;) {
      show(batch);
      if (hasEnded(batch)) return batch;
      await clock.sleep(FOLLOW_EVERY_MS, signal);
      const answer = await api.request(batchPath(first.id), { signal });
      if (answer.kind === "answered") {
        if (lostSince !== undefined) terminal.note("the server answers again");
        lostSince = undefined;
        const body: unknown = await answer.response.json().catch(() => undefined);
        // An answer that was cut: the next look is as good.
        if (body !== undefined) batch = toBatch(body);
        continue;
      }
      const isPassing =
        answer.kind === "unreachable" || answer.status >= 500 || answer.status === 429;
      if (!isPassing) throw failureOf(answer, api.baseUrl);
      const reason = answer.kind === "unreachable" ? answer.reason : answer.message;
      if (lostSince === undefined) {
        lostSince = clock.elapsed();
        terminal.note(`the server does not answer (${reason}); waiting for it, the book is safe`);
      } else if (clock.elapsed() - lostSince > UNREACHABLE_LIMIT_MS) {
        throw failureOf(answer, api.baseUrl);
      }
    }
  } finally {
    terminal.progress("");
  }
}
