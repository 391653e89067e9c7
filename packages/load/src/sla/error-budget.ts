/**
 * How fast an error budget is used up, over several windows at once, after "Alerting on SLOs" of Google's
 * SRE workbook: a burn rate of 1 uses it up just at the end of its time. A long window says that it matters,
 * a short one that it still goes on; so an alarm ends soon after its cause.
 */

/** Jobs that ended in one stretch of time; those that were cancelled are in neither. */
export interface EndCount {
  /** Epoch ms. */
  readonly fromMs: number;
  readonly ended: number;
  readonly failed: number;
}

/** Two windows and how fast the budget burns in both before somebody is told. */
export interface BurnRule {
  readonly longMs: number;
  readonly shortMs: number;
  readonly burnRate: number;
  /** Wake somebody, or let it be read in the morning. */
  readonly urgency: "page" | "ticket";
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** The workbook's: 2 % of 30 days' budget in 1 h, 5 % in 6 h, 10 % in 3 days. */
export const BURN_RULES: readonly BurnRule[] = [
  { longMs: HOUR_MS, shortMs: 5 * MINUTE_MS, burnRate: 14.4, urgency: "page" },
  { longMs: 6 * HOUR_MS, shortMs: 30 * MINUTE_MS, burnRate: 6, urgency: "page" },
  { longMs: 3 * DAY_MS, shortMs: 6 * HOUR_MS, burnRate: 1, urgency: "ticket" },
];

/** Fewer failed jobs than this alarm nobody: one of two jobs at night is a burn rate of 25. */
export const BURN_FAILURES_MIN = 3;

/** How an error budget stands. */
export interface ErrorBudget {
  readonly ended: number;
  readonly failed: number;
  /** 1 is all of it, under 0 overdrawn; null where nothing ended. */
  readonly leftShare: number | null;
  readonly windows: readonly BurnWindow[];
}

/** One rule with what was seen. */
export interface BurnWindow extends BurnRule {
  readonly ended: number;
  readonly failed: number;
  /** How many times as fast as allowed; null where nothing ended in the window. */
  readonly longBurn: number | null;
  readonly shortBurn: number | null;
  readonly isBurning: boolean;
}

/**
 * The budget at an instant. A stretch counts whole for every window that it begins in; keep stretches to a
 * minute. With no failure allowed any burns infinitely fast.
 */
export function errorBudgetAt(
  counts: readonly EndCount[],
  nowMs: number,
  { failedPercentMax, budgetDays }: { failedPercentMax: number; budgetDays: number },
): ErrorBudget {
  const allowed = failedPercentMax / 100;
  const since = (ms: number) => {
    let [ended, failed] = [0, 0];
    for (const count of counts) {
      if (count.fromMs < nowMs - ms || count.fromMs > nowMs) continue;
      ended += count.ended;
      failed += count.failed;
    }
    return { ended, failed, burn: burnOf(failed, ended, allowed) };
  };
  const { ended, failed, burn } = since(budgetDays * DAY_MS);
  const windows = BURN_RULES.map((rule): BurnWindow => {
    const long = since(rule.longMs);
    const short = since(rule.shortMs);
    return {
      ...rule,
      ended: long.ended,
      failed: long.failed,
      longBurn: long.burn,
      shortBurn: short.burn,
      isBurning:
        long.failed >= BURN_FAILURES_MIN &&
        (long.burn ?? 0) >= rule.burnRate &&
        (short.burn ?? 0) >= rule.burnRate,
    };
  });
  return { ended, failed, leftShare: burn === null ? null : 1 - burn, windows };
}

function burnOf(failed: number, ended: number, allowed: number): number | null {
  if (ended === 0) return null;
  // 0 / 0: nothing was allowed, and nothing failed.
  return failed === 0 ? 0 : failed / ended / allowed;
}
