import {
  bannerLines,
  createSchedule,
  failureText,
  runLines,
  type HealthRecord,
  type ResultRecord,
  type Schedule,
} from "@holdfast/experiments";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { plainText } from "../terminal/text-table.ts";
import type { StopSignals } from "../up/stop-signals.ts";
import { holdfastVersion } from "../version.ts";
import { checkHealth, type HealthEnd } from "./check-health.ts";
import { writeComparison } from "./comparison-file.ts";
import { deliverLog } from "./deliver-log.ts";
import type { ExperimentLog } from "./experiment-log.ts";
import type { ResultsFolder } from "./folder/results-folder.ts";
import type { ImageStore } from "./keep-files.ts";
import { openMlflowLog } from "./mlflow-log.ts";
import { mlflowProbe } from "./mlflow-probe.ts";
import { doRun } from "./one-run.ts";
import { openRenderer } from "./open-renderer.ts";
import { openStore } from "./open-store.ts";
import { progressText } from "./progress-text.ts";
import type { Renderer } from "./renderer.ts";
import type { RunRequest } from "./request.ts";
import { requireKey } from "./require-key.ts";
import { resumeCommand } from "./resume-command.ts";
import { runSchedule, type ScheduleEnd } from "./run-schedule.ts";
import { createAskService } from "./services.ts";
import { endLines, exitCodeOf, type EndFacts } from "./summary.ts";

/** One process of an experiment, from its banner to its last line. */
export class ExperimentProcess {
  readonly #request: RunRequest;
  readonly #folder: ResultsFolder;
  readonly #terminal: Terminal;
  readonly #stop: StopSignals;
  readonly #schedule: Schedule;
  readonly #begunAt = systemClock.elapsed();
  #renderer: Promise<Renderer> | undefined;
  #store: ImageStore | undefined;
  #log: ExperimentLog | undefined;
  /** Checks that were made before the log was opened: they come before any other connection. */
  readonly #unloggedChecks: HealthRecord[] = [];
  #endedHere = 0;
  /** What a service refused a run for, and would refuse every other one for. */
  #refusal: string | undefined;

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
    let end: ScheduleEnd | "unfit" = "unfit";
    try {
      const isFit = options.preFlight !== true || (await this.#isFit());
      await this.#openLog();
      if (isFit) end = await this.#runAll();
      else process.exitCode = this.#stop.signal.aborted ? EXIT.interrupted : EXIT.unavailable;
    } finally {
      await this.#closeLog(end);
    }
    if (end === "unfit") return;
    const { file } = await writeComparison(this.#request.folder);
    this.#tellEnd(end);
    this.#terminal.note(`compare them: ${file}`);
  }

  async #isFit(): Promise<boolean> {
    return (await this.#check({ kind: "pre_flight" })).kind === "passed";
  }

  async #openLog(): Promise<void> {
    const { mlflow, folder, experiment, sequence } = this.#request;
    if (mlflow === undefined) return;
    const opened = await openMlflowLog({
      folder,
      experiment: experiment.plan.name,
      specHash: experiment.specHash,
      count: sequence.count,
      holdfastVersion: holdfastVersion(),
      target: mlflow,
      clock: systemClock,
      random: systemRandom,
      note: (text) => this.#terminal.note(text),
    });
    if (opened.kind === "unusable") throw new CommandFailure(EXIT.refused, opened.message);
    this.#log = opened.log;
    for (const record of this.#unloggedChecks.splice(0)) await opened.log.checked(record);
  }

  async #closeLog(end: ScheduleEnd | "unfit"): Promise<void> {
    const log = this.#log;
    if (log === undefined) return;
    await log.ended(end === "unfit" ? "unhealthy" : end.kind);
    await deliverLog(log, { terminal: this.#terminal, folder: this.#request.folder });
    await log.close();
  }

  async #runAll(): Promise<ScheduleEnd> {
    await requireKey(this.#request);
    this.#store = await openStore(this.#request);
    const { signal } = this.#stop;
    const onAbort = (): void => this.#tellStopping();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await runSchedule(this.#schedule, {
        start: (index) => this.#startRun(index),
        check: (experiment) => this.#check({ kind: "periodic", experiment }),
        refusal: () => this.#refusal,
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
      onBegun: async (run) => await this.#log?.runStarted(run),
      onEnd: (record) => this.#onEnd(record),
    });
  }

  async #onEnd(record: ResultRecord): Promise<void> {
    this.#endedHere += 1;
    await this.#log?.runEnded(record);
    const { name, error } = record;
    if (error === null) return;
    const isRefusal = error["isRefusal"] === true;
    if (isRefusal) this.#refusal ??= plainText(error.message.replaceAll(/\.?\n/g, ". "));
    const why = error.isInfrastructure && !isRefusal ? ", a service is down" : "";
    const message = plainText(failureText(error).split("\n")[0] ?? "");
    this.#terminal.note(`[WARN] ${name} failed (${error.class}${why}): ${message}`);
  }

  #check(purpose: Parameters<typeof checkHealth>[0]): Promise<HealthEnd> {
    const { services, policy, checkTimeoutMs } = this.#request;
    return checkHealth(purpose, {
      services,
      policy,
      timeoutMs: checkTimeoutMs,
      ask: createAskService(systemClock, { probeMlflow: mlflowProbe(this.#request.mlflow) }),
      clock: systemClock,
      print: (lines) => this.#print(lines),
      record: (record) => this.#record(record),
      signal: this.#stop.signal,
    });
  }

  async #record(record: HealthRecord): Promise<void> {
    await this.#folder.noteCheck(record);
    if (this.#log === undefined) this.#unloggedChecks.push(record);
    else await this.#log.checked(record);
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
    const { sequence, folder, file, options } = this.#request;
    const { count } = sequence;
    const { runs } = this.#folder;
    const facts: EndFacts = {
      end,
      view: this.#schedule.view(),
      count,
      folder,
      again: (startFrom) => resumeCommand(file, options, count, startFrom),
      failed: runs.runsThatAre("failed"),
      down: runs.runsThatAre("down"),
      untouched: Array.from({ length: count }, (_, index) => index).filter(
        (index) => runs.standing(index).status === "none",
      ).length,
    };
    process.exitCode = exitCodeOf(facts);
    for (const line of endLines(facts)) this.#terminal.note(line);
    if (options.json === true) this.#terminal.line(JSON.stringify(toJson(facts)));
  }
}

function toJson(facts: EndFacts): Record<string, unknown> {
  const { end, view, count, folder, failed, down, untouched } = facts;
  const startFrom = end.kind === "unhealthy" ? end.experiment : view.startFrom;
  return {
    end: end.kind,
    count,
    completed: view.completed,
    failed,
    down,
    ...(end.kind === "finished" && { notRendered: untouched }),
    ...(end.kind === "refused" && { reason: end.reason }),
    startFrom: end.kind === "finished" ? null : startFrom,
    folder,
  };
}
