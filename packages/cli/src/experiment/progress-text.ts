import { durationText } from "../terminal/durations.ts";

/** `117 of 250 done, 2 failed, about 12 min 3 s left`: only for somebody who watches. */
export function progressText(facts: {
  readonly count: number;
  readonly completed: number;
  readonly failed: number;
  /** Of this process. */
  readonly endedHere: number;
  readonly elapsedMs: number;
}): string {
  const { count, completed, failed, endedHere, elapsedMs } = facts;
  const left = Math.max(0, count - completed - failed);
  const parts = [`${completed + failed} of ${count} done`];
  if (failed > 0) parts.push(`${failed} failed`);
  if (endedHere > 0 && left > 0) {
    parts.push(`about ${durationText((elapsedMs / endedHere) * left)} left`);
  }
  return parts.join(", ");
}
