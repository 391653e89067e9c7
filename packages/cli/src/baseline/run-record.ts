/** `holdfast baseline record`: load runs into a folder that says what they were measured on. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gpuMetricsLine, jobMetricsLine, sampleLine } from "@holdfast/load";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { makeDayFolder } from "../day-folder.ts";
import { EXIT } from "../exit-codes.ts";
import { findCards } from "../load/cards.ts";
import { showLive } from "../load/live-view.ts";
import type { LoadTarget } from "../load/load-target.ts";
import { measureLoad, type MeasuredRun } from "../load/measure.ts";
import { openTarget } from "../load/open-target.ts";
import type { LoadOptions } from "../load/options.ts";
import { readLoadRequest, type LoadRequest } from "../load/request.ts";
import { summaryLines } from "../load/summary-text.ts";
import { openLines, openSpool, type LineSink } from "../load/write-files.ts";
import { processScreen } from "../terminal/screen.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { listenForStop } from "../up/stop-signals.ts";
import { BASELINES } from "./baselines.ts";
import { readHardware } from "./hardware.ts";
import { baselineReadme, type BaselineLoad } from "./readme.ts";

/** The options of `baseline record`. */
export interface RecordOptions extends Pick<
  LoadOptions,
  "server" | "target" | "apiKey" | "workflow" | "seed" | "jobs" | "timeout" | "warmUp" | "root"
> {
  /** `1,4`: a run each. */
  readonly concurrency: string;
  readonly json?: boolean;
}

/** Runs of one baseline. */
const RUNS_MAX = 16;

/** Runs the command: exit code 1 where fewer jobs completed than `load` asks for. */
export async function runRecord(options: RecordOptions, context: CommandContext): Promise<void> {
  const { terminal, env } = context;
  const requests: LoadRequest[] = [];
  for (const concurrency of concurrenciesOf(options.concurrency)) {
    requests.push(await readLoadRequest({ ...options, concurrency }, env));
  }
  const [request] = requests;
  if (request === undefined) return;
  const target = await openTarget({
    address: request.address,
    kind: request.targetKind,
    clock: systemClock,
    random: systemRandom,
  });
  const stop = listenForStop(terminal, () => undefined);
  try {
    await recordAll({ options, requests, request, target, stop: stop.signal }, terminal);
  } finally {
    stop.release();
    await target.close();
  }
}

function concurrenciesOf(text: string): readonly string[] {
  const parts = text.split(",").map((one) => one.trim());
  if (parts.length > RUNS_MAX || new Set(parts).size < parts.length) {
    throw new CommandFailure(
      EXIT.refused,
      `--concurrency: expected at most ${RUNS_MAX} numbers, each once, such as 1,4, found ${JSON.stringify(text)}`,
    );
  }
  return parts;
}

interface Recording {
  readonly options: RecordOptions;
  readonly requests: readonly LoadRequest[];
  readonly request: LoadRequest;
  readonly target: LoadTarget;
  readonly stop: AbortSignal;
}

async function recordAll(recording: Recording, terminal: Terminal): Promise<void> {
  const { options, requests, request, target, stop } = recording;
  const say = (line: string): void =>
    options.json === true ? terminal.note(line) : terminal.line(line);
  const { name, path } = await makeDayFolder(join(request.root, BASELINES), systemClock.now());
  const hardware = await readHardware(target, request.address, {
    clock: systemClock,
    signal: stop,
  });
  const metrics = await openLines(join(path, "metrics.ndjson"));
  const loads: BaselineLoad[] = [];
  let isMissed = false;
  try {
    for (const [index, one] of requests.entries()) {
      if (stop.aborted) break;
      const file = `load-${concurrencyOf(one)}.json`;
      const { summary } = await record(
        recording,
        one,
        index,
        { file: join(path, file), metrics },
        terminal,
      );
      if (summary.jobs.begun > summary.jobs.cancelled) loads.push({ file, summary });
      for (const line of summaryLines(summary, terminal.resultColumns)) say(line);
      say("");
      isMissed ||= (summary.successRate ?? 0) < one.minSuccess;
      if (summary.stoppedBecause === "target_lost") {
        throw new CommandFailure(
          EXIT.unavailable,
          `${target.url} is gone; what was measured is in ${path}`,
        );
      }
    }
  } finally {
    await metrics.end();
    const isWhole = loads.length === requests.length && !stop.aborted;
    const facts = {
      name,
      folder: path,
      hardware,
      workflowFiles: request.workflows.map(({ file }) => file),
      timeoutSeconds: request.timeoutMs / 1_000,
      loads,
      isWhole,
    };
    await writeFile(join(path, "README.md"), baselineReadme(facts));
    if (options.json === true) {
      terminal.line(JSON.stringify({ folder: path, hardware, loads, isWhole }, null, 2));
    }
  }
  say(`written: ${path}`);
  process.exitCode = stop.aborted ? EXIT.interrupted : isMissed ? EXIT.failed : EXIT.ok;
}

async function record(
  { options, target, stop }: Recording,
  request: LoadRequest,
  index: number,
  to: { readonly file: string; readonly metrics: LineSink },
  terminal: Terminal,
): Promise<MeasuredRun> {
  const spool = await openSpool(to.file);
  const screen = options.json === true ? null : processScreen(terminal);
  try {
    const measured = await measureLoad({
      // Every run renders other pictures: ComfyUI would answer the second from its cache.
      plan: { ...request, mix: { ...request.mix, seed: request.mix.seed + index } },
      target,
      cards: await findCards(target, { clock: systemClock, signal: stop }),
      scenario: null,
      price: null,
      clock: systemClock,
      cancel: stop,
      onSample(sample, startedAt) {
        spool.add(sampleLine(sample));
        to.metrics.write(jobMetricsLine(startedAt, sample));
      },
      onGpu: (sample, startedAt) => to.metrics.write(gpuMetricsLine(startedAt, sample)),
      show: (facts, signal) => showLive(facts, { terminal, screen, clock: systemClock, signal }),
    });
    await spool.finish(to.file, measured.summary, measured.timeline);
    const failure = to.metrics.failure();
    if (failure !== null) throw failure;
    return measured;
  } finally {
    await spool.close();
  }
}

function concurrencyOf({ pace }: LoadRequest): number {
  return pace.kind === "closed" ? pace.inFlight : 0;
}
