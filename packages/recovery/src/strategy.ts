/** The strategies of the error recovery API, by the names it prints. */
export const ERROR_STRATEGIES = [
  "REDUCE_PARAMS",
  "RESUME_CHECKPOINT",
  "SWITCH_MODEL",
  "RETRY",
  "ABORT",
] as const;

/** One of {@link ERROR_STRATEGIES}. */
export type ErrorStrategy = (typeof ERROR_STRATEGIES)[number];
