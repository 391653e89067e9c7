import { InvalidArgumentError, type Command } from "commander";
import type { CommandContext } from "../program.ts";
import { parseDuration } from "../terminal/durations.ts";
import { collect, withClientOptions, type ClientOptions } from "./client-options.ts";

/** The options of `submit`, as commander gives them. */
export interface SubmitOptions extends ClientOptions {
  readonly set?: readonly string[];
  readonly input?: readonly string[];
  readonly wait?: boolean;
  readonly out?: string;
  readonly json?: boolean;
  readonly tag?: readonly string[];
  readonly priority?: number;
  readonly name?: string;
  readonly batch?: string;
  readonly timeout?: number;
  readonly count?: number;
  readonly idempotencyKey?: string;
  readonly strict?: boolean;
}

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
    .option("--count <number>", "submit so many, each with its own seed", positiveNumber)
    .option("--idempotency-key <key>", "submit once, however often this is run")
    .option("--strict", "refuse what no known machine would accept");
  withClientOptions(command).action(async (file: string, options: SubmitOptions) => {
    const { runSubmit } = await import("../submit/run-submit.ts");
    await runSubmit(file, options, context);
  });
}

/** A whole number, or words for commander to print. */
export function wholeNumber(text: string): number {
  if (!/^-?\d{1,9}$/.test(text)) throw new InvalidArgumentError("expected a whole number.");
  return Number(text);
}

/** A whole number from 1. */
export function positiveNumber(text: string): number {
  const value = wholeNumber(text);
  if (value < 1) throw new InvalidArgumentError("expected a whole number from 1.");
  return value;
}

function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new InvalidArgumentError("expected a duration such as 90s or 10min.");
  return ms;
}
