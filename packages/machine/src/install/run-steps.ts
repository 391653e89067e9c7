import { invariant, type Clock } from "@holdfast/runtime";
import {
  StepFailure,
  type InstallEvent,
  type Step,
  type StepContext,
  type StepResult,
} from "./model.ts";
import type { Redact } from "./redact.ts";
import { blockerOf, orderProblem } from "./step-order.ts";

/** What became of a run. */
export interface StepsOutcome {
  /** No required step failed or was left out. */
  readonly ok: boolean;
  /** Stopped from outside before its end. */
  readonly isAborted: boolean;
  /** In the order of the steps given. */
  readonly results: readonly StepResult[];
}

/** What a run works with. */
export interface RunStepsOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly redact: Redact;
  /** Told in order; one that throws stops the run: it is a bug. */
  readonly onEvent: (event: InstallEvent) => void;
}

const STOPPED = "stopped before its end; running the installation again goes on from here";

/**
 * Runs steps: each is checked, and unless it is done already applied and verified. Lanes run beside
 * each other. A failure keeps only what comes after it from being done. An abort lets running steps
 * end (they get the signal) and leaves everything such that the same run can be repeated.
 */
export async function runSteps(
  steps: readonly Step[],
  options: RunStepsOptions,
): Promise<StepsOutcome> {
  const problem = orderProblem(steps);
  invariant(problem === undefined, problem ?? "");
  const { clock, signal, onEvent } = options;
  const startedAt = clock.elapsed();
  onEvent({
    kind: "started",
    at: clock.now(),
    steps: steps.map(({ id, title }) => ({ id, title })),
  });
  const results = new Map<string, StepResult>();
  const ended = new Map(steps.map((step) => [step.id, gate()]));
  const runLane = async (lane: Step["lane"]): Promise<void> => {
    for (const step of steps.filter((candidate) => candidate.lane === lane)) {
      for (const id of step.after) await ended.get(id)?.opened;
      const blocker = blockerOf(step, results);
      const result =
        blocker === undefined && !signal.aborted
          ? await runStep(step, options)
          : notReached(step, clock, signal.aborted ? STOPPED : waitsFor(steps, blocker));
      results.set(step.id, result);
      onEvent({ kind: "step.ended", at: clock.now(), result });
      ended.get(step.id)?.open();
    }
  };
  await Promise.all([...new Set(steps.map((step) => step.lane))].map(runLane));
  const all = steps.flatMap(({ id }) => results.get(id) ?? []);
  const ok = all.every(
    ({ outcome, isOptional }) => isOptional || outcome === "done" || outcome === "skipped",
  );
  onEvent({
    kind: "ended",
    at: clock.now(),
    ok,
    durationMs: Math.round(clock.elapsed() - startedAt),
  });
  return { ok, isAborted: signal.aborted, results: all };
}

/** By the title: it is what whoever reads this has seen of the step that failed. */
function waitsFor(steps: readonly Step[], id: string | undefined): string {
  return `waits for "${steps.find((step) => step.id === id)?.title ?? id}"`;
}

/** Lets everybody through who waits for it, once it was opened. */
interface Gate {
  readonly opened: Promise<void>;
  readonly open: () => void;
}

function gate(): Gate {
  const made: { open?: () => void } = {};
  const opened = new Promise<void>((resolve) => {
    made.open = resolve;
  });
  return { opened, open: () => made.open?.() };
}

function notReached(step: Step, clock: Clock, detail: string): StepResult {
  const { id, title, isOptional } = step;
  return {
    id,
    title,
    isOptional,
    outcome: "not_reached",
    startedAt: clock.now(),
    durationMs: 0,
    detail,
    advice: null,
  };
}

async function runStep(step: Step, options: RunStepsOptions): Promise<StepResult> {
  const { clock, signal, redact, onEvent } = options;
  const { id, title, isOptional } = step;
  const startedAt = clock.now();
  const started = clock.elapsed();
  onEvent({ kind: "step.started", at: startedAt, id, title });
  const result = (
    outcome: StepResult["outcome"],
    detail: string,
    advice: string | null = null,
  ): StepResult => ({
    id,
    title,
    isOptional,
    outcome,
    startedAt,
    durationMs: Math.round(clock.elapsed() - started),
    detail: redact(detail),
    advice: advice === null ? null : redact(advice),
  });
  const context: StepContext = {
    signal,
    progress: (progress) => onEvent({ kind: "step.progress", at: clock.now(), id, progress }),
    log: (line) => onEvent({ kind: "step.log", at: clock.now(), id, line: redact(line) }),
  };
  try {
    const check = await step.check(context);
    if (check.kind === "done") return result("skipped", check.detail);
    context.log(`needed: ${check.detail}`);
    await step.apply(context);
    await step.verify(context);
    // What the check found is over now; without the word it reads as if it were so still.
    return result("done", `before: ${check.detail}`);
  } catch (error) {
    // What a step throws while it is being stopped is the stop.
    if (signal.aborted) return result("not_reached", STOPPED);
    if (error instanceof StepFailure) return result("failed", error.message, error.advice);
    const message = error instanceof Error ? error.message : String(error);
    return result("failed", message, adviceFor(error));
  }
}

function adviceFor(error: unknown): string | null {
  switch ((error as NodeJS.ErrnoException | null)?.code) {
    case "ENOSPC":
    case "EDQUOT":
      return "Free space on that disk and run the installation again; it goes on from here.";
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return "Give the user that runs Holdfast the right to write there, and run it again.";
    default:
      return null;
  }
}
