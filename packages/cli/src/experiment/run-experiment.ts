/**
 * `holdfast experiment run`: the shell around the schedule. What is printed on standard output is
 * CONTRACTS C6 to the letter; everything else goes to standard error.
 */
import { join } from "node:path";
import {
  bannerLines,
  createSchedule,
  runLines,
  type HealthRecord,
  type ResultRecord,
  type Schedule,
} from "@holdfast/experiments";
import { systemClock } from "@holdfast/runtime/system";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { plainText } from "../terminal/text-table.ts";
import { listenForStop, type StopSignals } from "../up/stop-signals.ts";
import { holdfastVersion } from "../version.ts";
import { checkHealth, type HealthEnd } from "./check-health.ts";
import { dryRun } from "./dry-run.ts";
import { readAbout, writeAbout, writeWhole } from "./folder/about-file.ts";
import { openResultsFolder, type ResultsFolder } from "./folder/results-folder.ts";
import type { ImageStore } from "./keep-files.ts";
import { doRun } from "./one-run.ts";
import { openRenderer } from "./open-renderer.ts";
import type { RunOptions } from "./options.ts";
import { progressText } from "./progress-text.ts";
import type { Renderer } from "./renderer.ts";
import { readRequest, type RunRequest } from "./request.ts";
import { runSchedule, type ScheduleEnd } from "./run-schedule.ts";
import { openS3Copy } from "./s3-copy.ts";
import { createAskService } from "./services.ts";
import { shownUrl } from "./shown-url.ts";
import { endLines, exitCodeOf, type EndFacts } from "./summary.ts";

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
  const opened = await openFolder(request);
  const stop = listenForStop(terminal, () => undefined);
  try {
    await new ExperimentProcess(request, opened, terminal, stop).run();
  } finally {
    stop.release();
    await opened.close();
  }
}

async function openFolder(request: RunRequest): Promise<ResultsFolder> {
  const { folder: path, options, startFrom } = request;
  const opened = await openResultsFolder(path, systemClock);
  if (opened.kind === "locked") {
    const message = `${path}: process ${opened.pid} is at this experiment. Wait for it, or use another --output.`;
    throw new CommandFailure(EXIT.refused, message);
  }
  const { folder } = opened;
  const { completed, failed, toRepeat, interrupted } = folder.history;
  const known = completed + failed + toRepeat.length + interrupted.length;
  if (known > 0 && options.resume !== true && options.startFrom === undefined) {
    await folder.close();
    throw new CommandFailure(
      EXIT.refused,
      `${path} has ${known} runs of this experiment already. Go on with --resume or --start-from K, ` +
        "or use another --output to begin anew.",
    );
  }
  await describeFolder(request);
  if (known === 0 && startFrom > 0) {
    // Somebody may have changed the file since: then it is another experiment.
    return { ...folder, damaged: [...folder.damaged, untouchedText(path, startFrom)] };
  }
  return folder;
}

function untouchedText(path: string, startFrom: number): string {
  return `${path} is new: the first ${startFrom} runs are not rendered (was the experiment's file changed?)`;
}

async function describeFolder(request: RunRequest): Promise<void> {
  const { folder, experiment, sequence, target } = request;
  const before = await readAbout(folder);
  await writeWhole(join(folder, "spec.yaml"), experiment.specText);
  const graph = JSON.stringify(experiment.plan.graph, null, 2);
  await writeWhole(join(folder, "workflow.json"), `${graph}\n`);
  await writeAbout(folder, {
    version: 1,
    name: experiment.plan.name,
    specHash: experiment.specHash,
    count: sequence.count,
    createdAt: before?.createdAt ?? new Date(systemClock.now()).toISOString(),
    holdfastVersion: holdfastVersion(),
    target: shownUrl(target.kind === "comfyui" ? target.url : target.address.baseUrl),
    mlflow: null,
  });
}

/** One process of an experiment, from its banner to its last line. */
class ExperimentProcess {
  readonly #request: RunRequest;
  readonly #folder: ResultsFolder;
  readonly #terminal: Terminal;
  readonly #stop: StopSignals;
  readonly #schedule: Schedule;
  readonly #begunAt = systemClock.elapsed();
  #renderer: Promise<Renderer> | undefined;
  #store: ImageStore | undefined;
  #endedHere = 0;

