/** The breaker of a running server in lines (CONTRACTS C2). Pure. */
import type { FleetStatus } from "@holdfast/contract";
import { percent } from "@holdfast/fleet";
import { durationText } from "../terminal/durations.ts";
import { factLines } from "./fact-line.ts";
import type { Look } from "./look.ts";

/** Points of the timeline that are shown; `--json` has all. */
const POINTS_SHOWN = 12;

/** Rate, threshold, whether machines may be started and why, and how it goes on. */
export function breakerLines(breaker: FleetStatus["breaker"], look: Look): readonly string[] {
  return [
    ...verdictLines(breaker, look),
    ...timelineLines(breaker, look),
    ...causeLines(breaker.causes, look),
  ];
}

/** Rate, threshold, whether machines may be started and why, and when they may again. */
export function verdictLines(breaker: FleetStatus["breaker"], look: Look): readonly string[] {
  const { text, threshold, minimum, clearedBefore, spawning, reason, state, since } = breaker;
  const cleared = clearedBefore === null ? "" : `; failures before ${clearedBefore} are cleared`;
  const sinceText = since === null ? "" : ` since ${since}`;
  const from = `${percent(threshold)}, from ${machineCount(minimum)} on${cleared}`;
  return [
    ...factLines("Failure rate", text, look.columns),
    ...factLines("Threshold", from, look.columns),
    ...factLines("Spawning", `${spawning}: ${reason}`, look.columns),
    ...factLines("Breaker", `${state}${sinceText}`, look.columns),
    ...resumeLines(breaker, look),
  ];
}

function machineCount(count: number): string {
  return `${count} ${count === 1 ? "machine" : "machines"}`;
}

function resumeLines(
  { resumesAt, probeAt, state }: FleetStatus["breaker"],
  { now, columns }: Look,
): readonly string[] {
  if (resumesAt !== null) {
    const words = `${instantText(resumesAt, now)}, if nothing else fails`;
    return factLines("Resumes", words, columns);
  }
  if (probeAt !== null) {
    const words = `${instantText(probeAt, now)}: those before it failed`;
    return factLines("Next probe", words, columns);
  }
  // Only a changed setting or another failure's end could say more.
  return state === "open" ? factLines("Resumes", "not known", columns) : [];
}

/** The rate after each failure has left the window. */
export function timelineLines(
  { timeline, resumesAt }: FleetStatus["breaker"],
  { now, columns }: Look,
): readonly string[] {
  if (timeline.length === 0) return [];
  const points = timeline.map(({ at, rate }) => {
    const resumes = at === resumesAt ? "  spawning resumes" : "";
    return `  ${instantText(at, now)}  ${percent(rate).padStart(6)}${resumes}`;
  });
  // The instant that matters is shown, however many failures leave before it.
  const resumesIndex = timeline.findIndex(({ at }) => at === resumesAt);
  const shown = points.slice(0, POINTS_SHOWN);
  const left = points.slice(POINTS_SHOWN);
  const later = resumesIndex >= POINTS_SHOWN ? points[resumesIndex] : undefined;
  return [
    ...factLines("Timeline", "the rate after each failure has left the window", columns),
    ...shown,
    ...(left.length === 0 ? [] : [`  … and ${left.length} more (--json has all)`]),
    ...(later === undefined ? [] : [later]),
  ];
}

/** What the failures that count were of. */
export function causeLines(
  causes: FleetStatus["breaker"]["causes"],
  { columns }: Look,
): readonly string[] {
  const found = causesText(causes);
  return found === "" ? [] : factLines("Failures by", found, columns);
}

/** `no_start 5, crash 1`, the most frequent first; empty without any. */
export function causesText(causes: FleetStatus["breaker"]["causes"]): string {
  return Object.entries(causes)
    .filter(([, count]) => count > 0)
    .toSorted(([, one], [, other]) => other - one)
    .map(([kind, count]) => `${kind} ${count}`)
    .join(", ");
}

/** An instant with how far away it is: `2026-01-31T12:32:30.000Z (in 12 min 3 s)`. */
export function instantText(instant: string, now: number): string {
  const aheadMs = Date.parse(instant) - now;
  if (Number.isNaN(aheadMs)) return instant;
  return `${instant} (${aheadMs > 0 ? `in ${durationText(aheadMs)}` : "now"})`;
}
