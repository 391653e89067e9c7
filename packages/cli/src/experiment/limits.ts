/** Most runs of an experiment in one ComfyUI's queue: what the agent stages at most. */
export const DIRECT_IN_FLIGHT_MAX = 8;
/** Longest execution of a run unless `--timeout` says otherwise, as for jobs. */
export const RUN_LIMIT_MS = 30 * 60_000;
