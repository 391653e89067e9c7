/** From files and flags to the body of `POST /api/v1/batches`. */
import { parseJsonKeepingIntegers } from "@holdfast/contract";
import { fieldOf } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { readGraph } from "../submit/read-graph.ts";
import type { CreateOptions } from "./options.ts";
import { parseBatchSet } from "./set-options.ts";

/** Gives a file's text. */
export type ReadText = (file: string) => Promise<string>;

/**
 * The body to send. Throws {@link CommandFailure} for flags that do not go together and files that are
 * not what they should be; what they hold is for the server to judge.
 */
export async function toBookRequest(
  file: string | undefined,
  options: CreateOptions,
  readText: ReadText,
): Promise<Readonly<Record<string, unknown>>> {
  if (options.parallel === true && options.inOrder === true) {
    throw refused("--parallel and --in-order: expected one of them");
  }
  const parts =
    file === undefined
      ? await readParts(options, readText)
      : await readBook(file, options, readText);
  const set = parseBatchSet(options.set ?? [], parts["graph"]);
  if (set.kind === "bad") throw refused(set.message);
  const ownSet = parts["set"];
  return {
    ...parts,
    ...(Object.keys(set.values).length > 0 && {
      set: { ...(typeof ownSet === "object" ? ownSet : {}), ...set.values },
    }),
    ...(options.bind !== undefined && { bind: readBind(options.bind) }),
    ...(options.name !== undefined && { name: options.name }),
    ...(options.tag !== undefined && { tags: options.tag }),
    ...(options.parallel === true && { parallel: true }),
    ...(options.inOrder === true && { parallel: false }),
    ...(options.window !== undefined && { window: options.window }),
    ...(options.priority !== undefined && { priority: options.priority }),
    ...(options.timeout !== undefined && { timeoutMs: options.timeout }),
    ...(options.maxRetries !== undefined && { maxRetries: options.maxRetries }),
    ...(options.paused === true && { paused: true }),
  };
}

function refused(message: string): CommandFailure {
  return new CommandFailure(EXIT.refused, message);
}

/** A file that has all of the request. */
async function readBook(
  file: string,
  options: CreateOptions,
  readText: ReadText,
): Promise<Readonly<Record<string, unknown>>> {
  const beside = (["workflow", "table", "pages"] as const).find(
    (name) => options[name] !== undefined,
  );
  if (beside !== undefined) {
    throw refused(
      `--${beside}: expected no ${file} beside it; a file alone is a whole book, --workflow with --table or --pages puts one together`,
    );
  }
  const book = parseJson(await readText(file), file);
  const isObject = typeof book === "object" && book !== null && !Array.isArray(book);
  if (!isObject) throw refused(`${file}: expected an object with graph, and pages or table`);
  if (Object.values(book).some((node) => typeof fieldOf(node, "class_type") === "string")) {
    throw refused(
      `${file} is a workflow: expected a book. Give it as --workflow ${file}, with --table or --pages`,
    );
  }
  return book as Readonly<Record<string, unknown>>;
}

async function readParts(
  options: CreateOptions,
  readText: ReadText,
): Promise<Readonly<Record<string, unknown>>> {
  const { workflow, table, pages } = options;
  if (workflow === undefined && pages === undefined) {
    throw refused(
      "expected a file with a book, or --workflow FILE with --table FILE or --pages FILE",
    );
  }
  if ((table === undefined) === (pages === undefined)) {
    throw refused(
      "expected one of --table FILE (CSV or rows of JSON, a row a page) and --pages FILE (a list of pages)",
    );
  }
  const parts: Record<string, unknown> = {};
  if (workflow !== undefined) {
    const read = readGraph(await readText(workflow), workflow);
    if (read.kind === "bad") throw refused(read.message);
    parts["graph"] = read.graph;
  }
  if (table !== undefined) parts["table"] = toTable(await readText(table), table);
  if (pages !== undefined) parts["pages"] = toPages(parseJson(await readText(pages), pages), pages);
  return parts;
}

/** By its name, and where that does not tell by its beginning. */
function toTable(text: string, file: string): unknown {
  const isJson = /\.json$/i.test(file) || (!/\.[ct]sv$/i.test(file) && /^\s*[[{]/.test(text));
  if (!isJson) return { csv: text };
  const value = parseJson(text, file);
  const rows = Array.isArray(value) ? value : fieldOf(value, "rows");
  if (!Array.isArray(rows))
    throw refused(`${file}: expected a list of rows, or an object with rows`);
  return { rows };
}

function toPages(value: unknown, file: string): unknown {
  const pages = Array.isArray(value) ? value : fieldOf(value, "pages");
  if (!Array.isArray(pages)) {
    throw refused(`${file}: expected a list of pages, or an object with pages`);
  }
  return pages;
}

function parseJson(text: string, file: string): unknown {
  try {
    return parseJsonKeepingIntegers(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw refused(`${file} is not JSON: ${reason}`);
  }
}

/** `--bind subject=6.text,12.text`; a column that is named twice has both. */
function readBind(texts: readonly string[]): Readonly<Record<string, readonly string[]>> {
  const bind = new Map<string, string[]>();
  for (const text of texts) {
    const equals = text.lastIndexOf("=");
    const column = text.slice(0, Math.max(0, equals)).trim();
    const inputs = text
      .slice(equals + 1)
      .split(",")
      .map((name) => name.trim());
    if (column === "" || inputs.some((name) => !/^.+\..+$/.test(name))) {
      throw refused(
        `--bind ${text}: expected column=node.input, for example --bind subject=6.text`,
      );
    }
    bind.set(column, [...(bind.get(column) ?? []), ...inputs]);
  }
  return Object.fromEntries(bind);
}
