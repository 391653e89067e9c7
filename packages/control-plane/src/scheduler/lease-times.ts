import type { SchedulerSettings } from "./model.ts";

/**
 * The times that belong together around a lease. A holder believes a lease that a poll brings from
 * the poll's beginning on, for it cannot know when within the poll it was granted: a poll that may
 * last as long as a lease would bring leases that its agent must not believe any more.
 */
export function leaseTimes(
  leaseTtlMs: number,
  pollWaitMs: number,
): Pick<SchedulerSettings, "leaseTtlMs" | "pollWaitMs" | "renewEveryMs"> {
  const third = Math.round(leaseTtlMs / 3);
  return { leaseTtlMs, renewEveryMs: third, pollWaitMs: Math.min(pollWaitMs, 2 * third) };
}
