import type { BatchView } from "@holdfast/contract";
import { systemClock } from "@holdfast/runtime/system";
import type { ApiClient } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { listenForStop } from "../up/stop-signals.ts";
import { batchLine } from "./batch-text.ts";
import { exitCodeOfBatch, followBatch } from "./follow.ts";
import type { BatchOptions } from "./options.ts";

/** Watches a book until it has ended or the person goes away, and exits by how it ended. */
export async function followOnTerminal(
  api: ApiClient,
  first: BatchView,
  options: BatchOptions,
  terminal: Terminal,
): Promise<void> {
  const stop = listenForStop(terminal, () => undefined);
  try {
    const batch = await followBatch(api, first, {
      clock: systemClock,
      terminal,
      signal: stop.signal,
      isQuiet: options.json === true && !terminal.isInteractive,
    });
    process.exitCode = exitCodeOfBatch(batch);
    if (options.json === true) return terminal.line(JSON.stringify(batch));
    terminal.line(batchLine(batch));
    if ((batch.pages.attention ?? 0) > 0) tellFlagged(batch, terminal);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    throw new CommandFailure(
      EXIT.interrupted,
      `stopped watching; the book goes on. Watch again: holdfast batch watch ${first.number}`,
    );
  } finally {
    stop.release();
  }
}

/** What to do about pages that need attention. */
export function tellFlagged({ number }: BatchView, terminal: Terminal): void {
  terminal.note(
    `what is wrong: holdfast batch pages ${number} --status attention; once more: holdfast batch regenerate ${number}`,
  );
}
