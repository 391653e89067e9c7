import type { JobView } from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import type { ApiClient } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { plainText } from "../terminal/text-table.ts";
import { changesText } from "./changes-text.ts";
import { progressBar, progressLine } from "./progress-text.ts";
import { waitForJobs } from "./wait.ts";

/**
 * Waits for jobs while showing how they get on: a bar on a screen, plain lines elsewhere. Ctrl-C ends
 * the waiting, not the jobs, and says how to go on watching.
 */
export async function showUntilEnded(
  api: ApiClient,
  first: readonly JobView[],
  options: { readonly clock: Clock; readonly terminal: Terminal; readonly isQuiet?: boolean },
): Promise<readonly JobView[]> {
  const { clock, terminal, isQuiet = false } = options;
  const seen = new Map<string, JobView>();
  const interrupted = new AbortController();
  const onSignal = (): void => interrupted.abort();
  process.once("SIGINT", onSignal);
  process.once("SIGTERM", onSignal);
  try {
    return await waitForJobs(api, first, {
      clock,
      signal: interrupted.signal,
      listener: {
        changed(jobs) {
          if (isQuiet) return;
          if (terminal.isInteractive) return terminal.progress(progressBar(jobs, terminal.columns));
          for (const job of jobs) {
            const line = progressLine(seen.get(job.id), job);
            if (line !== undefined) terminal.note(line);
            seen.set(job.id, job);
          }
        },
        connection(state, reason) {
          terminal.note(
            state === "lost"
              ? `the server does not answer (${reason}); waiting for it, the job is safe`
              : "the server answers again",
          );
        },
      },
    });
  } catch (error) {
    if (!interrupted.signal.aborted) throw error;
    const ids = first.map((job) => job.id).join(" ");
    const [goes, watch] = first.length === 1 ? ["job goes", ids] : ["jobs go", first[0]?.id ?? ""];
    throw new CommandFailure(
      EXIT.interrupted,
      `stopped watching; the ${goes} on. Watch again: holdfast jobs watch ${watch}`,
    );
  } finally {
    terminal.progress("");
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}

/** The exit code for how a job ended. */
export function exitCodeOf(job: JobView): ExitCode {
  switch (job.status) {
    case "completed":
      return EXIT.ok;
    case "cancelled":
    case "timeout":
      return EXIT.notFinished;
    case "failed":
    case "queued":
    case "processing":
    case "recovering":
      return EXIT.failed;
    default:
      // A status of a newer server: not one that this program knows as success.
      return EXIT.failed;
  }
}

/** The worst of several exit codes: a failure before a cancel before missing outputs before success. */
export function worstExitCode(codes: readonly ExitCode[]): ExitCode {
  const order: readonly ExitCode[] = [EXIT.failed, EXIT.notFinished, EXIT.outputsMissing];
  return order.find((code) => codes.includes(code)) ?? EXIT.ok;
}

/** How a job ended, in one line for a person. */
export function endText(job: JobView): string {
  const attempts = job.attemptCount === 1 ? "1 attempt" : `${job.attemptCount} attempts`;
  if (job.status === "completed") {
    const outputs = job.outputCount === 1 ? "1 output" : `${job.outputCount} outputs`;
    const changed = plainText(changesText(job.changes));
    return `job ${job.number} completed: ${outputs}, ${attempts}${changed === "" ? "" : `; ${changed}`}`;
  }
  if (job.error === null) return `job ${job.number} ${job.status} after ${attempts}`;
  const { class: errorClass, message, nodeId, nodeType } = job.error;
  const place =
    nodeId === null ? "" : ` (node ${nodeId}${nodeType === null ? "" : ` ${nodeType}`})`;
  return `job ${job.number} ${job.status} after ${attempts}: ${errorClass}${place}: ${plainText(message)}`;
}
