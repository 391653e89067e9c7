/** What the commands of `holdfast batch` do. */
import { PAGE_BADGES, PAGE_STATUSES, type BatchView } from "@holdfast/contract";
import { systemClock } from "@holdfast/runtime/system";
import type { ApiClient } from "../api/api-client.ts";
import {
  changeBatch,
  createBatch,
  getBatch,
  listBatches,
  listBatchPages,
  regeneratePages,
  setPriority,
  type Regenerated,
} from "../api/batch-calls.ts";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { apiClientFor } from "../commands/client-options.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { parseInput, uploadInput } from "../submit/inputs.ts";
import { readText } from "../submit/read-text.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { plainText, textTable } from "../terminal/text-table.ts";
import { listenForStop } from "../up/stop-signals.ts";
import { batchColumns, batchFacts, batchLine, pageColumns } from "./batch-text.ts";
import { saveArchive, saveContactSheet } from "./book-files.ts";
import { toBookRequest } from "./book-request.ts";
import { exitCodeOfBatch, followBatch, hasEnded } from "./follow.ts";
import type {
  BatchOptions,
  CreateOptions,
  FileOptions,
  ListOptions,
  PagesOptions,
  RegenerateOptions,
} from "./options.ts";
import { parseBatchSet } from "./set-options.ts";

const DEFAULT_LIST = 50;
const DEFAULT_PAGES = 200;
/** Pages that a line names. */
const PAGES_NAMED = 20;

/** `holdfast batch create`. */
export async function create(
  file: string | undefined,
  options: CreateOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const api = apiClientFor(options, context);
  const body = await toBookRequest(file, options, readText);
  for (const text of options.input ?? []) await uploadInput(api, parseInput(text));
  const made = await createBatch(api, body, {
    idempotencyKey: options.idempotencyKey,
    clock: systemClock,
  });
  for (const warning of made.warnings) terminal.note(`warning: ${plainText(warning)}`);
  const before = made.created ? "" : " (made before under this idempotency key)";
  if (options.follow === true) {
    terminal.note(`${made.batch.id}  ${batchLine(made.batch)}${before}`);
    return await follow(api, made.batch, options, terminal);
  }
  terminal.line(
    options.json === true
      ? JSON.stringify(made)
      : `${made.batch.id}  ${batchLine(made.batch)}${before}`,
  );
}

/** `holdfast batch list`. */
export async function list(options: ListOptions, context: CommandContext): Promise<void> {
  const { terminal } = context;
  const limit = options.limit ?? DEFAULT_LIST;
  const query = new URLSearchParams();
  if (options.status !== undefined) query.set("status", options.status);
  if (options.name !== undefined) query.set("name", options.name);
  const { items, hasMore } = await listBatches(apiClientFor(options, context), query, limit);
  if (options.json === true) {
    for (const batch of items) terminal.line(JSON.stringify(batch));
    return;
  }
  if (items.length === 0) return terminal.note("no batches");
  const columns = batchColumns(systemClock.now());
  for (const line of textTable(items, columns, terminal.resultColumns)) terminal.line(line);
  if (hasMore) terminal.note(`there are more: --limit ${limit * 2}`);
}

/** `holdfast batch show`. */
export async function show(
  ref: string,
  options: BatchOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const batch = await getBatch(apiClientFor(options, context), ref);
  if (options.json === true) return terminal.line(JSON.stringify(batch));
  for (const [name, value] of batchFacts(batch)) {
    if (value !== "") terminal.line(`${name.padEnd(12)}${plainText(value)}`);
  }
  if ((batch.pages.attention ?? 0) > 0) tellFlagged(batch, terminal);
}

/** `holdfast batch pages`. */
export async function pages(
  ref: string,
  options: PagesOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const limit = options.limit ?? DEFAULT_PAGES;
  const status = toPageStatus(options.status);
  const query = new URLSearchParams(status === undefined ? {} : { status });
  const api = apiClientFor(options, context);
  const { items, hasMore } = await listBatchPages(api, ref, query, limit);
  if (options.json === true) {
    for (const page of items) terminal.line(JSON.stringify(page));
  } else if (items.length === 0) {
    terminal.note("no pages");
  } else {
    const lines = textTable(items, pageColumns(), terminal.resultColumns);
    for (const line of lines) terminal.line(line);
  }
  if (hasMore) terminal.note(`there are more: --limit ${limit * 2}`);
}

/** A state by its name, or by what screens call it. */
function toPageStatus(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const wanted = text.trim().toLowerCase();
  const status = PAGE_STATUSES.find(
    (one) => one === wanted || PAGE_BADGES[one].toLowerCase() === wanted,
  );
  if (status !== undefined) return status;
  throw new CommandFailure(
    EXIT.refused,
    `--status: expected one of ${PAGE_STATUSES.join(", ")}, found ${JSON.stringify(text)}`,
  );
}

/** `holdfast batch watch`. */
export async function watch(
  ref: string,
  options: BatchOptions,
  context: CommandContext,
): Promise<void> {
  const api = apiClientFor(options, context);
  await follow(api, await getBatch(api, ref), options, context.terminal);
}

