/** The breaker of a running server in lines (CONTRACTS C2). Pure. */
import type { FleetStatus } from "@holdfast/contract";
import { percent } from "@holdfast/fleet";
import { durationText } from "../terminal/durations.ts";
import { factLine } from "./fact-line.ts";

/** Points of the timeline that are shown; `--json` has all. */
const POINTS_SHOWN = 12;

/** Rate, threshold, whether machines may be started and why, and how it goes on. `now` is epoch ms. */
export function breakerLines(breaker: FleetStatus["breaker"], now: number): readonly string[] {
  const { text, threshold, minimum, clearedBefore, spawning, reason, state, since } = breaker;
  const cleared = clearedBefore === null ? "" : `; failures before ${clearedBefore} are cleared`;
  const sinceText = since === null ? "" : ` since ${since}`;
  return [
    factLine("Failure rate", text),
    factLine("Threshold", `${percent(threshold)}, from ${machineCount(minimum)} on${cleared}`),
    factLine("Spawning", `${spawning}: ${reason}`),
    factLine("Breaker", `${state}${sinceText}`),
    ...resumeLines(breaker, now),
    ...timelineLines(breaker, now),
    ...causeLines(breaker.causes),
  ];
}

function machineCount(count: number): string {
  return `${count} ${count === 1 ? "machine" : "machines"}`;
}

function resumeLines(
  { resumesAt, probeAt, state }: FleetStatus["breaker"],
  now: number,
): readonly string[] {
  if (resumesAt !== null) {
    return [factLine("Resumes", `${instantText(resumesAt, now)}, if nothing else fails`)];
  }
  if (probeAt !== null) {
    return [factLine("Next probe", `${instantText(probeAt, now)}: those before it failed`)];
  }
  // Only a changed setting or another failure's end could say more.
  return state === "open" ? [factLine("Resumes", "not known")] : [];
}

function timelineLines(
  { timeline, resumesAt }: FleetStatus["breaker"],
  now: number,
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
    factLine("Timeline", "the rate after each failure has left the window"),
    ...shown,
    ...(left.length === 0 ? [] : [`  … and ${left.length} more (--json has all)`]),
    ...(later === undefined ? [] : [later]),
  ];
}

function causeLines(causes: FleetStatus["breaker"]["causes"]): readonly string[] {
  const found = causesText(causes);
  return found === "" ? [] : [factLine("Failures by", found)];
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
