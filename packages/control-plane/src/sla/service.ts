import { HoldfastError, SLA_POINTS_MAX, type SlaStatus } from "@holdfast/contract";
import { errorBudgetAt } from "@holdfast/load";
import { toInstant, toInstantOrNull } from "../access/pages.ts";
import type { Db } from "../platform/db.ts";
import { latencyPercentiles } from "./latency-buckets.ts";
import { readInstanceLosses, readLacking, readPoolEvents } from "./losses-store.ts";
import {
  countMinutes,
  readMinuteEnds,
  readNextRange,
  readStretches,
  tryLockCounting,
} from "./minutes-store.ts";
import {
  KEPT_DAYS,
  LOSSES_MAX,
  type ServiceCounts,
  type ServiceStretch,
  type TimeRange,
} from "./model.ts";
import { machineLosses } from "./refills.ts";

/** What is asked; what is left out has its default. Instants in epoch ms. */
export interface SlaQuestion {
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  readonly stepSeconds?: number | undefined;
  readonly failedPercentMax?: number | undefined;
  readonly budgetDays?: number | undefined;
}

/** What was delivered, by the minute. */
export interface SlaService {
  status(question: SlaQuestion): Promise<SlaStatus>;
  /** Counts what ended since the last call, a part of it at a time. */
  count(): Promise<"more" | "idle">;
}

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
/** Counted in one transaction: an hour of a busy service is a few hundred thousand jobs. */
const COUNTED_AT_ONCE_MS = 60 * MINUTE_MS;
const DEFAULT_FAILED_PERCENT = 2;
const DEFAULT_BUDGET_DAYS = 30;

/** Makes the service. `bookWindow`: pages of a book that are rendered at a time. */
export function createSlaService(db: Db, bookWindow: number): SlaService {
  return {
    async status(question) {
      const { rows } = await db.query<{ now: number }>("select now() as now");
      const asked = readQuestion(question, rows[0]?.now ?? 0);
      const { range, stepSeconds, failedPercentMax, budgetDays } = asked;
      const budgetFrom = range.to - budgetDays * DAY_MS;
      const [stretches, ends, instances, pools, lacking] = await Promise.all([
        readStretches(db, range, stepSeconds),
        readMinuteEnds(db, { from: budgetFrom, to: range.to }),
        readInstanceLosses(db, range),
        readPoolEvents(db),
        readLacking(db),
      ]);
      const losses = [...instances, ...machineLosses(pools, range, lacking)];
      losses.sort((a, b) => b.lostAt - a.lostAt);
      return {
        from: toInstant(range.from),
        to: toInstant(range.to),
        stepSeconds,
        totals: withLatency(sumOf(stretches)),
        points: stretches.map((one) => ({ at: toInstant(one.at), ...withLatency(one) })),
        budget: {
          failedPercentMax,
          days: budgetDays,
          ...budgetOf(errorBudgetAt(ends, range.to, { failedPercentMax, budgetDays })),
        },
        losses: losses.slice(0, LOSSES_MAX).map(({ lostAt, refilledAt, leftAt, ...rest }) => ({
          ...rest,
          lostAt: toInstant(lostAt),
          refilledAt: toInstantOrNull(refilledAt),
          leftAt: toInstantOrNull(leftAt),
        })),
      };
    },

    async count() {
      return await db.transaction(async (tx) => {
        if (!(await tryLockCounting(tx))) return "idle";
        const { from, to } = await readNextRange(tx);
        const end = Math.min(to, from + COUNTED_AT_ONCE_MS);
        await countMinutes(tx, { from, to: end }, bookWindow);
        return end < to ? "more" : "idle";
      });
    },
  };
}

interface ReadQuestion {
  readonly range: TimeRange;
  readonly stepSeconds: number;
  readonly failedPercentMax: number;
  readonly budgetDays: number;
}

function readQuestion(question: SlaQuestion, now: number): ReadQuestion {
  const to = question.to ?? now;
  const from = question.from ?? to - DAY_MS;
  if (from >= to) throw refused("`from` lies before `to`");
  if (to - from > KEPT_DAYS * DAY_MS) throw refused(`at most ${KEPT_DAYS} days lie between them`);
  const least = Math.ceil((to - from) / MINUTE_MS / (SLA_POINTS_MAX - 1)) * 60;
  const stepSeconds = question.stepSeconds ?? least;
  if (stepSeconds < least || stepSeconds % 60 !== 0) {
    throw refused(
      `stepSeconds is a multiple of 60, and at least ${least} for this time (${SLA_POINTS_MAX} points)`,
    );
  }
  const failedPercentMax = question.failedPercentMax ?? DEFAULT_FAILED_PERCENT;
  if (!(failedPercentMax > 0 && failedPercentMax <= 100)) {
    throw refused("failedPercentMax is over 0, and at most 100");
  }
  const budgetDays = question.budgetDays ?? DEFAULT_BUDGET_DAYS;
  if (!(budgetDays >= 1 && budgetDays <= 366)) throw refused("budgetDays is 1 to 366");
  return { range: { from, to }, stepSeconds, failedPercentMax, budgetDays };
}

function refused(what: string): HoldfastError {
  return new HoldfastError("invalid_request", what);
}

function budgetOf(budget: ReturnType<typeof errorBudgetAt>) {
  return { ...budget, windows: budget.windows.map((one) => ({ ...one })) };
}

function sumOf(stretches: readonly ServiceStretch[]): ServiceStretch {
  const sum = { completed: 0, recovered: 0, failed: 0, timedOut: 0, cancelled: 0, outputs: 0 };
  for (const one of stretches) {
    for (const key of Object.keys(sum) as (keyof ServiceCounts)[]) sum[key] += one[key];
  }
  return { at: 0, ...sum, latency: stretches.flatMap((one) => one.latency) };
}

function withLatency({
  completed,
  recovered,
  failed,
  timedOut,
  cancelled,
  outputs,
  latency,
}: ServiceStretch) {
  const counts = { completed, recovered, failed, timedOut, cancelled, outputs };
  return { ...counts, latencySeconds: latencyPercentiles(latency) };
}
