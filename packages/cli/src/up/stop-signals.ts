import { systemClock } from "@holdfast/runtime/system";
import { EXIT } from "../exit-codes.ts";
import type { Terminal } from "../terminal/terminal.ts";

/** The wish of the user, or of a supervisor, that this process ends. */
export interface StopSignals {
  /** Aborted by the first Ctrl-C, SIGTERM or (Windows, closed terminal) SIGHUP. */
  readonly signal: AbortSignal;
  /** Resolves at the first one. */
  readonly asked: Promise<void>;
  /** Stops listening: the platform's own ending applies again. */
  release(): void;
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * A second signal within this time is the first one again: npm passes on to us the Ctrl-C that the
 * terminal has given us already.
 */
const SAME_SIGNAL_MS = 700;

/**
 * Listens for signals. The first asks for an orderly end; at the second `onSecond` may do what can be
 * done in an instant, then the process exits.
 */
export function listenForStop(terminal: Terminal, onSecond: () => void): StopSignals {
  const controller = new AbortController();
  const { signal } = controller;
  const asked = new Promise<void>((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
  let firstAt = 0;
  const onSignal = (): void => {
    if (signal.aborted) {
      if (systemClock.elapsed() - firstAt < SAME_SIGNAL_MS) return;
      terminal.note("stopping at once");
      onSecond();
      process.exit(EXIT.interrupted);
    }
    firstAt = systemClock.elapsed();
    controller.abort(new Error("asked to stop"));
  };
  for (const name of SIGNALS) process.on(name, onSignal);
  return {
    signal,
    asked,
    release() {
      for (const name of SIGNALS) process.off(name, onSignal);
    },
  };
}

/** Sends a signal to a process that may have ended already. */
export function trySignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone, which is what was wanted.
  }
}
