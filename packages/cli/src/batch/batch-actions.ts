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
  setPriority,
} from "../api/batch-calls.ts";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { apiClientFor } from "../commands/client-options.ts";
import { tryEach } from "../commands/try-each.ts";
import { EXIT } from "../exit-codes.ts";
import { parseInput, uploadInput } from "../submit/inputs.ts";
import { readText } from "../submit/read-text.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { plainText, textTable } from "../terminal/text-table.ts";
import { listenForStop } from "../up/stop-signals.ts";
import { batchColumns, batchFacts, batchLine, pageColumns } from "./batch-text.ts";
import { saveArchive } from "./book-archive.ts";
import { toBookRequest } from "./book-request.ts";
import { saveContactSheet } from "./contact-sheet.ts";
import { followOnTerminal, tellFlagged } from "./follow-on-terminal.ts";
import type {
  BatchOptions,
  CreateOptions,
  FileOptions,
  ListOptions,
  PagesOptions,
} from "./options.ts";
import type { SavedFileOptions } from "./saved-file.ts";

export { regenerate } from "./regenerate.ts";

const DEFAULT_LIST = 50;
const DEFAULT_PAGES = 200;

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
    return await followOnTerminal(api, made.batch, options, terminal);
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
  if (items.length === 0) return terminal.note("no books");
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
  await followOnTerminal(api, await getBatch(api, ref), options, context.terminal);
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
  process.exitCode = await tryEach(refs, terminal, async (ref) => {
    tellBatch(await changeBatch(api, ref, action), options, terminal);
  });
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
  const { terminal } = context;
  const place = await placeOf(api, ref, options, "zip");
  process.exitCode = await unlessStopped(terminal, (signal) =>
    saveArchive(api, ref, place, { terminal, signal }),
  );
}

/** `holdfast batch contact-sheet`. */
export async function contactSheet(
  ref: string,
  options: FileOptions,
  context: CommandContext,
): Promise<void> {
  const api = apiClientFor(options, context);
  const { terminal } = context;
  const status = toPageStatus(options.status);
  const place = await placeOf(api, ref, options, "html");
  process.exitCode = await unlessStopped(terminal, (signal) =>
    saveContactSheet(api, ref, { ...place, status, terminal, clock: systemClock, signal }),
  );
}

/** Where to write: where it was said, or to a file in this folder that is called after the book. */
async function placeOf(
  api: ApiClient,
  ref: string,
  { output, force = false }: FileOptions,
  extension: string,
): Promise<SavedFileOptions> {
  const path = output ?? `book-${(await getBatch(api, ref)).number}.${extension}`;
  return { path, force };
}

/** Runs what leaves nothing half-written when a person goes away. */
async function unlessStopped<T>(
  terminal: Terminal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = listenForStop(terminal, () => undefined);
  try {
    return await work(stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    throw new CommandFailure(EXIT.interrupted, "stopped; nothing was written");
  } finally {
    stop.release();
  }
}
