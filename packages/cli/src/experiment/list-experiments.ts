import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { failureText, RESULTS_FILE, runName, type ResultRecord } from "@holdfast/experiments";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { durationText } from "../terminal/durations.ts";
import { plainText, textTable, type Column } from "../terminal/text-table.ts";
import { readChecks, readFolder, type ReadFolder } from "./folder/read-folder.ts";
import type { ShowOptions } from "./options.ts";
import { requireExperiment } from "./require-experiment.ts";
import { namesText } from "./summary.ts";

/** Tracebacks that `show` prints. */
const TRACEBACKS_TOLD = 3;

/** `holdfast experiment list`: the experiments in a folder, or the one that it is. */
export async function list(
  path: string | undefined,
  options: ShowOptions,
  { terminal }: CommandContext,
): Promise<void> {
  const root = resolve(path ?? "experiments");
  const names = await readdir(root).catch((cause: unknown) => {
    throw new CommandFailure(EXIT.refused, `there is no folder ${root}`, { cause });
  });
  const folders = [root, ...names.map((name) => join(root, name))];
  const found: ReadFolder[] = [];
  for (const folder of folders) {
    const read = await readFolder(folder);
    if (read !== undefined) found.push(read);
  }
  found.sort((a, b) => b.about.createdAt.localeCompare(a.about.createdAt));
  if (options.json === true) {
    for (const one of found) terminal.line(JSON.stringify(toJson(one)));
    return;
  }
  if (found.length === 0) return terminal.note(`no experiments in ${root}`);
  const columns: readonly Column<ReadFolder>[] = [
    { head: "EXPERIMENT", cell: (one) => one.about.name },
    { head: "DONE", cell: (one) => String(one.history.completed), isRight: true },
    { head: "OF", cell: (one) => String(one.about.count), isRight: true },
    { head: "FAILED", cell: (one) => String(one.history.failed), isRight: true },
    { head: "TO REPEAT", cell: (one) => String(toRepeat(one).length), isRight: true },
    { head: "CREATED", cell: (one) => one.about.createdAt },
    { head: "FOLDER", cell: (one) => one.path },
  ];
  for (const line of textTable(found, columns, terminal.resultColumns)) terminal.line(line);
}

/** `holdfast experiment show`: how far one is, and what failed. */
export async function show(
  path: string,
  options: ShowOptions,
  { terminal }: CommandContext,
): Promise<void> {
  const read = await readFolder(await requireExperiment(path));
  if (read === undefined) throw new CommandFailure(EXIT.failed, `${path} cannot be read`);
  const failures = lastFailures(read);
  if (options.json === true) {
    const failed = failures.map(({ name, error }) => ({ name, ...error }));
    return terminal.line(JSON.stringify({ ...toJson(read), failures: failed }));
  }
  for (const [name, value] of await factsOf(read)) {
    if (value !== "") terminal.line(`${name.padEnd(12)}${plainText(value)}`);
  }
  if (failures.length === 0) return;
  terminal.line("");
  const columns: readonly Column<ResultRecord>[] = [
    { head: "RUN", cell: (one) => one.name },
    { head: "ERROR", cell: (one) => one.error?.class ?? "" },
    { head: "SERVICE DOWN", cell: ({ error }) => serviceText(error) },
    { head: "WHY", cell: ({ error }) => whyText(error) },
  ];
  for (const line of textTable(failures, columns, terminal.resultColumns)) terminal.line(line);
  for (const line of tracebackLines(failures)) terminal.line(line);
}

function whyText(error: ResultRecord["error"]): string {
  if (error === null) return "";
  const exception = error.exceptionType === undefined ? "" : ` (${error.exceptionType})`;
  return `${failureText(error).split("\n")[0] ?? ""}${exception}`;
}

/** Runs that fail, fail alike: each traceback once, under the first run that has it. */
function tracebackLines(failures: readonly ResultRecord[]): readonly string[] {
  const first = new Map<string, string>();
  for (const { name, error } of failures) {
    const traceback = error?.traceback;
    if (traceback !== undefined && !first.has(traceback)) first.set(traceback, name);
  }
  const told = [...first].slice(0, TRACEBACKS_TOLD);
  const lines = told.flatMap(([traceback, name]) => [
    "",
    `${name}:`,
    ...traceback.split("\n").map((line) => plainText(line)),
  ]);
  const left = first.size - told.length;
  return left > 0 ? [...lines, "", `${left} more tracebacks are in ${RESULTS_FILE}`] : lines;
}

function serviceText(error: ResultRecord["error"]): string {
  if (error?.["isRefusal"] === true) return "refused us";
  return error?.isInfrastructure === true ? "yes" : "";
}

async function factsOf(read: ReadFolder): Promise<readonly (readonly [string, string])[]> {
  const { about, history, results, path } = read;
  const done = results.filter(({ status }) => status === "completed");
  const totalMs = done.reduce((sum, { durationMs }) => sum + durationMs, 0);
  const repeat = toRepeat(read);
  return [
    ["experiment", `${about.name}  ${about.specHash.slice(0, 8)}`],
    ["folder", path],
    ["created", about.createdAt],
    ["rendered on", about.target],
    ["MLflow", about.mlflow ?? ""],
    ["completed", `${history.completed} of ${about.count}`],
    ["failed", history.failed === 0 ? "" : String(history.failed)],
    ["to repeat", repeat.length === 0 ? "" : `${repeat.length}: ${namesText(repeat)}`],
    ["a run took", done.length === 0 ? "" : `${durationText(totalMs / done.length)} on average`],
    ["last check", await lastCheck(path)],
  ];
}

async function lastCheck(path: string): Promise<string> {
  const last = (await readChecks(path)).at(-1);
  if (last === undefined) return "";
  const { at, decision, services } = last;
  return `${at} ${decision}: ${services.map(({ message }) => message).join(", ")}`;
}

/** The last end of each run that has not completed, in order. */
function lastFailures({ results, history }: ReadFolder): readonly ResultRecord[] {
  const last = new Map(results.map((record) => [record.index, record]));
  return [...last.values()]
    .filter(({ index }) => !history.isCompleted(index))
    .sort((a, b) => a.index - b.index);
}

function toRepeat({ history }: ReadFolder): readonly number[] {
  const { toRepeat: down, interrupted } = history;
  return [...down, ...interrupted.map(({ index }) => index)].sort((a, b) => a - b);
}

function toJson(read: ReadFolder): Record<string, unknown> {
  const { path, about, history } = read;
  return {
    ...about,
    folder: path,
    completed: history.completed,
    failed: history.failed,
    toRepeat: toRepeat(read).map((index) => runName(index)),
  };
}
