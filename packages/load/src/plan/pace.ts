/** How fast a load run asks for jobs. */
import { IN_FLIGHT_MAX, LEVELS_MAX, PACE_MS_MAX, RATE_MAX } from "./pace-limits.ts";

/**
 * What is held: so many jobs in flight (a closed loop, which slows down with its target), or so many
 * begun a second whatever became of the others (an open loop, as users who know nothing of each other).
 */
export type Loop = "closed" | "open";

/** How the jobs of an open loop are spread: at even distances, or by chance as real arrivals are. */
export type Arrivals = "constant" | "poisson";

/** A pace. Values are jobs in flight of a closed loop, and jobs a second of an open one. */
export type Pace =
  | { readonly kind: "closed"; readonly inFlight: number }
  | { readonly kind: "open"; readonly perSecond: number; readonly arrivals: Arrivals }
  /** From one value to another, and on at that. */
  | {
      readonly kind: "ramp";
      readonly loop: Loop;
      readonly from: number;
      readonly to: number;
      readonly overMs: number;
      readonly arrivals: Arrivals;
    }
  /** One value after the other; the run is over with the last. */
  | {
      readonly kind: "step";
      readonly loop: Loop;
      readonly levels: readonly PaceLevel[];
      readonly arrivals: Arrivals;
    };

/** One step. */
export interface PaceLevel {
  readonly value: number;
  readonly forMs: number;
}

/** Whether jobs in flight are held, or a rate. */
export function loopOf(pace: Pace): Loop {
  return pace.kind === "closed" || pace.kind === "open" ? pace.kind : pace.loop;
}

/** How its jobs are spread; a closed loop has nothing to spread. */
export function arrivalsOf(pace: Pace): Arrivals {
  return pace.kind === "closed" ? "constant" : pace.arrivals;
}

/** Everything that is wrong with a pace; empty for a sound one. */
export function paceProblems(pace: Pace): readonly string[] {
  if (loopOf(pace) === "closed" && arrivalsOf(pace) === "poisson") {
    return ["jobs in flight come when others end: expected no arrivals by chance"];
  }
  switch (pace.kind) {
    case "closed":
      return valueProblems("closed", pace.inFlight, 1);
    case "open":
      return valueProblems("open", pace.perSecond, MIN_OVER_ZERO);
    case "ramp":
      return [
        // A ramp may come from nothing: its rate grows at once.
        ...valueProblems(pace.loop, pace.from, pace.loop === "closed" ? 1 : 0),
        ...valueProblems(pace.loop, pace.to, pace.loop === "closed" ? 1 : MIN_OVER_ZERO),
        ...timeProblems(pace.overMs),
      ];
    default:
      if (pace.levels.length === 0 || pace.levels.length > LEVELS_MAX) {
        return [`expected 1 to ${LEVELS_MAX} steps, found ${pace.levels.length}`];
      }
      return pace.levels.flatMap(({ value, forMs }) => [
        ...valueProblems(pace.loop, value, pace.loop === "closed" ? 1 : MIN_OVER_ZERO),
        ...timeProblems(forMs),
      ]);
  }
}

/** One job in some twelve days. */
const MIN_OVER_ZERO = 1e-6;

function valueProblems(loop: Loop, value: number, min: number): readonly string[] {
  if (loop === "closed") {
    return Number.isInteger(value) && value >= min && value <= IN_FLIGHT_MAX
      ? []
      : [`jobs in flight: expected a whole number from 1 to ${IN_FLIGHT_MAX}, found ${value}`];
  }
  return value >= min && value <= RATE_MAX
    ? []
    : [`jobs a second: expected ${min === 0 ? "0" : "over 0"} to ${RATE_MAX}, found ${value}`];
}

function timeProblems(ms: number): readonly string[] {
  return ms > 0 && ms <= PACE_MS_MAX ? [] : [`time: expected over 0 to 7 days, found ${ms} ms`];
}
