/** `holdfast load`: checks what was asked for, runs it, writes what it came to. */
import { rm, writeFile } from "node:fs/promises";
import {
  createKeptSamples,
  gpuMetricsLine,
  jobMetricsLine,
  loadReportHtml,
  sampleLine,
  type ComparedLoad,
  type Comparison,
  type LoadSummary,
} from "@holdfast/load";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { processScreen } from "../terminal/screen.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { listenForStop } from "../up/stop-signals.ts";
import { assertComparable, comparisonLines, compareWith } from "./baseline.ts";
import { findCards, type Cards } from "./cards.ts";
import { percentText } from "./figures.ts";
import type { FaultyTarget } from "./faulty-target.ts";
import { findPrice } from "./find-price.ts";
import { showLive } from "./live-view.ts";
import type { LoadTarget } from "./load-target.ts";
import { measureLoad, planFacts, titleOf, type MeasuredRun } from "./measure.ts";
import { openTarget } from "./open-target.ts";
import type { LoadOptions } from "./options.ts";
import { readLoadRequest, type LoadRequest } from "./request.ts";
import { summaryLines } from "./summary-text.ts";
import {
  assertWritable,
  METRICS_FILE,
  openMetrics,
  openSpool,
  type LineSink,
  type SampleSpool,
} from "./write-files.ts";

/** Sets the exit code as `docs/load.md` says. */
export async function runLoad(options: LoadOptions, context: CommandContext): Promise<void> {
  const { terminal, env } = context;
  const request = await readLoadRequest(options, env);
  const before = request.compare?.before ?? null;
  const { address, targetKind: kind, scenario } = request;
  const opened = await openTarget({
    address,
    kind,
    clock: systemClock,
    random: systemRandom,
  }).catch((error: unknown) => {
    if (!(error instanceof CommandFailure) || error.exitCode !== EXIT.refused) throw error;
    const message = `${error.message}\nNo load was sent.`;
    throw new CommandFailure(EXIT.refused, message, { cause: error });
  });
  let fault: FaultyTarget | null = null;
  try {
    if (request.compare !== null && before !== null) {
      const now = { target: opened, plan: planFacts(request), scenario };
      assertComparable(request.compare, before, now);
    }
    const files = await openFiles(request);
    try {
      fault = await withFault(request, opened);
    } catch (error) {
      await closeFiles(files);
      throw error;
    }
    const target = fault?.target ?? opened;
    await runAndTell({ request, target, fault, files, before }, options.json === true, terminal);
  } finally {
    await (fault?.target ?? opened).close();
    // After it has taken back its work, which may go through what makes the fault.
    if (fault !== null) tellFault(fault, await fault.end(), terminal);
  }
}

/** What makes faults is loaded for those who want one. */
async function withFault(
  { scenario, address }: LoadRequest,
  target: LoadTarget,
): Promise<FaultyTarget | null> {
  if (scenario === null) return null;
  const { openFaultyTarget } = await import("./faulty-target.ts");
  const system = { clock: systemClock, random: systemRandom };
  return await openFaultyTarget(scenario, target, address, system);
}

function tellFault({ name }: FaultyTarget, struck: number | null, terminal: Terminal): void {
  const times =
    struck === null
      ? "how often it struck is not known"
      : `it struck ${struck === 1 ? "once" : `${struck} times`}`;
  const warning = struck === 0 ? ": the run says nothing of it, make it longer" : "";
  terminal.note(`scenario ${name}: ${times}${warning}`);
}

interface Files {
  readonly metrics: LineSink & { readonly path: string };
  readonly spool: SampleSpool | null;
}

/** Throws {@link CommandFailure} where one of them cannot be written. */
async function openFiles({ root, output, report }: LoadRequest): Promise<Files> {
  const opened = async <T>(open: Promise<T>, what: string): Promise<T> =>
    await open.catch((cause: unknown) => {
      const reason = cause instanceof Error ? cause.message : String(cause);
      const message = `${what} cannot be written: ${reason}. No load was sent.`;
      throw new CommandFailure(EXIT.refused, message, { cause });
    });
  if (report !== null) await opened(assertWritable(report), `--report: ${report}`);
  const spool = output === null ? null : await opened(openSpool(output), `--output: ${output}`);
  try {
    const metrics = await opened(openMetrics(root), `--root: ${METRICS_FILE} in ${root}`);
    return { metrics, spool };
  } catch (error) {
    await spool?.close();
    if (spool !== null) await rm(spool.path, { force: true });
    throw error;
  }
}

/** Of a run that never began: nothing of it is left. */
async function closeFiles({ metrics, spool }: Files): Promise<void> {
  await metrics.end();
  await spool?.close();
  if (spool !== null) await rm(spool.path, { force: true });
}

interface Run {
  readonly request: LoadRequest;
  readonly target: LoadTarget;
  readonly fault: FaultyTarget | null;
  readonly files: Files;
  readonly before: ComparedLoad | null;
}

async function runAndTell(run: Run, isJson: boolean, terminal: Terminal): Promise<void> {
  const { request, target, files } = run;
  const stop = listenForStop(terminal, () => undefined);
  const cancel = new AbortController();
  stop.signal.addEventListener("abort", () => {
    terminal.note("stopping: jobs in flight are cancelled, what was measured is summed up");
    cancel.abort(new Error("Ctrl-C"));
  });
  try {
    const cards = await findCards(target, { clock: systemClock, signal: cancel.signal });
    tellBefore(run, cards, terminal);
    const kept = createKeptSamples();
    const measured = await measure(run, cards, cancel, isJson, terminal, kept);
    const broken = await finishFiles(files, request.output, measured);
    const comparison =
      run.before === null
        ? null
        : compareWith(run.before, { summary: measured.summary, kept: kept.facts() });
    const failure = broken ?? (await writeReport(request.report, measured, comparison));
    tellAfter(run, measured, comparison, isJson, terminal);
    if (failure !== null) throw failure;
    process.exitCode = exitCodeOf(request, measured.summary, comparison, terminal);
  } finally {
    stop.release();
    await files.metrics.end();
    await files.spool?.close();
  }
}

