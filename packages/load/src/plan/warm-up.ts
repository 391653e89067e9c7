/** What of a run's beginning is left out: models are loaded, caches filled, code compiled. */

/** The first jobs and the first time of a run; a job in either is warm-up. */
export interface WarmUp {
  readonly jobs: number;
  readonly forMs: number;
}

/** Nothing is left out. */
export const NO_WARM_UP: WarmUp = { jobs: 0, forMs: 0 };

/** Whether a job is left out of the steady state. It goes by when the job was meant to begin. */
export function isWarmUp(
  { jobs, forMs }: WarmUp,
  job: { readonly index: number; readonly intendedMs: number },
): boolean {
  return job.index < jobs || job.intendedMs < forMs;
}
