import type { AgentLog } from "@holdfast/agent";
import type { Clock } from "@holdfast/runtime";
import { rotateLogFile } from "../process-manager/log-rotation.ts";
import { DEFAULT_LOG_LIMITS, type LogLimits } from "../process-manager/log-rotation-plan.ts";

/** What is looked after. */
export interface LogCareOptions {
  /** Files that processes write, as of now; one may be named twice, or not be there. */
  readonly files: () => readonly string[];
  readonly clock: Clock;
  readonly log: AgentLog;
  readonly limits?: LogLimits;
  readonly everyMs?: number;
}

/** A process that prints without end fills a minute at most beyond the limit of its file. */
const EVERY_MS = 60_000;

/**
 * Keeps the logs of a machine's processes within their size until the signal is aborted. A file that
 * cannot be rotated is told once, and tried again each time: a full disk may be why.
 */
export async function careForLogs(options: LogCareOptions, signal: AbortSignal): Promise<void> {
  const { files, clock, log, limits = DEFAULT_LOG_LIMITS, everyMs = EVERY_MS } = options;
  const told = new Set<string>();
  while (!signal.aborted) {
    for (const file of new Set(files())) {
      if (signal.aborted) return;
      try {
        await rotateLogFile(file, limits, { clock });
        told.delete(file);
      } catch (err) {
        if (!told.has(file)) log.warn({ err, file }, "a log could not be kept within its size");
        told.add(file);
      }
    }
    await clock.sleep(everyMs, signal).catch(() => undefined); // The loop asks the signal.
  }
}
