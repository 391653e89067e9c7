/** `holdfast sla search`: the most books at a time, the verdict, and the runbook. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  judgeSla,
  measuredText,
  foundWords,
  kneeWords,
  type LoadSummary,
  type MeasuredTrial,
  type Sla,
  type SlaFacts,
  type TrialPlan,
} from "@holdfast/load";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { createApiClient } from "../api/api-client.ts";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { findCards } from "../load/cards.ts";
import { showLive } from "../load/live-view.ts";
import type { LoadTarget } from "../load/load-target.ts";
import { measureLoad } from "../load/measure.ts";
import type { LoadOptions } from "../load/options.ts";
import { openTarget } from "../load/open-target.ts";
import { readLoadRequest, type LoadRequest } from "../load/request.ts";
import { assertWritable } from "../load/write-files.ts";
import { processScreen } from "../terminal/screen.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { listenForStop } from "../up/stop-signals.ts";
import { liveSlaFacts, lostSince } from "./live-facts.ts";
import { readTargets } from "./read-targets.ts";
import { readRunbook, writeRunbook } from "./runbook-file.ts";
import { searchBooks } from "./search-books.ts";
import { searchFacts } from "./search-facts.ts";
import { verdictLines } from "./sla-text.ts";
import { toSlaStatus } from "./sla-status.ts";

/** The options of `sla search`. */
export interface SlaSearchOptions extends Pick<
  LoadOptions,
  "server" | "target" | "apiKey" | "workflow" | "seed" | "timeout" | "root" | "output" | "json"
> {
  readonly targets?: string;
  readonly from: number;
  readonly max: number;
  readonly window: number;
}

/** Where the runbook is kept below `--root`. */
export const RUNBOOK_FILE = join("runbooks", "comfyui_sla.md");
/** Jobs a workflow that are sent before, and not counted: models are loaded by them. */
const WARM_UP_JOBS = 1;

/** Runs the command: exit code 1 where a target is missed. */
export async function runSearch(options: SlaSearchOptions, context: CommandContext): Promise<void> {
  const { terminal, env } = context;
  const sla = await readTargets(options.targets);
  if (options.from > options.max) {
    throw new CommandFailure(
      EXIT.refused,
      `--from: expected at most --max (${options.max}), found ${options.from}`,
    );
  }
  // The checks are those of `load`; a trial says itself how much it sends.
  const request = await readLoadRequest({ ...options, concurrency: "1", jobs: "1" }, env);
  const runbook = join(request.root, RUNBOOK_FILE);
  const target = await openTarget({
    address: request.address,
    kind: request.targetKind,
    clock: systemClock,
    random: systemRandom,
  });
  const stop = listenForStop(terminal, () => undefined);
  try {
    await readRunbook(runbook);
    await assertAllWritable([runbook, ...(options.output === undefined ? [] : [options.output])]);
    await searchAndTell({ options, request, target, sla, runbook, stop: stop.signal }, terminal);
  } finally {
    stop.release();
    await target.close();
  }
}

interface Search {
  readonly options: SlaSearchOptions;
  readonly request: LoadRequest;
  readonly target: LoadTarget;
  readonly sla: Sla;
  readonly runbook: string;
  readonly stop: AbortSignal;
}

async function searchAndTell(run: Search, terminal: Terminal): Promise<void> {
  const { options, request, target, sla, runbook, stop } = run;
  const startedAt = systemClock.now();
  const isJson = options.json === true;
  const say = (line: string): void => (isJson ? terminal.note(line) : terminal.line(line));
  const measure = trialMeasurer(run, isJson, terminal);
  say(titleOf(run));
  await measure({ inFlight: 1, jobs: WARM_UP_JOBS * request.workflows.length }, 0);
  const lost: { failure?: CommandFailure } = {};
  const { search, summaries } = await searchBooks({
    sla,
    limits: { from: options.from, max: options.max },
    window: options.window,
    async measure(plan, trial) {
      try {
        return await measure(plan, trial + 1);
      } catch (error) {
        // What was measured before it was gone is worth keeping.
        if (!(error instanceof CommandFailure)) throw error;
        lost.failure = error;
        return null;
      }
    },
    onTrial: (trial, why) => say(trialLine(trial, why)),
  });
  if (search.trials.length === 0) {
    if (lost.failure !== undefined) throw lost.failure;
    terminal.note(`stopped before the first trial had ended: nothing was written to ${runbook}`);
    process.exitCode = EXIT.interrupted;
    return;
  }
  const recovery = await recoveryOf(request, target, startedAt);
  const verdict = judgeSla(
    sla.targets,
    searchFacts(search, summaries, { recovery, targets: sla.targets }),
  );
  const { url, version } = target;
  const writtenAt = new Date(systemClock.now()).toISOString();
  const facts = { target: { kind: target.kind, url, version }, sla, verdict, search };
  const workflows = request.workflows.map(({ name, hash }) => ({ name, hash }));
  const result = { version: 1, writtenAt, workflows, ...facts };
  if (options.output !== undefined) {
    await writeFile(options.output, `${JSON.stringify(result, null, 2)}\n`);
  }
  if (isJson) terminal.line(JSON.stringify(result, null, 2));
  else {
    const words = [foundWords(search.books, search.why), kneeWords(search.knee)];
    terminal.line("");
    for (const line of words) terminal.line(line.replaceAll("**", ""));
    terminal.line("");
    for (const line of verdictLines(verdict, terminal.resultColumns)) terminal.line(line);
  }
  if (options.output !== undefined) terminal.note(`written: ${options.output}`);
  terminal.note(await writeRunbook(runbook, { ...facts, writtenAt, workflows }));
  if (lost.failure !== undefined) throw lost.failure;
  if (stop.aborted) process.exitCode = EXIT.interrupted;
  else process.exitCode = verdict.state === "breached" ? EXIT.failed : EXIT.ok;
}

