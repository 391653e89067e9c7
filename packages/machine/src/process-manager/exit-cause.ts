/**
 * Why a process ended. PM2 7.0.4 tells exit code 0 for a death by a signal (the out-of-memory killer's
 * too) and names the signal in its own log alone, so the cause is put together from several sides.
 */

/** Why it ended, with words for an operator. */
export interface ExitCause {
  /** `asked`: by us. `unknown`: it is gone, and nothing tells how. */
  readonly kind: "exit" | "signal" | "oom" | "asked" | "unknown";
  readonly words: string;
}

/** A line of PM2's log about an end. */
export interface Pm2Exit {
  readonly code: number;
  /** PM2 writes SIGINT also where there was no signal. */
  readonly signal: string;
}

/** What is known of an end. */
export interface ExitFacts {
  /** We were ending it. */
  readonly wasAsked: boolean;
  /** What PM2's list tells; null while unknown. */
  readonly exitCode: number | null;
  /** What PM2's log tells; null when it says nothing. */
  readonly logged: Pm2Exit | null;
  /**
   * How often the kernel killed for memory since the process was started: in its memory cgroup, and
   * on the whole host. Null where the system does not count.
   */
  readonly oomKills: { readonly cgroup: number | null; readonly host: number | null };
}

const EXIT_LINE = /App \[(.+):(\d+)\] exited with code \[(-?\d+)\] via signal \[(\w+)\]/;
const START_LINE = /App \[(.+):(\d+)\] starting in /;

/**
 * The last end of a process in the tail of `pm2.log`; null when it has started since, or nothing is
 * said of it. A name is only ever given anew after it was removed, so the last line counts.
 */
export function lastExitIn(logTail: string, name: string): Pm2Exit | null {
  let last: Pm2Exit | null = null;
  for (const line of logTail.split("\n")) {
    const started = START_LINE.exec(line);
    if (started?.[1] === name) last = null;
    const ended = EXIT_LINE.exec(line);
    if (ended?.[1] !== name) continue;
    last = { code: Number(ended[3]), signal: ended[4] ?? "" };
  }
  return last;
}

/** What shells and wrappers answer for a program that a signal ended: 128 and its number. */
const SIGNAL_OF_CODE: Readonly<Record<number, string>> = {
  129: "SIGHUP",
  130: "SIGINT",
  131: "SIGQUIT",
  132: "SIGILL",
  134: "SIGABRT",
  135: "SIGBUS",
  136: "SIGFPE",
  137: "SIGKILL",
  139: "SIGSEGV",
  141: "SIGPIPE",
  143: "SIGTERM",
};

const SIGNAL_WORDS: Readonly<Record<string, string>> = {
  SIGSEGV: "it touched memory that it does not have, mostly a bug in native code or a driver",
  SIGABRT: "it gave up by itself, mostly a failed check in native code",
  SIGBUS:
    "it touched memory that was taken away, mostly a mapped file that was cut or a full /dev/shm",
  SIGILL: "it came to an instruction that this processor does not have",
  SIGFPE: "it divided by zero in native code",
  SIGPIPE: "nobody read what it printed any more",
  SIGTERM: "somebody asked it to end: not Holdfast",
  SIGINT: "somebody interrupted it: not Holdfast",
  SIGHUP: "its terminal or session ended",
};

/** Puts the cause together. */
export function exitCause(facts: ExitFacts): ExitCause {
  if (facts.wasAsked) return { kind: "asked", words: "ended because Holdfast ended it" };
  const signal = signalOf(facts);
  if (signal !== null) return bySignal(signal, facts);
  const code = facts.logged?.code ?? facts.exitCode;
  if (code === null) return { kind: "unknown", words: "ended, and nothing tells how" };
  if (facts.logged === null && code === 0) {
    return {
      kind: "unknown",
      words:
        "ended with exit code 0 or by a signal: PM2 tells 0 for both, and its log says nothing",
    };
  }
  return { kind: "exit", words: exitWords(code) };
}

function signalOf(facts: ExitFacts): string | null {
  const { logged } = facts;
  const code = logged?.code ?? facts.exitCode;
  if (code !== null && code !== 0) return SIGNAL_OF_CODE[code] ?? null;
  // "code [0] via signal [SIGINT]" is PM2's way to say that it ended by itself, too.
  if (logged === null || logged.signal === "SIGINT") return null;
  return logged.signal;
}

function bySignal(signal: string, facts: ExitFacts): ExitCause {
  const { cgroup, host } = facts.oomKills;
  if (signal !== "SIGKILL") {
    const more = SIGNAL_WORDS[signal];
    return { kind: "signal", words: `ended by ${signal}${more === undefined ? "" : `: ${more}`}` };
  }
  if (cgroup !== null && cgroup > 0) {
    return {
      kind: "oom",
      words:
        "killed by the kernel: its memory group ran out of memory (not the GPU's); " +
        "give the machine more memory, or the instance less to keep in it",
    };
  }
  if (host !== null && host > 0) {
    return {
      kind: "oom",
      words:
        "killed by SIGKILL while the kernel was killing for lack of memory on this host (not the GPU's): " +
        "most likely for that reason",
    };
  }
  return { kind: "signal", words: "ended by SIGKILL: somebody killed it, not Holdfast" };
}

function exitWords(code: number): string {
  if (code === 0)
    return "ended by itself with exit code 0 (or was interrupted: PM2 tells the same)";
  if (code === 126) return "exit code 126: its program may not be run";
  if (code === 127) return "exit code 127: its program was not found";
  return `ended by itself with exit code ${code}: the end of its error log says why`;
}
