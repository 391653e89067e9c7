/** Most jobs that one harness keeps in flight: each holds a graph and a few timers. */
export const IN_FLIGHT_MAX = 10_000;
/** Most jobs a second that one harness is asked for. */
export const RATE_MAX = 10_000;
/** Most steps of one pace. */
export const LEVELS_MAX = 100;
/** Longest ramp or step: a week. */
export const PACE_MS_MAX = 7 * 24 * 3_600_000;
