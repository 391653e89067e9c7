import { CommanderError } from "commander";
import { CommandFailure } from "./command-failure.ts";
import { EXIT } from "./exit-codes.ts";
import { createProgram } from "./program.ts";
import { processTerminal } from "./terminal/terminal.ts";

/**
 * Runs one `holdfast` command and sets the process's exit code. The edge of the process: what a
 * command throws ends here, in words.
 */
export async function main(argv: readonly string[]): Promise<void> {
  const terminal = processTerminal(process.env);
  // A reader that closes the pipe early (`| head`) is no failure of ours.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(EXIT.ok);
    throw error;
  });
  try {
    await createProgram({ terminal, env: process.env }).parseAsync(argv);
  } catch (error) {
    terminal.progress("");
    if (error instanceof CommanderError) {
      // Commander has printed its message already; help and version are no failures.
      process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.refused;
    } else if (error instanceof CommandFailure) {
      terminal.note(error.message);
      process.exitCode = error.exitCode;
    } else {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      terminal.note(`holdfast failed: ${text}`);
      process.exitCode = EXIT.failed;
    }
  }
}
