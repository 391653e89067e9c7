import { InvalidArgumentError, type Command } from "commander";
import type * as batchActions from "../batch/batch-actions.ts";
import type {
  BatchOptions,
  CreateOptions,
  FileOptions,
  ListOptions,
  PagesOptions,
  RegenerateOptions,
} from "../batch/options.ts";
import { parsePageNumbers } from "../batch/page-numbers.ts";
import type { CommandContext } from "../command-context.ts";
import { withClientOptions } from "./client-options.ts";
import { collect, duration, positiveNumber, wholeNumber } from "./option-values.ts";

type BatchActions = typeof batchActions;

const REF = "its number, or its id bat_…";

const CREATE_HELP = `
A file is a whole book, as POST /api/v1/batches takes it: graph, and pages or table. --workflow with --table or
--pages puts one together. A table has a row a page: CSV with a line of column names, or a list of JSON objects. A
column is a {{variable}} of the workflow, a node.input, one that --bind names, or page.

  holdfast batch create --workflow book.json --table pages.csv --follow
  holdfast batch create --workflow book.json --pages pages.json --set style=oil --in-order
  holdfast batch create --workflow book.json --table t.csv --bind subject=6.text,12.text`;

const WATCH_HELP = `
Exit code: 0 all pages are done, 1 some need attention, 4 cancelled, 130 stopped by Ctrl-C (the book goes on).`;

/** Adds `holdfast batch …`. */
export function addBatch(program: Command, context: CommandContext): void {
  const batch = program
    .command("batch")
    .description(
      "Books: many pages of one workflow, or of several, rendered and looked after together",
    );
  addCreate(batch, context);
  addShowing(batch, context);
  addChanges(batch, context);
  addFiles(batch, context);
}

function addCreate(batch: Command, context: CommandContext): void {
  withClientOptions(batch.command("create").description("Make a book and begin to render it"))
    .argument("[file]", "a whole book as JSON, or - for standard input")
    .option("--workflow <file>", "the template of the pages: a workflow in the API format")
    .option("--table <file>", "values, a row a page: CSV, or rows of JSON")
    .option("--pages <file>", "a list of pages: prompt, seed, set, graph, name of each")
    .option(
      "--set <node.input=value>",
      "a value of all pages, or variable=value (repeatable)",
      collect,
    )
    .option("--bind <column=node.input>", "which inputs a column sets (repeatable)", collect)
    .option("--input <[name=]path>", "upload a file that the workflow reads (repeatable)", collect)
    .option("--name <name>", "a name for the book")
    .option("--tag <tag>", "tag the book and its jobs (repeatable)", collect)
    .option("--parallel", "pages beside each other (default: COMFY_ALLOW_PARALLEL_PAGES)")
    .option("--in-order", "one page after another")
    .option("--window <number>", "pages that are jobs at one time", positiveNumber)
    .option("--priority <number>", "higher runs first, -100 to 100", wholeNumber)
    .option("--timeout <duration>", "limit on execution time of a page, e.g. 90s, 10min", duration)
    .option("--max-retries <number>", "fresh rounds of a page that failed", wholeNumber)
    .option("--paused", "render nothing before a resume")
    .option("--follow", "watch until it has ended; exits as batch watch does")
    .option("--idempotency-key <key>", "make it once, however often this is run")
    .option("--json", "print as JSON")
    .addHelpText("after", CREATE_HELP)
    .action((file: string | undefined, options: CreateOptions) =>
      run("create", file, options, context),
    );
}

