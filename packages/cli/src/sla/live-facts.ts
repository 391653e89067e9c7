/** What a Holdfast says of the time gone by, as facts of an SLA. Pure. */
import type { SlaStatus } from "@holdfast/contract";
import { NO_SLA_FACTS, type SlaFacts } from "@holdfast/load";

const MS_PER_SECOND = 1_000;
const PERCENT = 100;

/**
 * Throughput and books at a time stay unmeasured: what was delivered says how much was asked for, not how
 * much could have been. A loss that nobody has filled lasts until the end of the time that was asked of,
 * or until it was given up.
 */
export function liveSlaFacts({ totals, losses, to }: SlaStatus): SlaFacts {
  const { completed, failed, timedOut, latencySeconds } = totals;
  const ended = completed + failed + timedOut;
  const missing = losses.map(({ lostAt, refilledAt, leftAt }) =>
    Math.max(0, Date.parse(refilledAt ?? leftAt ?? to) - Date.parse(lostAt)),
  );
  return {
    ...NO_SLA_FACTS,
    latencyP95Seconds:
      latencySeconds === null ? null : { value: latencySeconds.p95, from: latencySeconds.jobs },
    failedPercent:
      ended === 0 ? null : { value: ((failed + timedOut) / ended) * PERCENT, from: ended },
    recoverySeconds:
      missing.length === 0
        ? null
        : { value: Math.max(...missing) / MS_PER_SECOND, from: missing.length },
  };
}

/** The same of what was lost since: an older loss that is still open is told too, and was no fault of the load. */
export function lostSince(status: SlaStatus, at: number): SlaStatus {
  return { ...status, losses: status.losses.filter(({ lostAt }) => Date.parse(lostAt) >= at) };
}
