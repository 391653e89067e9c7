import type { CheckpointMode } from "@holdfast/contract";
import { Option, type Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import { withClientOptions } from "./client-options.ts";
import { collect, duration, positiveNumber, wholeNumber } from "./option-values.ts";
import type { SubmitOptions } from "../submit/run-submit.ts";

const CHECKPOINTS = ["auto", "off", "segments"] as const satisfies readonly CheckpointMode[];

/** Adds `holdfast submit`. */
export function addSubmit(program: Command, context: CommandContext): void {
  const command = program
    .command("submit")
    .description("Submit a workflow; with --wait and --out fetch what it gives")
    .argument("<file>", "workflow in the API format, or - for standard input")
    .option("--set <node.input=value>", "change a value of the graph (repeatable)", collect)
    .option("--input <[name=]path>", "upload a file that the graph reads (repeatable)", collect)
    .option("--wait", "wait until the job has ended")
    .option("--out <folder>", "write the outputs there; implies --wait")
    .option("--json", "print the result as JSON")
    .option("--tag <tag>", "tag the job (repeatable)", collect)
    .option("--priority <number>", "higher runs first, -100 to 100", wholeNumber)
    .option("--name <name>", "a name for the job")
    .option("--batch <id>", "the batch it belongs to")
    .option("--timeout <duration>", "limit on execution time, e.g. 90s, 10min", duration)
    .addOption(
      new Option(
        "--checkpoints <mode>",
        "put away long samplers' work: auto, off, or segments (in their middle too)",
      ).choices(CHECKPOINTS),
    )
    .option("--count <number>", "submit so many, each with its own seed", positiveNumber)
    .option("--idempotency-key <key>", "submit once, however often this is run")
    .option("--strict", "refuse what no known machine would accept");
  withClientOptions(command).action(async (file: string, options: SubmitOptions) => {
    const { runSubmit } = await import("../submit/run-submit.ts");
    await runSubmit(file, options, context);
  });
}
