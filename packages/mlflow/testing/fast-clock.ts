import type { Clock } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";

/** The real clock, so many times as fast: what waits for seconds waits for milliseconds. */
export function fastClock(factor: number): Clock {
  return {
    now: () => systemClock.now(),
    elapsed: () => systemClock.elapsed() * factor,
    sleep: (ms, signal) => systemClock.sleep(ms / factor, signal),
  };
}
