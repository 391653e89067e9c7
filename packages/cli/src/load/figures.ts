/** Figures of a load run as people read them. */
import type { StoppedBecause } from "@holdfast/load";
import { durationText } from "../terminal/durations.ts";

/** `0.8 ms`, `42 ms`, `3.9 s`; null is a dash. */
export function millisecondsText(ms: number | null): string {
  if (ms === null) return "-";
  return ms < 10 ? `${ms.toFixed(1)} ms` : durationText(ms);
}

/** A share as percent: `100 %`, `98.5 %`; null is a dash. */
export function percentText(share: number | null): string {
  if (share === null) return "-";
  const percent = share * 100;
  return `${Number.isInteger(percent) ? percent : percent.toFixed(percent > 99.9 ? 2 : 1)} %`;
}

/** Why a run ended, in words. */
export const STOPPED_WORDS: Readonly<Record<StoppedBecause, string>> = {
  jobs: "all jobs were sent",
  time: "its time, or that of its ramp or steps, was over",
  behind: "it fell too far behind its rate: the target, or this host, is too slow for it",
  gpu: "a card was full (--stop-gpu)",
  errors: "too many jobs failed (--stop-errors)",
  cancelled: "it was stopped by Ctrl-C",
  target_lost: "the target could not be reached any more",
};
