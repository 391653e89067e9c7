/** How an experiment's process ended, in words on standard error: C6 has standard output. */
import type { ScheduleView } from "@holdfast/experiments";
import { runName } from "@holdfast/experiments";
import { assertNever } from "@holdfast/runtime";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import type { ScheduleEnd } from "./run-schedule.ts";

/** What there is to tell at the end. */
export interface EndFacts {
  readonly end: ScheduleEnd;
  readonly view: ScheduleView;
  readonly count: number;
  readonly folder: string;
  /** Of this process and those before it, in the order of their numbers. */
  readonly failed: readonly number[];
  readonly down: readonly number[];
}

/** Names that a line tells. */
const NAMES_TOLD = 10;

/** `exp_0003, exp_0017 and 40 more` */
export function namesText(indices: readonly number[]): string {
  const told = indices.slice(0, NAMES_TOLD).map((index) => runName(index));
  const left = indices.length - told.length;
  if (left > 0) return `${told.join(", ")} and ${left} more`;
  return told.length < 2
    ? told.join("")
    : `${told.slice(0, -1).join(", ")} and ${told.at(-1) ?? ""}`;
}

/** The last lines. */
export function endLines(facts: EndFacts): readonly string[] {
  const { end, view, count, folder, failed, down } = facts;
  const lines = [`${view.completed} of ${count} experiments completed; results in ${folder}`];
  if (failed.length > 0) {
    lines.push(`${failed.length} failed for a reason of their own: ${namesText(failed)}`);
  }
  if (down.length > 0) {
    lines.push(`${down.length} failed because a service was down: ${namesText(down)}`);
  }
  const again = `holdfast experiment run … --count ${count}`;
  switch (end.kind) {
    case "finished":
      if (down.length > 0) lines.push(`they are repeated by: ${again} --resume`);
      return lines;
    case "unhealthy":
      lines.push(`go on once the services are well: ${again} --start-from ${end.experiment}`);
      return lines;
    case "interrupted":
      lines.push(`stopped; go on with: ${again} --resume`);
      return lines;
    default:
      return assertNever(end);
  }
}

/** What a script is told: see `docs/experiments.md`. */
export function exitCodeOf({ end, failed, down }: EndFacts): ExitCode {
  switch (end.kind) {
    case "finished":
      return failed.length + down.length > 0 ? EXIT.failed : EXIT.ok;
    case "unhealthy":
      return EXIT.notFinished;
    case "interrupted":
      return EXIT.interrupted;
    default:
      return assertNever(end);
  }
}