async function follow(
  api: ApiClient,
  first: BatchView,
  options: BatchOptions,
  terminal: Terminal,
): Promise<void> {
  const stop = listenForStop(terminal, () => undefined);
  try {
    const batch = await followBatch(api, first, {
      clock: systemClock,
      terminal,
      signal: stop.signal,
      isQuiet: options.json === true && !terminal.isInteractive,
    });
    process.exitCode = exitCodeOfBatch(batch);
    if (options.json === true) return terminal.line(JSON.stringify(batch));
    terminal.line(batchLine(batch));
    if ((batch.pages.attention ?? 0) > 0) tellFlagged(batch, terminal);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    throw new CommandFailure(
      EXIT.interrupted,
      `stopped watching; the book goes on. Watch again: holdfast batch watch ${first.number}`,
    );
  } finally {
    stop.release();
  }
}

function tellFlagged({ number }: BatchView, terminal: Terminal): void {
  terminal.note(
    `what is wrong: holdfast batch pages ${number} --status attention; once more: holdfast batch regenerate ${number}`,
  );
}

/** `holdfast batch regenerate`. */
export async function regenerate(
  ref: string,
  options: RegenerateOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const api = apiClientFor(options, context);
  const values = toValues(options);
  const force = options.force === true ? { force: true } : {};
  const named = options.page;
  let done: Regenerated;
  if (values === undefined) {
    done = await regeneratePages(api, ref, {
      ...force,
      ...(named !== undefined && { pages: named }),
    });
  } else {
    done = await regenerateWith(api, ref, { ...values, ...force }, named ?? [], terminal);
  }
  const { batch, regenerated } = done;
  const isFollowed = options.follow === true && !hasEnded(batch);
  if (isFollowed) {
    terminal.note(regeneratedText(regenerated));
    return await follow(api, batch, options, terminal);
  }
  terminal.line(options.json === true ? JSON.stringify(done) : regeneratedText(regenerated));
}

/** The values that pages get; undefined where they stay as they are. */
function toValues(options: RegenerateOptions): Readonly<Record<string, unknown>> | undefined {
  const { prompt, seed, page } = options;
  const set = parseBatchSet(options.set ?? [], undefined);
  if (set.kind === "bad") throw new CommandFailure(EXIT.refused, set.message);
  const hasSet = Object.keys(set.values).length > 0;
  if (prompt === undefined && seed === undefined && !hasSet) return undefined;
  if (page === undefined) {
    throw new CommandFailure(
      EXIT.refused,
      "--prompt, --seed and --set: expected --page beside them, to say whose values they are",
    );
  }
  return {
    ...(prompt !== undefined && { prompt }),
    ...(seed !== undefined && { seed }),
    ...(hasSet && { set: set.values }),
  };
}

/** One after another; the pages before one that is refused are told. */
async function regenerateWith(
  api: ApiClient,
  ref: string,
  body: Readonly<Record<string, unknown>>,
  named: readonly number[],
  terminal: Terminal,
): Promise<Regenerated> {
  const regenerated: number[] = [];
  let last: Regenerated | undefined;
  for (const page of named) {
    try {
      last = await regeneratePages(api, ref, body, page);
    } catch (error) {
      if (regenerated.length > 0) terminal.note(regeneratedText(regenerated));
      throw error;
    }
    regenerated.push(...last.regenerated);
  }
  return { batch: last?.batch ?? (await getBatch(api, ref)), regenerated };
}

function regeneratedText(pages: readonly number[]): string {
  if (pages.length === 0) return "no page needs it";
  const named = pages.slice(0, PAGES_NAMED).join(", ");
  const more = pages.length > PAGES_NAMED ? `, … (${pages.length} in all)` : "";
  return `${pages.length === 1 ? "page" : "pages"} ${named}${more} once more`;
}

/** `holdfast batch pause`, `resume` and `cancel`: tries all of them, and exits 2 when one was refused. */
export async function change(
  action: "pause" | "resume" | "cancel",
  refs: readonly string[],
  options: BatchOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const api = apiClientFor(options, context);
  let worst: ExitCode = EXIT.ok;
  for (const ref of refs) {
    try {
      tellBatch(await changeBatch(api, ref, action), options, terminal);
    } catch (error) {
      if (!(error instanceof CommandFailure)) throw error;
      terminal.note(`${ref}: ${error.message}`);
      worst = error.exitCode;
      if (error.exitCode === EXIT.unavailable) break;
    }
  }
  process.exitCode = worst;
}

/** `holdfast batch priority`. */
export async function priority(
  ref: string,
  value: number,
  options: BatchOptions,
  context: CommandContext,
): Promise<void> {
  const batch = await setPriority(apiClientFor(options, context), ref, value);
  tellBatch(batch, options, context.terminal);
}

function tellBatch(batch: BatchView, options: BatchOptions, terminal: Terminal): void {
  const text = `${batch.id}  ${batchLine(batch)}, priority ${batch.priority}`;
  terminal.line(options.json === true ? JSON.stringify(batch) : text);
}

/** `holdfast batch archive`. */
export async function archive(
  ref: string,
  options: FileOptions,
  context: CommandContext,
): Promise<void> {
  const api = apiClientFor(options, context);
  process.exitCode = await saveArchive(api, ref, options, context.terminal);
}

/** `holdfast batch contact-sheet`. */
export async function contactSheet(
  ref: string,
  options: FileOptions,
  context: CommandContext,
): Promise<void> {
  const api = apiClientFor(options, context);
  const status = toPageStatus(options.status);
  const { output, images, force } = options;
  const wanted = {
    output,
    ...(status !== undefined && { status }),
    ...(images !== undefined && { images }),
    ...(force !== undefined && { force }),
  };
  process.exitCode = await saveContactSheet(api, ref, wanted, context.terminal);
}
