import { join } from "node:path";
import { MAX_JOBS_PER_SUBMIT, type CheckpointMode, type JobView } from "@holdfast/contract";
import { systemClock } from "@holdfast/runtime/system";
import type { ApiClient } from "../api/api-client.ts";
import { getOutputs, submitJobs } from "../api/job-calls.ts";
import { CommandFailure } from "../command-failure.ts";
import { apiClientFor, type ClientOptions } from "../commands/client-options.ts";
import { EXIT } from "../exit-codes.ts";
import { endText, exitCodeOf, showUntilEnded, worstExitCode } from "../jobs/show-wait.ts";
import type { CommandContext } from "../command-context.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { downloadOutputs, type Written } from "./download.ts";
import { parseInput, uploadInput } from "./inputs.ts";
import { readGraph } from "./read-graph.ts";
import { readText } from "./read-text.ts";
import { seedValues } from "./seeds.ts";
import { parseSetValues } from "./set-values.ts";

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
  readonly checkpoints?: CheckpointMode;
  readonly count?: number;
  readonly idempotencyKey?: string;
  readonly strict?: boolean;
}

/** `holdfast submit`. Sets the exit code as `exit-codes.ts` says. */
export async function runSubmit(
  file: string,
  options: SubmitOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const api = apiClientFor(options, context);
  const source = file === "-" ? "standard input" : file;
  const read = readGraph(await readText(file), source);
  if (read.kind === "bad") throw new CommandFailure(EXIT.refused, read.message);
  const bodies = toBodies(read.graph, options);
  for (const text of options.input ?? []) await uploadInput(api, parseInput(text));
  const submitted = await submitJobs(api, bodies, {
    idempotencyKey: options.idempotencyKey,
    isStrict: options.strict === true,
    clock: systemClock,
  });
  for (const warning of submitted.warnings) terminal.note(`warning: ${warning}`);
  if (options.wait !== true && options.out === undefined) {
    tellSubmitted(submitted.jobs, submitted.created, options, terminal);
    return;
  }
  if (!submitted.created) terminal.note("submitted before under this idempotency key");
  const jobs = await showUntilEnded(api, submitted.jobs, {
    clock: systemClock,
    terminal,
    isQuiet: options.json === true && !terminal.isInteractive,
  });
  await finish(api, jobs, options, terminal);
}

/** The jobs to send: one, or as many as `--count` says, each with its own seed. */
function toBodies(graph: unknown, options: SubmitOptions): readonly unknown[] {
  const set = parseSetValues(options.set ?? [], graph);
  if (set.kind === "bad") throw new CommandFailure(EXIT.refused, set.message);
  const count = options.count ?? 1;
  if (count > MAX_JOBS_PER_SUBMIT) {
    throw new CommandFailure(EXIT.refused, `--count: at most ${MAX_JOBS_PER_SUBMIT} at once`);
  }
  const shared = {
    graph,
    ...(options.tag === undefined ? {} : { tags: options.tag }),
    ...(options.priority === undefined ? {} : { priority: options.priority }),
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.batch === undefined ? {} : { batchId: options.batch }),
    ...(options.timeout === undefined ? {} : { timeoutMs: options.timeout }),
    ...(options.checkpoints === undefined ? {} : { policy: { checkpoints: options.checkpoints } }),
  };
  return Array.from({ length: count }, (_, index) => {
    const seeds = index === 0 ? {} : seedValues(graph, set.values, index);
    if (seeds === undefined) {
      throw new CommandFailure(EXIT.refused, "--count: the graph has no seed to vary");
    }
    const values = { ...set.values, ...seeds };
    return Object.keys(values).length === 0 ? shared : { ...shared, set: values };
  });
}

function tellSubmitted(
  jobs: readonly JobView[],
  created: boolean,
  options: SubmitOptions,
  terminal: Terminal,
): void {
  if (options.json === true) {
    terminal.line(
      JSON.stringify(jobs.length === 1 ? { job: jobs[0], created } : { jobs, created }),
    );
    return;
  }
  for (const job of jobs) {
    const before = created ? "" : " (submitted before under this idempotency key)";
    terminal.line(`${job.id}  job ${job.number} ${job.status}${before}`);
  }
}

/** Tells how the jobs ended, fetches what they gave, and sets the exit code. */
async function finish(
  api: ApiClient,
  jobs: readonly JobView[],
  options: SubmitOptions,
  terminal: Terminal,
): Promise<void> {
  const results: { job: JobView; files: readonly Written[] }[] = [];
  for (const job of jobs) {
    const files = options.out === undefined ? [] : await fetchOutputs(api, job, jobs, options.out);
    results.push({ job, files });
  }
  const codes = results.map(({ job, files }) => {
    const code = exitCodeOf(job);
    const isWhole =
      options.out === undefined ||
      (files.length >= job.outputCount && files.every((file) => file.kind === "written"));
    return code === EXIT.ok && !isWhole ? EXIT.outputsMissing : code;
  });
  process.exitCode = worstExitCode(codes);
  if (options.json === true) {
    const shown = results.map(({ job, files }) => ({
      job,
      files: files.map((file) =>
        file.kind === "written"
          ? { outputId: file.output.id, path: file.path, sha256: file.output.sha256 }
          : { outputId: file.output.id, path: null, error: file.reason },
      ),
    }));
    terminal.line(JSON.stringify(shown.length === 1 ? shown[0] : { jobs: shown }));
    return;
  }
  for (const { job, files } of results) {
    terminal.note(endText(job));
    tellFiles(job, files, options.out !== undefined, terminal);
  }
}

async function fetchOutputs(
  api: ApiClient,
  job: JobView,
  jobs: readonly JobView[],
  out: string,
): Promise<readonly Written[]> {
  // Several jobs of one workflow give files of the same names: each gets a folder of its own.
  const folder = jobs.length === 1 ? out : join(out, `job-${job.number}`);
  const outputs = await getOutputs(api, job.id);
  return await downloadOutputs(api, outputs, { folder, clock: systemClock });
}

function tellFiles(
  job: JobView,
  files: readonly Written[],
  isFetched: boolean,
  terminal: Terminal,
): void {
  for (const file of files) {
    if (file.kind === "written") terminal.line(file.path);
    else terminal.note(`output ${file.output.name} could not be fetched: ${file.reason}`);
  }
  if (isFetched && job.status === "completed" && files.length < job.outputCount) {
    terminal.note(`${job.outputCount - files.length} outputs are missing from the server's list`);
  }
  if (!isFetched && job.status === "completed" && job.outputCount > 0) {
    terminal.line(job.id);
    terminal.note(`fetch them: holdfast jobs outputs ${job.id} --out FOLDER`);
  }
}
