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
  /** The command that goes on: as `--resume`, or from a number on. */
  readonly again: (startFrom?: number) => string;
  /** Of this process and those before it, in the order of their numbers. */
  readonly failed: readonly number[];
  readonly down: readonly number[];
  /** Below `count`, and begun by nobody: `--start-from` passed them by. */
  readonly untouched: number;
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
  const { end, view, count, folder, again, failed, down, untouched } = facts;
  const lines = [`${view.completed} of ${count} experiments completed; results in ${folder}`];
  if (failed.length > 0) {
    lines.push(`${failed.length} failed for a reason of their own: ${namesText(failed)}`);
  }
  if (down.length > 0) {
    const why =
      end.kind === "refused" ? "a service refused them or was down" : "a service was down";
    lines.push(`${down.length} failed because ${why}: ${namesText(down)}`);
  }
  switch (end.kind) {
    case "finished":
      if (untouched > 0) {
        const were = untouched === 1 ? "1 was" : `${untouched} were`;
        lines.push(`${were} not asked for (--start-from), and not rendered by any process before`);
        lines.push(`all that is left is done by: ${again()}`);
      } else if (down.length > 0) lines.push(`they are repeated by: ${again()}`);
      return lines;
    case "unhealthy":
      lines.push(`go on once the services are well: ${again(end.experiment)}`);
      return lines;
    case "refused":
      lines.push(
        `stopped, for no other one would do better: ${end.reason}`,
        `go on once that is put right: ${again()}`,
      );
      return lines;
    case "interrupted":
      lines.push(`stopped; go on with: ${again()}`);
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
    case "refused":
      return EXIT.refused;
    case "interrupted":
      return EXIT.interrupted;
    default:
      return assertNever(end);
  }
}
