/** Why the embedded Postgres cannot be had. */
export type PostgresProblem =
  | "no_binaries"
  | "no_account"
  | "folder_owner"
  | "data_missing"
  | "version_mismatch"
  | "wrong_password"
  | "init_failed"
  | "start_failed"
  | "not_running";

/** Thrown by the embedded Postgres; the message says what was found and what to do. */
export class PostgresError extends Error {
  override readonly name = "PostgresError";
  readonly problem: PostgresProblem;
  constructor(problem: PostgresProblem, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.problem = problem;
  }
}