/** Null, or why there is no page. */
async function writeReport(
  file: string | null,
  { summary, timeline }: MeasuredRun,
  comparison: Comparison | null,
): Promise<CommandFailure | null> {
  if (file === null) return null;
  const more = comparison === null ? {} : { comparison };
  try {
    await writeFile(file, loadReportHtml({ summary, timeline, ...more }));
    return null;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const words = `${file} could not be written: ${reason}`;
    return new CommandFailure(EXIT.failed, words, { cause });
  }
}

async function measure(
  { request, target, files, fault }: Run,
  cards: Cards,
  cancel: AbortController,
  isJson: boolean,
  terminal: Terminal,
  kept: ReturnType<typeof createKeptSamples>,
): Promise<MeasuredRun> {
  const { metrics, spool } = files;
  const price = await findPrice(request.costPerHour, target, request.address);
  const screen = isJson ? null : processScreen(terminal);
  return await measureLoad({
    plan: request,
    target,
    cards,
    scenario: request.scenario,
    ...(fault !== null && { graphFor: (index, graph) => fault.graphFor(index, graph) }),
    price,
    clock: systemClock,
    cancel: cancel.signal,
    onSample(sample, startedAt) {
      if (request.compare !== null) kept.add(sample);
      spool?.add(sampleLine(sample));
      metrics.write(jobMetricsLine(startedAt, sample));
      const failure = spool?.failure() ?? metrics.failure();
      if (failure !== null) cancel.abort(failure);
    },
    onGpu: (sample, startedAt) => metrics.write(gpuMetricsLine(startedAt, sample)),
    show: (facts, signal) => showLive(facts, { terminal, screen, clock: systemClock, signal }),
  });
}

function tellBefore({ request, target, fault }: Run, cards: Cards, terminal: Terminal): void {
  terminal.note(titleOf(request, target));
  if (fault !== null) terminal.note(`scenario ${fault.name}: ${fault.how}`);
  for (const { name, isVaried } of request.workflows) {
    if (isVaried) continue;
    terminal.note(
      `warning: ${name} has no seed, and no {{seed}} or {{index}}: ComfyUI may answer all jobs but the first from its cache`,
    );
  }
  terminal.note(
    cards.source === null ? "cards: nothing tells of them" : `cards: told by ${cards.source}`,
  );
  if (request.stop.gpuPercent !== null && !cards.isUseKnown) {
    terminal.note(
      "warning: nothing tells how busy the cards are, so --stop-gpu stops nothing: run it on the host of the cards",
    );
  }
}

/** Null, or why the output is not whole. What was measured is not lost: it says where it is. */
async function finishFiles(
  { metrics, spool }: Files,
  output: string | null,
  { summary, timeline }: MeasuredRun,
): Promise<CommandFailure | null> {
  await metrics.end();
  const failed = (what: string, cause: unknown): CommandFailure => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    return new CommandFailure(EXIT.failed, `${what}: ${reason}`, { cause });
  };
  if (spool !== null && output !== null) {
    try {
      await spool.finish(output, summary, timeline);
    } catch (cause) {
      return failed(`${output} could not be written; the samples are in ${spool.path}`, cause);
    }
  }
  const failure = metrics.failure();
  return failure === null ? null : failed(`${metrics.path} could not be written`, failure);
}

function tellAfter(
  { request, files }: Run,
  { summary, stop }: MeasuredRun,
  comparison: Comparison | null,
  isJson: boolean,
  terminal: Terminal,
): void {
  if (isJson) {
    const more = comparison === null ? {} : { comparison };
    terminal.line(JSON.stringify({ summary, stop, ...more }, null, 2));
    return;
  }
  for (const line of summaryLines(summary, terminal.resultColumns)) terminal.line(line);
  if (stop !== null) {
    terminal.line(
      stop.kind === "gpu"
        ? `stopped: GPU ${stop.gpu} was at ${stop.utilisationPercent.toFixed(1)} % over ten looks`
        : `stopped: ${stop.failed} of the last ${stop.of} jobs failed`,
    );
  }
  if (comparison !== null && request.compare !== null) {
    terminal.line("");
    const lines = comparisonLines(comparison, request.compare.file, terminal.resultColumns);
    for (const line of lines) terminal.line(line);
  }
  if (request.output !== null) terminal.note(`written: ${request.output}`);
  if (request.report !== null) terminal.note(`written: ${request.report}`);
  terminal.note(`added to ${files.metrics.path}`);
}

function exitCodeOf(
  { minSuccess }: LoadRequest,
  summary: LoadSummary,
  comparison: Comparison | null,
  terminal: Terminal,
): ExitCode {
  const { stoppedBecause, successRate } = summary;
  if (stoppedBecause === "cancelled") return EXIT.interrupted;
  if (stoppedBecause === "target_lost") return EXIT.unavailable;
  if (successRate === null || successRate < minSuccess) {
    const expected = `expected at least ${percentText(minSuccess)} (--min-success)`;
    terminal.note(`success ${percentText(successRate)}: ${expected}`);
    return EXIT.failed;
  }
  if (comparison?.kind !== "compared") return EXIT.ok;
  // One that says nothing must not pass for a good one.
  const isBad = comparison.verdict === "worse" || comparison.verdict === "too_few";
  return isBad ? EXIT.failed : EXIT.ok;
}
