/** Puts the feature together: the service, and the loops that bring books on. */
import type { EventType } from "@holdfast/contract";
import type { Clock, Random, Service } from "@holdfast/runtime";
import type { Log } from "../platform/log.ts";
import { createBookLoop, createBookRemovalLoop, createBookRounds } from "./loop.ts";
import { createBatchService, type BatchService, type BatchServiceDeps } from "./service.ts";
import type { StepDeps } from "./step-service.ts";

/** What books are made of. */
export interface BatchesOptions
  extends Omit<BatchServiceDeps, "onCreated" | "onDue" | "jobs">, Omit<StepDeps, "jobs"> {
  readonly jobs: BatchServiceDeps["jobs"] & StepDeps["jobs"];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** How long after its end a book is kept; 0: for ever. */
  readonly keptMs: number;
  readonly onRemoved: (rows: number) => void;
}

/** Books of one replica. */
export interface Batches {
  readonly service: BatchService;
  readonly loops: readonly Service[];
  /** Events of these types were written, here or (undefined) elsewhere: a page may have ended. */
  wake(written?: readonly EventType[]): void;
}

const TURNS: ReadonlySet<EventType> = new Set([
  "job.completed",
  "job.failed",
  "job.timeout",
  "job.cancelled",
  "job.redriven",
]);

/** Makes books; loops do not run before they are started. */
export function createBatches(options: BatchesOptions): Batches {
  const rounds = createBookRounds(options);
  const books = createBookLoop(options, rounds);
  const removal = createBookRemovalLoop(options);
  const service = createBatchService({
    ...options,
    onCreated: () => {
      options.onEvents(["book.created"]);
      books.wake();
    },
    onDue: () => books.wake(),
  });
  return {
    // What a caller removed begins to go at once.
    service: {
      ...service,
      async remove(caller, ref) {
        await service.remove(caller, ref);
        removal.wake();
      },
    },
    loops: [books, removal],
    wake(written) {
      // Without a book, thousands of jobs that end wake nobody; a look a second finds the first.
      if (!rounds.hasLiving()) return;
      if (written === undefined || written.some((type) => TURNS.has(type))) books.wake();
    },
  };
}
