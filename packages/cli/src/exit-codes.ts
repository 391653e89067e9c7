/**
 * What the exit codes of `holdfast` mean. Scripts rely on them: a code keeps its meaning.
 */
export const EXIT = {
  ok: 0,
  /** The job ended `failed`, pages of the book need attention, or the command could not do its work; of `load`: too few jobs completed, or it was worse than the run before. */
  failed: 1,
  /** Wrong usage, a wrong setting, or a request that the server refused. */
  refused: 2,
  /**
   * The server cannot be reached; for `up`, `server` and `agent`: somebody else has this data folder;
   * for `machine`: another installer is at work; for `experiment run`: pre-flight checks failed; for
   * `fault run`: a world could not be started.
   */
  unavailable: 3,
  /**
   * The job or the book was cancelled, or the job ran out of its time; for `experiment run`: a periodic
   * check failed.
   */
  notFinished: 4,
  /** The job completed, but not every output could be fetched and written; so of a book's files. */
  outputsMissing: 5,
  /** Ended by Ctrl-C, as shells have it. */
  interrupted: 130,
} as const;

/** One of {@link EXIT}. */
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The exit codes in words, as `holdfast --help` and the README show them. */
export const EXIT_CODES_IN_WORDS: readonly (readonly [ExitCode, string])[] = [
  [EXIT.ok, "done; with --wait: completed, and with --out every output is there"],
  [
    EXIT.failed,
    "the job failed, pages of the book need attention, or the command could not do its work; load: too few jobs completed, or worse than before",
  ],
  [EXIT.refused, "wrong usage or setting, or the server refused the request"],
  [
    EXIT.unavailable,
    "no server reached; up, server, agent: the data folder belongs to another process; machine: another installer is at work; experiment: pre-flight checks failed; fault: a world could not be started",
  ],
  [
    EXIT.notFinished,
    "the job or the book was cancelled, or the job ran out of time; experiment: a periodic check failed",
  ],
  [EXIT.outputsMissing, "completed, but some outputs could not be fetched or written"],
  [EXIT.interrupted, "stopped by Ctrl-C"],
];
