import type { Clock } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import { readCounts } from "./count-store.ts";
import type { CallerStanding } from "./fair-rank.ts";
import { readHeadRank, readLastRanks, readServedRanks } from "./submit-store.ts";

/** How old what the gauge says may be. Its own additions are counted at once. */
export const GAUGE_MAX_AGE_MS = 1_000;
/** From this age on it is read again while the old reading still serves. */
const GAUGE_RENEW_AGE_MS = 500;
/** Claims looked at to see where the queue is served. */
const CLAIMS_SAMPLED = 200;
/** Callers whose newest rank is remembered. */
const CALLERS_KEPT = 10_000;

/**
 * What a submit must know of the queue, without asking for each one: how many jobs wait, and where
 * the queue is served now. Read from the database at most every {@link GAUGE_MAX_AGE_MS}; jobs that
 * this replica accepted since are added, so that only other replicas' newest can be missed.
 */
export interface QueueGauge {
  /** Reads anew what is too old. */
  refresh(): Promise<void>;
  /** Jobs that wait, over all callers. */
  waiting(): number;
  /** The rank being served at a priority. Never falls. */
  virtualTime(priority: number): number;
  /** Where these callers stand; reads what it does not know. */
  standings(owners: readonly string[]): Promise<ReadonlyMap<string, CallerStanding>>;
  /** Counts jobs that are about to be accepted, or with a negative number were not after all. */
  note(owner: string, jobs: number): void;
  /** Remembers the rank of a caller's newest job. */
  noteRank(owner: string, lastRank: number): void;
}

/** Makes a gauge; it reads nothing before the first `refresh`. */
export function createQueueGauge(db: Db, clock: Clock): QueueGauge {
  let waiting = new Map<string, number>();
  let total = 0;
  let added = new Map<string, number>();
  let served = new Map<number, number>();
  let headRank = 0;
  let readAt: number | undefined;
  let reading: Promise<void> | undefined;
  const lastRanks = new Map<string, number>();

  const sum = (counts: ReadonlyMap<string, number>): number =>
    [...counts.values()].reduce((all, jobs) => all + jobs, 0);

  const read = async (): Promise<void> => {
    const startedAt = clock.elapsed();
    // What is noted from here on may be in the counts as well: counted twice for a moment, never
    // missed.
    const before = added;
    added = new Map();
    try {
      const [counts, ranks, head] = await Promise.all([
        readCounts(db, null),
        readServedRanks(db, CLAIMS_SAMPLED),
        readHeadRank(db),
      ]);
      const fresh = new Map<string, number>();
      for (const { owner, state, jobs } of counts) {
        if (state !== "queued" && state !== "recovering") continue;
        fresh.set(owner, (fresh.get(owner) ?? 0) + jobs);
      }
      waiting = fresh;
      total = sum(fresh);
      for (const [priority, rank] of ranks) {
        served.set(priority, Math.max(rank, served.get(priority) ?? 0));
      }
      headRank = Math.max(headRank, head);
      readAt = startedAt;
    } catch (error) {
      for (const [owner, jobs] of before) added.set(owner, (added.get(owner) ?? 0) + jobs);
      throw error;
    }
  };

  return {
    async refresh() {
      const ageMs = readAt === undefined ? Number.POSITIVE_INFINITY : clock.elapsed() - readAt;
      if (ageMs < GAUGE_RENEW_AGE_MS) return;
      reading ??= read().finally(() => (reading = undefined));
      if (ageMs >= GAUGE_MAX_AGE_MS) await reading;
      // Nobody waits for this one; should it fail, the next submit waits for another and is told.
      else reading.catch(() => undefined);
    },
    waiting: () => total + sum(added),
    virtualTime: (priority) => Math.max(served.get(priority) ?? 0, headRank),
    async standings(owners) {
      const unknown = owners.filter((owner) => !lastRanks.has(owner));
      if (unknown.length > 0) {
        if (lastRanks.size > CALLERS_KEPT) lastRanks.clear();
        const ranks = await readLastRanks(db, unknown);
        for (const owner of unknown) lastRanks.set(owner, ranks.get(owner) ?? 0);
      }
      return new Map(
        owners.map((owner) => [
          owner,
          {
            lastRank: lastRanks.get(owner) ?? 0,
            waiting: (waiting.get(owner) ?? 0) + (added.get(owner) ?? 0),
          },
        ]),
      );
    },
    note(owner, jobs) {
      added.set(owner, (added.get(owner) ?? 0) + jobs);
    },
    noteRank(owner, lastRank) {
      lastRanks.set(owner, Math.max(lastRank, lastRanks.get(owner) ?? 0));
    },
  };
}
