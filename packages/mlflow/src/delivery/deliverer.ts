/**
 * Brings journalled records to MLflow, in the background.
 *
 * D1  A record counts as done when MLflow has it or when it is in the file of what was refused, not before.
 * D2  The records of one run go in their order, one step at a time; other runs do not wait for it.
 */
import { assertNever, type Clock, type Random } from "@holdfast/runtime";
import type { MlflowClient } from "../client/client.ts";
import type { MlflowTrouble } from "../client/trouble.ts";
import type { Journal } from "../journal/journal.ts";
import type { Progress } from "../journal/progress.ts";
import type { SetAside } from "../journal/set-aside.ts";
import { createBacklog, type Backlog } from "./backlog.ts";
import { nextStep, type Step } from "./batch.ts";
import { deliverStep, itemsOf, type StepOutcome } from "./deliver-step.ts";
import type { Experiment } from "./experiment.ts";
import { createPacing, type Pacing } from "./pacing.ts";
import type { RunIdentities } from "./run-identity.ts";
import type { RunQueue, RunQueues } from "./run-queues.ts";
import { createWakeup } from "./wakeup.ts";

/** What an operator may want to know while it happens. */
export type DeliveryEvent =
  /** MLflow takes nothing now; all is kept and tried again. Told once for each kind of trouble in a row. */
  | { readonly kind: "away"; readonly trouble: MlflowTrouble }
  /** It takes records again. */
  | { readonly kind: "back" }
  | { readonly kind: "set_aside"; readonly reason: string; readonly count: number }
  /** The disk of the journal does not do what it should; delivery goes on and tries it again. */
  | { readonly kind: "disk"; readonly message: string };

/** How a deliverer works. */
export interface DelivererOptions {
  readonly client: MlflowClient;
  readonly identities: RunIdentities;
  readonly experiment: Experiment;
  readonly journal: Journal;
  readonly progress: Progress;
  readonly setAside: SetAside;
  readonly queues: RunQueues;
  readonly folder: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly onEvent: (event: DeliveryEvent) => void;
  /** Called when records are done. */
  readonly onDone: (records: number) => void;
  /** How many runs are delivered side by side. */
  readonly workers: number;
  /** Records that are read and wait, bytes. */
  readonly bufferBytes: number;
}

/** Delivers until it is stopped. */
export interface Deliverer {
  start(): void;
  /** There is more to read. */
  wake(): void;
  /** Tries at once what is paused. */
  retryNow(): void;
  /** Why nothing goes through now; undefined when the last step did, or none was tried. */
  trouble(): MlflowTrouble | undefined;
  /** Cuts what is under way; resolves when nothing runs any more. */
  stop(): Promise<void>;
}

/** Between two looks at a step that has to wait; nobody is asked meanwhile. */
const WAIT_MS = 100;
const DISK_PAUSE_MS = 5_000;
/** All is delivered: a look without being woken, should a wake ever be lost. */
const IDLE_MS = 30_000;

/** Makes a {@link Deliverer}. */
export function createDeliverer(options: DelivererOptions): Deliverer {
  const { clock, queues, onEvent } = options;
  const stopping = new AbortController();
  const wakeup = createWakeup(clock);
  const pacing = createPacing(options);
  const tellDisk = (error: unknown): void => {
    onEvent({ kind: "disk", message: error instanceof Error ? error.message : String(error) });
  };
  const backlog = createBacklog({
    ...options,
    onDamage: ({ segment, line }) =>
      tellDisk(`a line of the journal is damaged: file ${segment}, line ${line + 1}`),
  });
  const settle = createSettling({ ...options, pacing, backlog, tellDisk });
  let running: Promise<void>[] = [];

  async function deliver(queue: RunQueue): Promise<void> {
    let done = 0;
    try {
      const step = nextStep(queue.items);
      if (step === undefined) return;
      const outcome = await deliverStep(step, {
        ...options,
        isInherited: (segment) => options.journal.isInherited(segment),
        isPatienceOver: pacing.isPatienceOver(queue, step.kind),
        signal: stopping.signal,
      });
      done = await settle(queue, step, outcome);
    } catch (error) {
      // Not to be taken up at once by the next worker.
      queue.retryAt = clock.elapsed() + DISK_PAUSE_MS;
      throw error;
    } finally {
      queues.giveBack(queue, done);
      wakeup.wakeAll();
    }
  }
  /** One turn of a worker: something done, or waited until something may be. */
  async function turn(): Promise<void> {
    const ticket = wakeup.ticket();
    await backlog.fill();
    const now = clock.elapsed();
    const pauseMs = pacing.pausedUntil - now;
    if (pauseMs > 0) return await wakeup.pause(ticket, pauseMs, stopping.signal);
    const queue = queues.take(now);
    if (queue !== undefined) return await deliver(queue);
    const next = queues.nextRetryAt();
    const waitMs = next === undefined ? IDLE_MS : Math.max(1, next - now);
    return await wakeup.pause(ticket, waitMs, stopping.signal);
  }
  const isStopped = (): boolean => stopping.signal.aborted;
  async function work(): Promise<void> {
    while (!isStopped()) {
      try {
        await turn();
      } catch (error) {
        if (isStopped()) return;
        // The disk: what was not written counts as not done, and is done again.
        tellDisk(error);
        await wakeup.pause(wakeup.ticket(), DISK_PAUSE_MS, stopping.signal);
      }
    }
  }

  return {
    start: () => void (running = Array.from({ length: options.workers }, work)),
    wake() {
      backlog.noteNews();
      wakeup.wakeAll();
    },
    retryNow() {
      pacing.forgetPause();
      queues.forgetPauses();
      wakeup.wakeAll();
    },
    trouble: () => pacing.trouble,
    async stop() {
      stopping.abort(new Error("the deliverer was stopped"));
      await Promise.all(running);
      // What is left of the files is removed where all of it is done.
      await backlog.fill().catch(tellDisk);
      await options.progress.save().catch(tellDisk);
    },
  };
}

interface Settling extends DelivererOptions {
  readonly pacing: Pacing;
  readonly backlog: Backlog;
  readonly tellDisk: (error: unknown) => void;
}

/** What follows from a step's outcome; it gives how many items of the queue's beginning are done. D1 */
function createSettling(settling: Settling) {
  const { clock, progress, setAside, pacing, onEvent } = settling;
  return async (queue: RunQueue, step: Step, outcome: StepOutcome): Promise<number> => {
    switch (outcome.kind) {
      case "wait":
        queue.retryAt = clock.elapsed() + WAIT_MS;
        return 0;
      case "trouble": {
        const { trouble } = outcome;
        if (pacing.noteTrouble(queue, step.kind, trouble)) onEvent({ kind: "away", trouble });
        return 0;
      }
      case "done": {
        const { refused, wasAsked } = outcome;
        const [first] = refused;
        if (first !== undefined) {
          await setAside.add(refused, clock.now());
          onEvent({ kind: "set_aside", reason: first.reason, count: refused.length });
        }
        const items = itemsOf(step);
        settling.backlog.markDone(items.map(({ position }) => position));
        queue.failures = undefined;
        const isBack = wasAsked && pacing.noteAnswer(step.kind, refused.length > 0);
        if (isBack) onEvent({ kind: "back" });
        await progress.save().catch(settling.tellDisk);
        return items.length;
      }
      default:
        return assertNever(outcome);
    }
  };
}
