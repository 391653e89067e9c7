import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import type { ClassifyOptions } from "../classify/run-classify.ts";

/** Adds `holdfast classify`. Works without a server. */
export function addClassify(program: Command, context: CommandContext): void {
  program
    .command("classify")
    .description("Say what an error message is, why, and what would be done about it")
    .argument("<text>", "the message, or - for standard input (with --json: one object a line)")
    .option("--json", "print one JSON object a message")
    .option("--channel <name>", "where it was seen: execution, validation, connection, log, …")
    .option("--exception-type <name>", "the exception's type, if known")
    .option("--http-status <number>", "the HTTP status, if known")
    .option("--patterns <file>", "custom patterns to know as well, as HOLDFAST_ERROR_PATTERNS")
    .action(async (text: string, options: ClassifyOptions) => {
      const { runClassify } = await import("../classify/run-classify.ts");
      await runClassify(text, options, context);
    });
}