/** Runs trials; null for one that was stopped. Throws where the target is gone. */
function trialMeasurer({ request, target, stop }: Search, isJson: boolean, terminal: Terminal) {
  const screen = isJson ? null : processScreen(terminal);
  return async (plan: TrialPlan, trial: number): Promise<LoadSummary | null> => {
    const { summary } = await measureLoad({
      plan: {
        ...request,
        // Trials must not render what one before has: ComfyUI would answer from its cache.
        mix: { ...request.mix, seed: request.mix.seed + trial },
        pace: { kind: "closed", inFlight: Math.min(plan.inFlight, plan.jobs) },
        limits: { ...request.limits, jobs: plan.jobs },
      },
      target,
      cards: await findCards(target, { clock: systemClock, signal: stop }),
      scenario: null,
      price: null,
      clock: systemClock,
      cancel: stop,
      show: (facts, signal) => showLive(facts, { terminal, screen, clock: systemClock, signal }),
    });
    // Refused so often in a row, it is gone or full. Who is full still says what it is. A trial whose jobs
    // were all in flight at once has no job left to be stopped before.
    const isLost = summary.stoppedBecause === "target_lost";
    if (isLost || (summary.jobs.completed === 0 && !stop.aborted)) await lookAgain(request);
    return summary.stoppedBecause === "cancelled" ? null : summary;
  };
}

/** Throws {@link CommandFailure} where nobody answers. */
async function lookAgain({ address, targetKind: kind }: LoadRequest): Promise<void> {
  const found = await openTarget({ address, kind, clock: systemClock, random: systemRandom });
  await found.close();
}

function titleOf({ options, request, target, sla }: Search): string {
  const kind = target.kind === "holdfast" ? "Holdfast" : "ComfyUI";
  const names = request.workflows.map(({ name }) => name).join(", ");
  return `searching on ${kind} at ${target.url}: books of ${sla.pagesPerBook} pages (${names}), ${options.window} of each in flight`;
}

function trialLine({ books, jobs, isBreached, ...trial }: MeasuredTrial, why: string): string {
  const p95 = trial.latencyP95Seconds;
  const latency =
    p95 === null
      ? "nothing completed"
      : `p95 ${measuredText("latencyP95Seconds", { value: p95, from: jobs })}`;
  const failed = trial.failedPercent === null ? "" : `, ${trial.failedPercent} % failed`;
  const state = isBreached ? "BREACHED" : "kept";
  return `${String(books).padStart(4)} ${books === 1 ? "book " : "books"} (${why}): ${trial.throughputPerMinute} images/min, ${latency}${failed}: ${state}`;
}

/** What was lost meanwhile, as a Holdfast tells an operator; null where it tells nothing. */
async function recoveryOf(
  { address }: LoadRequest,
  target: LoadTarget,
  startedAt: number,
): Promise<SlaFacts["recoverySeconds"]> {
  if (target.kind !== "holdfast") return null;
  const query = new URLSearchParams({ from: new Date(startedAt - 1).toISOString() });
  const answer = await createApiClient(address).request(`/api/v1/sla?${query.toString()}`);
  if (answer.kind !== "answered") return null;
  // All that was searched for must not be lost with an answer that cannot be read.
  return await answer.response
    .json()
    .then((status) => liveSlaFacts(lostSince(toSlaStatus(status), startedAt)).recoverySeconds)
    .catch(() => null);
}

/** Before any load: a search takes long, and its result must not be lost. */
async function assertAllWritable(files: readonly string[]): Promise<void> {
  for (const file of files) {
    try {
      await assertWritable(file);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new CommandFailure(
        EXIT.refused,
        `${file} cannot be written: ${reason}. No load was sent.`,
        { cause },
      );
    }
  }
}