function addShowing(batch: Command, context: CommandContext): void {
  withClientOptions(batch.command("list").description("List books, newest first"))
    .option("--status <status>", "running, paused, completed, attention or cancelled")
    .option("--name <text>", "only with this in their name")
    .option("--limit <number>", "at most so many (default 50)", positiveNumber)
    .option("--json", "one JSON object a line")
    .action((options: ListOptions) => run("list", options, context));

  withClientOptions(batch.command("show").description("A book: counts, progress, time left"))
    .argument("<book>", REF)
    .option("--json", "print as JSON")
    .action((ref: string, options: BatchOptions) => run("show", ref, options, context));

  withClientOptions(
    batch.command("pages").description("The pages of a book, with the latest error of each"),
  )
    .argument("<book>", REF)
    .option("--status <status>", "pending, rendering, attention, done or cancelled")
    .option("--limit <number>", "at most so many (default 200)", positiveNumber)
    .option("--json", "one JSON object a line")
    .action((ref: string, options: PagesOptions) => run("pages", ref, options, context));

  withClientOptions(batch.command("watch").description("Watch a book until it has ended"))
    .argument("<book>", REF)
    .option("--json", "print the ended book as JSON")
    .addHelpText("after", WATCH_HELP)
    .action((ref: string, options: BatchOptions) => run("watch", ref, options, context));
}

function addChanges(batch: Command, context: CommandContext): void {
  withClientOptions(
    batch.command("regenerate").description("Render pages once more: all that need it, or some"),
  )
    .argument("<book>", REF)
    .option("--page <numbers>", "3, or 3,7, or 3-9 (repeatable)", pageNumbers)
    .option("--prompt <text>", "with --page: another prompt")
    .option("--seed <number>", "with --page: another seed", seedNumber)
    .option("--set <node.input=value>", "with --page: another value (repeatable)", collect)
    .option("--force", "those that are done or rendering as well")
    .option("--follow", "watch until the book has ended; exits as batch watch does")
    .option("--json", "print as JSON")
    .action((ref: string, options: RegenerateOptions) => run("regenerate", ref, options, context));

  const words = {
    pause: "Begin no further pages; those that are rendered go on",
    resume: "Go on with paused books",
    cancel: "Cancel books, and the jobs of their pages",
  };
  for (const action of ["pause", "resume", "cancel"] as const) {
    withClientOptions(batch.command(action).description(words[action]))
      .argument("<book...>", "their numbers or ids")
      .option("--json", "one JSON object a line")
      .action((refs: string[], options: BatchOptions) =>
        run("change", action, refs, options, context),
      );
  }

  withClientOptions(batch.command("priority").description("Change how urgent a book is"))
    .argument("<book>", REF)
    .argument("<number>", "higher runs first, -100 to 100", wholeNumber)
    .option("--json", "print as JSON")
    .action((ref: string, value: number, options: BatchOptions) =>
      run("priority", ref, value, options, context),
    );
}

function addFiles(batch: Command, context: CommandContext): void {
  withClientOptions(batch.command("archive").description("Fetch what is done of a book as one zip"))
    .argument("<book>", REF)
    .option("--output <file>", "the zip to write (default: book-NUMBER.zip in this folder)")
    .option("--force", "replace a file that is there")
    .action((ref: string, options: FileOptions) => run("archive", ref, options, context));

  withClientOptions(
    batch
      .command("contact-sheet")
      .description(
        "Fetch a page of HTML to look a book over, with its pictures in a folder beside it",
      ),
  )
    .argument("<book>", REF)
    .option("--output <file>", "the page to write (default: book-NUMBER.html in this folder)")
    .option("--status <status>", "pending, rendering, attention, done or cancelled")
    .option("--force", "replace a file that is there")
    .action((ref: string, options: FileOptions) => run("contactSheet", ref, options, context));
}

function pageNumbers(text: string, before?: readonly number[]): readonly number[] {
  const pages = parsePageNumbers(text, before);
  if (pages === undefined) {
    throw new InvalidArgumentError("expected page numbers such as 3, or 3,7, or 3-9.");
  }
  return pages;
}

function seedNumber(text: string): number {
  const seed = Number(text);
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(seed)) {
    throw new InvalidArgumentError(
      "expected a whole number from 0 to 9007199254740991; larger ones by --set.",
    );
  }
  return seed;
}

/** Loads what the commands do only when one of them runs. */
async function run<K extends keyof BatchActions>(
  action: K,
  ...args: Parameters<BatchActions[K]>
): Promise<void> {
  const actions: BatchActions = await import("../batch/batch-actions.ts");
  await (actions[action] as (...args: Parameters<BatchActions[K]>) => Promise<void>)(...args);
}
