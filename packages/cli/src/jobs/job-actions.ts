import type { AttemptView, JobView, OutputView } from "@holdfast/contract";
import { systemClock } from "@holdfast/runtime/system";
import { changeJob, getAttempts, getJob, getOutputs, listJobs } from "../api/job-calls.ts";
import { CommandFailure } from "../command-failure.ts";
import { apiClientFor, type ClientOptions } from "../commands/client-options.ts";
import { tryEach } from "../commands/try-each.ts";
import { EXIT } from "../exit-codes.ts";
import type { CommandContext } from "../command-context.ts";
import { downloadOutputs } from "../submit/download.ts";
import { bytesText, durationText } from "../terminal/durations.ts";
import { parseWhen } from "../terminal/instants.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { plainText, textTable, type Column } from "../terminal/text-table.ts";
import { allChangesText } from "./changes-text.ts";
import { checkpointLines } from "./checkpoint-lines.ts";
import { expectedText, timeLeftText } from "./expectation-text.ts";
import { jobTable } from "./job-table.ts";
import { stateText } from "./progress-text.ts";
import { endText, exitCodeOf, showUntilEnded } from "./show-wait.ts";

/** The options of `jobs list`. */
export interface ListOptions extends ClientOptions {
  readonly status?: string;
  readonly tag?: string;
  readonly batch?: string;
  readonly since?: string;
  readonly before?: string;
  readonly oldest?: boolean;
  readonly limit?: number;
  readonly json?: boolean;
}

/** The options of the commands on one job or some. */
export interface JobOptions extends ClientOptions {
  readonly json?: boolean;
  readonly out?: string;
  readonly force?: boolean;
}

const DEFAULT_LIST = 50;
const PAGE = 500;

/** `holdfast jobs list`. */
export async function list(options: ListOptions, context: CommandContext): Promise<void> {
  const { terminal } = context;
  const api = apiClientFor(options, context);
  const limit = options.limit ?? DEFAULT_LIST;
  const query = new URLSearchParams();
  const put = (name: string, value: string | undefined): void => {
    if (value !== undefined) query.set(name, value);
  };
  put("status", options.status);
  put("tag", options.tag);
  put("batchId", options.batch);
  put("createdAfter", toInstant(options.since, "--since"));
  put("createdBefore", toInstant(options.before, "--before"));
  if (options.oldest === true) query.set("order", "oldest");
  const jobs: JobView[] = [];
  let hasMore = false;
  do {
    query.set("limit", String(Math.min(PAGE, limit - jobs.length)));
    const page = await listJobs(api, query);
    jobs.push(...page.items);
    hasMore = page.next !== null;
    if (page.next !== null) query.set("cursor", page.next);
  } while (hasMore && jobs.length < limit);
  if (options.json === true) {
    for (const job of jobs) terminal.line(JSON.stringify(job));
    return;
  }
  if (jobs.length === 0) return terminal.note("no jobs");
  for (const line of jobTable(jobs, systemClock.now(), terminal.resultColumns)) terminal.line(line);
  if (hasMore) terminal.note(`there are more: --limit ${limit * 2}`);
}

function toInstant(text: string | undefined, flag: string): string | undefined {
  if (text === undefined) return undefined;
  const at = parseWhen(text, systemClock.now());
  if (at === undefined) {
    throw new CommandFailure(
      EXIT.refused,
      `${flag}: expected an instant or a duration such as 2h, found ${JSON.stringify(text)}`,
    );
  }
  return new Date(at).toISOString();
}

/** `holdfast jobs show`. */
export async function show(
  id: string,
  options: JobOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const api = apiClientFor(options, context);
  const [job, attempts, outputs] = await Promise.all([
    getJob(api, id),
    getAttempts(api, id),
    getOutputs(api, id),
  ]);
  if (options.json === true) return terminal.line(JSON.stringify({ job, attempts, outputs }));
  for (const [name, value] of jobFacts(job)) {
    if (value !== "") terminal.line(`${name.padEnd(12)}${plainText(value)}`);
  }
  showAttempts(attempts, terminal);
  showOutputs(outputs, terminal);
}