  constructor(request: RunRequest, folder: ResultsFolder, terminal: Terminal, stop: StopSignals) {
    this.#request = request;
    this.#folder = folder;
    this.#terminal = terminal;
    this.#stop = stop;
    this.#schedule = createSchedule({
      count: request.sequence.count,
      startFrom: request.startFrom,
      inFlightMax: request.target.inFlight,
      checkInterval: request.checkInterval,
      history: folder.history,
    });
  }

  async run(): Promise<void> {
    const { options, sequence } = this.#request;
    for (const line of this.#folder.damaged) this.#terminal.note(`warning: ${line}`);
    this.#print(bannerLines(sequence.count, options.preFlight === true));
    if (options.preFlight === true) {
      const end = await this.#check({ kind: "pre_flight" });
      if (end.kind === "failed") {
        process.exitCode = EXIT.unavailable;
        return;
      }
    }
    const end = await this.#runAll();
    this.#tellEnd(end);
  }

  async #runAll(): Promise<ScheduleEnd> {
    const { storeUrl, settings } = this.#request;
    if (storeUrl !== undefined) this.#store = await openS3Copy(storeUrl, settings, systemClock);
    const { signal } = this.#stop;
    const onAbort = (): void => this.#tellStopping();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await runSchedule(this.#schedule, {
        start: (index) => this.#startRun(index),
        check: (experiment) => this.#check({ kind: "periodic", experiment }),
        onChange: () => this.#showProgress(),
        signal,
      });
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#terminal.progress("");
      const renderer = await this.#renderer?.catch(() => undefined); // Its run has told it.
      await renderer?.close();
      await this.#store?.close();
    }
  }

  #startRun(index: number): ReturnType<typeof doRun> {
    const { sequence, experiment } = this.#request;
    return doRun(index, {
      sequence,
      graph: experiment.plan.graph,
      folder: this.#folder,
      renderer: () => (this.#renderer ??= openRenderer(this.#request)),
      store: this.#store,
      clock: systemClock,
      onStart: (run) => this.#print(runLines(run, sequence.count)),
      onEnd: (record) => this.#onEnd(record),
    });
  }

  async #onEnd(record: ResultRecord): Promise<void> {
    this.#endedHere += 1;
    const { name, error } = record;
    if (error === null) return;
    const why = error.isInfrastructure ? ", a service is down" : "";
    const message = plainText(error.message.split("\n")[0] ?? "");
    this.#terminal.note(`[WARN] ${name} failed (${error.class}${why}): ${message}`);
  }

  #check(purpose: Parameters<typeof checkHealth>[0]): Promise<HealthEnd> {
    const { services, policy, checkTimeoutMs } = this.#request;
    return checkHealth(purpose, {
      services,
      policy,
      timeoutMs: checkTimeoutMs,
      ask: createAskService(systemClock),
      clock: systemClock,
      print: (lines) => this.#print(lines),
      record: (record) => this.#record(record),
      signal: this.#stop.signal,
    });
  }

  async #record(record: HealthRecord): Promise<void> {
    await this.#folder.noteCheck(record);
  }

  /** With `--json` standard output is for the result alone. */
  #print(lines: readonly string[]): void {
    const isJson = this.#request.options.json === true;
    for (const line of lines) {
      if (isJson) this.#terminal.note(line);
      else this.#terminal.line(line);
    }
  }

  #showProgress(): void {
    const { completed, failed } = this.#schedule.view();
    this.#terminal.progress(
      progressText({
        count: this.#request.sequence.count,
        completed,
        failed,
        endedHere: this.#endedHere,
        elapsedMs: systemClock.elapsed() - this.#begunAt,
      }),
    );
  }

  #tellStopping(): void {
    const waiting = this.#schedule.view().inFlight.length;
    this.#terminal.note(
      `stopping: no run is started any more, ${waiting} in flight are waited for; Ctrl-C again ends at once`,
    );
  }

  #tellEnd(end: ScheduleEnd): void {
    const { sequence, folder, options } = this.#request;
    const facts: EndFacts = {
      end,
      view: this.#schedule.view(),
      count: sequence.count,
      folder,
      failed: this.#folder.runsThatAre("failed"),
      down: this.#folder.runsThatAre("down"),
    };
    process.exitCode = exitCodeOf(facts);
    for (const line of endLines(facts)) this.#terminal.note(line);
    if (options.json === true) this.#terminal.line(JSON.stringify(toJson(facts)));
  }
}

function toJson({ end, view, count, folder, failed, down }: EndFacts): Record<string, unknown> {
  const startFrom = end.kind === "unhealthy" ? end.experiment : view.startFrom;
  return {
    end: end.kind,
    count,
    completed: view.completed,
    failed,
    down,
    startFrom: end.kind === "finished" ? null : startFrom,
    folder,
  };
}
