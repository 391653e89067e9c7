import type { ExitCode } from "./exit-codes.ts";

/**
 * Ends a command: the message goes to standard error as it is, the code becomes the exit code.
 * Thrown where a command cannot go on; caught once, at the edge of the process.
 */
export class CommandFailure extends Error {
  override readonly name = "CommandFailure";
  readonly exitCode: ExitCode;
  /** The server's error code, when the server refused. */
  readonly code: string | undefined;

  constructor(
    exitCode: ExitCode,
    message: string,
    options: { readonly code?: string; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.exitCode = exitCode;
    this.code = options.code;
  }
}