function jobFacts(job: JobView): readonly (readonly [string, string])[] {
  const error =
    job.error === null
      ? ""
      : `${job.error.class}${job.error.subclass === null ? "" : `/${job.error.subclass}`}: ${job.error.message}`;
  return [
    ["job", `${job.number}  ${job.id}${job.name === null ? "" : `  ${job.name}`}`],
    ["status", stateText(job)],
    ["error", error],
    ["changes", allChangesText(job.changes)],
    ["poison", job.poison ? "yes: two instances died during it" : ""],
    ["tags", job.tags.join(", ")],
    ["batch", job.batchId ?? ""],
    ["priority", String(job.priority)],
    ["created", job.createdAt],
    ["started", job.startedAt ?? ""],
    ["ended", job.endedAt ?? ""],
    ["expected", expectedText(job)],
    ["time left", timeLeftText(job)],
    ["executed", `${durationText(job.executionMs)} of at most ${durationText(job.timeoutMs)}`],
  ];
}

function showAttempts(attempts: readonly AttemptView[], terminal: Terminal): void {
  if (attempts.length === 0) return;
  terminal.line("");
  const columns: readonly Column<AttemptView>[] = [
    { head: "TRY", cell: (attempt) => String(attempt.number), isRight: true },
    { head: "INSTANCE", cell: (attempt) => attempt.instanceName },
    { head: "OUTCOME", cell: (attempt) => attempt.outcome ?? attempt.state },
    { head: "ERROR", cell: (attempt) => attempt.error?.class ?? "" },
    { head: "THEN", cell: (attempt) => attempt.decision?.action ?? "" },
    { head: "WHY", cell: (a) => a.decision?.reason ?? a.error?.message ?? "" },
  ];
  for (const line of textTable(attempts, columns, terminal.resultColumns)) terminal.line(line);
  for (const line of checkpointLines(attempts)) terminal.line(plainText(line));
}

function showOutputs(outputs: readonly OutputView[], terminal: Terminal): void {
  if (outputs.length === 0) return;
  terminal.line("");
  const columns: readonly Column<OutputView>[] = [
    { head: "OUTPUT", cell: (output) => output.id },
    { head: "NODE", cell: (output) => output.nodeId },
    { head: "KIND", cell: (output) => output.kind },
    { head: "SIZE", cell: (output) => bytesText(output.sizeBytes), isRight: true },
    { head: "NAME", cell: (output) => output.name },
  ];
  for (const line of textTable(outputs, columns, terminal.resultColumns)) terminal.line(line);
}

/** `holdfast jobs watch`: exits as `submit --wait` does. */
export async function watch(
  id: string,
  options: JobOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const api = apiClientFor(options, context);
  const [job] = await showUntilEnded(api, [await getJob(api, id)], {
    clock: systemClock,
    terminal,
    isQuiet: options.json === true && !terminal.isInteractive,
  });
  if (job === undefined) return;
  process.exitCode = exitCodeOf(job);
  if (options.json === true) terminal.line(JSON.stringify(job));
  else terminal.note(endText(job));
  if (options.out !== undefined) await outputs(job.id, { ...options, json: false }, context);
}

/** `holdfast jobs cancel` and `retry`: tries all of them, and exits 2 when one was refused. */
export async function change(
  action: "cancel" | "retry",
  ids: readonly string[],
  options: JobOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const api = apiClientFor(options, context);
  process.exitCode = await tryEach(ids, terminal, async (id) => {
    const job = await changeJob(api, id, action, options.force === true ? { force: true } : {});
    terminal.line(
      options.json === true ? JSON.stringify(job) : `${job.id}  job ${job.number} ${job.status}`,
    );
  });
}

/** `holdfast jobs outputs`. */
export async function outputs(
  id: string,
  options: JobOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const api = apiClientFor(options, context);
  const found = await getOutputs(api, id);
  if (options.out === undefined) {
    if (options.json === true) terminal.line(JSON.stringify({ outputs: found }));
    else if (found.length === 0) terminal.note("no outputs");
    else showOutputs(found, terminal);
    return;
  }
  const written = await downloadOutputs(api, found, { folder: options.out, clock: systemClock });
  for (const file of written) {
    if (file.kind === "failed") {
      terminal.note(`output ${file.output.name} could not be fetched: ${file.reason}`);
      process.exitCode = EXIT.outputsMissing;
    } else if (options.json === true) {
      const { id: outputId, sha256 } = file.output;
      terminal.line(JSON.stringify({ outputId, path: file.path, sha256 }));
    } else {
      terminal.line(file.path);
    }
  }
}
