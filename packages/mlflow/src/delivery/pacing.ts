/** When to try again, and when what fails again and again is no longer waited for. */
import { backoffMs, type BackoffPolicy, type Clock, type Random } from "@holdfast/runtime";
import type { MlflowTrouble } from "../client/trouble.ts";
import type { RunQueue, StepKind } from "./run-queues.ts";

/** What one deliverer has seen of MLflow. */
export interface Pacing {
  /** Nothing is asked before this instant of the clock's `elapsed`. */
  readonly pausedUntil: number;
  /** Why nothing goes through now. */
  readonly trouble: MlflowTrouble | undefined;
  /** A step was answered; whether that is news after trouble. */
  noteAnswer(kind: StepKind, isRefused: boolean): boolean;
  /** A step was not; whether this kind of trouble is news. */
  noteTrouble(queue: RunQueue, kind: StepKind, trouble: MlflowTrouble): boolean;
  /**
   * Whether MLflow failed at the next step of a queue again and again, while others of its kind went
   * through since: then it is the fault of what is sent. Where all fail, it never is.
   */
  isPatienceOver(queue: RunQueue, kind: StepKind): boolean;
  /** Nothing is paused any more. */
  forgetPause(): void;
}

const BACKOFF: BackoffPolicy = { initialMs: 500, factor: 2, maxMs: 60_000, jitter: 0.5 };
/** So often it fails before what others of its kind tell is held against a step. */
const PATIENCE = 8;

/** Makes a {@link Pacing} without a past. */
export function createPacing({ clock, random }: { clock: Clock; random: Random }): Pacing {
  /** How many steps of a kind went through. */
  const worked: Record<StepKind, number> = { start: 0, data: 0, artifact: 0, end: 0 };
  let pausedUntil = 0;
  let failuresInARow = 0;
  let current: MlflowTrouble | undefined;
  return {
    get pausedUntil() {
      return pausedUntil;
    },
    get trouble() {
      return current;
    },
    noteAnswer(kind, isRefused) {
      // A refusal says that MLflow is there, and nothing about whether this kind of step works.
      if (!isRefused) worked[kind] += 1;
      failuresInARow = 0;
      pausedUntil = 0;
      const isNews = current !== undefined;
      current = undefined;
      return isNews;
    },
    noteTrouble(queue, kind, trouble) {
      const before = queue.failures?.kind === kind ? queue.failures : undefined;
      const count = (before?.count ?? 0) + 1;
      // Only failures are held against a step: that MLflow is away says nothing about it.
      if (trouble.kind === "failed") {
        queue.failures = { kind, count, worked: before?.worked ?? worked[kind] };
      }
      failuresInARow += 1;
      const asked = trouble.kind === "failed" ? (trouble.retryAfterMs ?? 0) : 0;
      const now = clock.elapsed();
      queue.retryAt = now + Math.max(asked, backoffMs(BACKOFF, count, random));
      pausedUntil = now + Math.max(asked, backoffMs(BACKOFF, failuresInARow, random));
      const isNews = current?.kind !== trouble.kind;
      current = trouble;
      return isNews;
    },
    isPatienceOver({ failures }, kind) {
      return (
        failures?.kind === kind && failures.count >= PATIENCE && worked[kind] > failures.worked
      );
    },
    forgetPause() {
      pausedUntil = 0;
    },
  };
}
