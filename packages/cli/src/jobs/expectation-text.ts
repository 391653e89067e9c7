/** How long an open job takes, and is still away from its end, in words. Pure. */
import type { JobView } from "@holdfast/contract";
import { durationText } from "../terminal/durations.ts";

const MS_PER_SECOND = 1_000;
const NOT_KNOWN = "not known yet";

/** What a job of its kind takes as a rule; empty for one that has ended. */
export function expectedText({ endedAt, expectedMs }: JobView): string {
  if (endedAt !== null) return "";
  return typeof expectedMs === "number"
    ? `takes ${durationText(expectedMs)} as a rule`
    : `${NOT_KNOWN}: no such job was measured`;
}

/** How long it is until it is completed; empty for one that has ended. */
export function timeLeftText({ endedAt, etaSeconds }: JobView): string {
  if (endedAt !== null) return "";
  if (typeof etaSeconds !== "number") return NOT_KNOWN;
  return etaSeconds === 0 ? "due now" : `about ${durationText(etaSeconds * MS_PER_SECOND)}`;
}
