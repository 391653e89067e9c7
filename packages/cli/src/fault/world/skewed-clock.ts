import type { Clock } from "@holdfast/runtime";

/** A machine's clock that is off by so much; durations are right, as with a wrong date. */
export function skewedClock(clock: Clock, offMs: number): Clock {
  return {
    now: () => clock.now() + offMs,
    elapsed: () => clock.elapsed(),
    sleep: (ms, signal) => clock.sleep(ms, signal),
  };
}
