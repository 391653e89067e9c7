/**
 * `holdfast experiment run`: the shell around the schedule. What is printed on standard output is
 * CONTRACTS C6 to the letter; everything else goes to standard error.
 */
import { join } from "node:path";
import { systemClock } from "@holdfast/runtime/system";
import { fieldOf } from "../api/api-client.ts";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { listenForStop } from "../up/stop-signals.ts";
import { holdfastVersion } from "../version.ts";
import { dryRun } from "./dry-run.ts";
import { ExperimentProcess } from "./experiment-process.ts";
import { readAbout, writeAbout, writeWhole } from "./folder/about-file.ts";
import { GRAPH_FILE, SPEC_FILE } from "./folder/read-folder.ts";
import { openResultsFolder, type ResultsFolder } from "./folder/results-folder.ts";
import type { RunOptions } from "./options.ts";
import { readRequest, type RunRequest } from "./request.ts";
import { shownUrl } from "./shown-url.ts";

/** Sets the exit code as `docs/experiments.md` says. */
export async function runExperiment(
  file: string,
  options: RunOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const request = await readRequest(file, options, context);
  for (const warning of request.experiment.warnings) terminal.note(`warning: ${warning}`);
  if (options.dryRun !== undefined) return dryRun(request, options.dryRun, terminal);
  try {
    const folder = await openFolder(request);
    const stop = listenForStop(terminal, () => undefined);
    try {
      await new ExperimentProcess(request, folder, terminal, stop).run();
    } finally {
      stop.release();
      await folder.close();
    }
  } catch (error) {
    throw explained(error, request.folder);
  }
}

/** What the disk says, in words; everything else stays as it is. */
function explained(error: unknown, folder: string): unknown {
  const code = fieldOf(error, "code");
  const isOfDisk = typeof code === "string" && DISK_CODES.has(code) && error instanceof Error;
  if (!isOfDisk) return error;
  return new CommandFailure(
    EXIT.failed,
    `the results in ${folder} cannot be written: ${error.message}. What is there is whole: go on with --resume.`,
    { cause: error },
  );
}

const DISK_CODES: ReadonlySet<string> = new Set([
  "EACCES",
  "EDQUOT",
  "EIO",
  "EISDIR",
  "ENOENT",
  "ENOSPC",
  "ENOTDIR",
  "EPERM",
  "EROFS",
]);

async function openFolder(request: RunRequest): Promise<ResultsFolder> {
  const { folder: path } = request;
  const opened = await openResultsFolder(path, systemClock).catch((cause: unknown) => {
    if (!(cause instanceof Error) || fieldOf(cause, "syscall") === undefined) throw cause;
    const message = `--output: ${path} cannot be used: ${cause.message}. Nothing was rendered.`;
    throw new CommandFailure(EXIT.refused, message, { cause });
  });
  if (opened.kind === "locked") {
    const message = `${path}: process ${opened.pid} is at this experiment. Wait for it, or use another --output.`;
    throw new CommandFailure(EXIT.refused, message);
  }
  try {
    return await preparedFolder(request, opened.folder);
  } catch (error) {
    await opened.folder.close();
    throw error;
  }
}

async function preparedFolder(request: RunRequest, folder: ResultsFolder): Promise<ResultsFolder> {
  const { folder: path, options, startFrom } = request;
  const { completed, failed, toRepeat, interrupted } = folder.history;
  const known = completed + failed + toRepeat.length + interrupted.length;
  if (known > 0 && options.resume !== true && options.startFrom === undefined) {
    throw new CommandFailure(
      EXIT.refused,
      `${path} has ${known} runs of this experiment already. Go on with --resume or --start-from K, ` +
        "or use another --output to begin anew.",
    );
  }
  if (known === 0 && startFrom === request.sequence.count) {
    throw new CommandFailure(
      EXIT.refused,
      `--start-from ${startFrom} of --count ${startFrom}: ${path} has no run yet, so nothing is left to do ` +
        "and nothing would be rendered. Leave --start-from out (was the experiment's file changed?).",
    );
  }
  await describeFolder(request);
  if (known > 0 || startFrom === 0) return folder;
  // Somebody may have changed the file since: then it is another experiment.
  return { ...folder, damaged: [...folder.damaged, untouchedText(path, startFrom)] };
}

function untouchedText(path: string, startFrom: number): string {
  return `${path} is new: the first ${startFrom} runs are not rendered (was the experiment's file changed?)`;
}

async function describeFolder(request: RunRequest): Promise<void> {
  const { folder, experiment, sequence, target } = request;
  const before = await readAbout(folder);
  if (before === undefined) await keepOutOfGit(folder);
  await writeWhole(join(folder, SPEC_FILE), experiment.specText);
  const graph = JSON.stringify(experiment.plan.graph, null, 2);
  await writeWhole(join(folder, GRAPH_FILE), `${graph}\n`);
  await writeAbout(folder, {
    version: 1,
    name: experiment.plan.name,
    specHash: experiment.specHash,
    count: sequence.count,
    createdAt: before?.createdAt ?? new Date(systemClock.now()).toISOString(),
    holdfastVersion: holdfastVersion(),
    target: shownUrl(target.kind === "comfyui" ? target.url : target.address.baseUrl),
    mlflow: request.mlflow?.baseUrl ?? null,
  });
}

/** The default folder is often in a repository; whoever deletes the file does not get it again. */
async function keepOutOfGit(folder: string): Promise<void> {
  await writeWhole(
    join(folder, ".gitignore"),
    "# Pictures and records of an experiment. To have them in git, delete this file.\n*\n",
  );
}
