import type { Clock } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import { readCounts, type JobCount } from "./count-store.ts";
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
  /** Reads anew what is too old; by default what is older than {@link GAUGE_MAX_AGE_MS}. */
  refresh(maxAgeMs?: number): Promise<void>;
  /** Jobs that wait, over all callers. */
  waiting(): number;
  /** The rank being served at a priority. Never falls. */
  virtualTime(priority: number): number;
  /** Where these callers stand; reads what it does not know. */
  standings(owners: readonly string[]): Promise<ReadonlyMap<string, CallerStanding>>;
  /** Counts jobs that are about to be accepted; settle it when that is decided. */
  reserve(owner: string, jobs: number): Reservation;
  /** Remembers the rank of a caller's newest job. */
  noteRank(owner: string, lastRank: number): void;
}

/** Jobs that are about to be accepted. */
export interface Reservation {
  /** They are on disk. */
  commit(): void;
  /** They were not accepted after all. */
  release(): void;
}

/** Makes a gauge; it reads nothing before the first `refresh`. */
export function createQueueGauge(db: Db, clock: Clock): QueueGauge {
  let waiting = new Map<string, number>();
  let total = 0;
  // On disk since the last reading began: it may have seen them or not.
  let added = new Map<string, number>();
  // Not on disk yet: no reading has seen them.
  const reserved = new Map<string, number>();
  let served = new Map<number, number>();
  let headRank = 0;
  let readAt: number | undefined;
  let reading: Promise<void> | undefined;
  const lastRanks = new Map<string, number>();

  const read = async (): Promise<void> => {
    const startedAt = clock.elapsed();
    // What comes to disk from here on may be in the counts as well: counted twice for a moment,
    // never missed.
    const before = added;
    added = new Map();
    try {
      const [counts, ranks, head] = await Promise.all([
        readCounts(db, null),
        readServedRanks(db, CLAIMS_SAMPLED),
        readHeadRank(db),
      ]);
      const fresh = waitingByOwner(counts);
      waiting = fresh;
      total = sum(fresh);
      for (const [priority, rank] of ranks) {
        served.set(priority, Math.max(rank, served.get(priority) ?? 0));
      }
      headRank = Math.max(headRank, head);
      readAt = startedAt;
    } catch (error) {
      for (const [owner, jobs] of before) add(added, owner, jobs);
      throw error;
    }
  };

  return {
    async refresh(maxAgeMs = GAUGE_MAX_AGE_MS) {
      const ageMs = readAt === undefined ? Number.POSITIVE_INFINITY : clock.elapsed() - readAt;
      if (ageMs < Math.min(GAUGE_RENEW_AGE_MS, maxAgeMs)) return;
      reading ??= read().finally(() => (reading = undefined));
      if (ageMs >= maxAgeMs) await reading;
      // Nobody waits for this one; should it fail, the next submit waits for another and is told.
      else reading.catch(() => undefined);
    },
    waiting: () => total + sum(added) + sum(reserved),
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
            waiting: [waiting, added, reserved].reduce(
              (all, counts) => all + (counts.get(owner) ?? 0),
              0,
            ),
          },
        ]),
      );
    },
    reserve(owner, jobs) {
      add(reserved, owner, jobs);
      return {
        commit() {
          add(reserved, owner, -jobs);
          add(added, owner, jobs);
        },
        release: () => add(reserved, owner, -jobs),
      };
    },
    noteRank(owner, lastRank) {
      lastRanks.set(owner, Math.max(lastRank, lastRanks.get(owner) ?? 0));
    },
  };
}

function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((all, jobs) => all + jobs, 0);
}

function waitingByOwner(counts: readonly JobCount[]): Map<string, number> {
  const waiting = new Map<string, number>();
  for (const { owner, state, jobs } of counts) {
    if (state === "queued" || state === "recovering") add(waiting, owner, jobs);
  }
  return waiting;
}

function add(counts: Map<string, number>, owner: string, jobs: number): void {
  const sum = (counts.get(owner) ?? 0) + jobs;
  if (sum === 0) counts.delete(owner);
  else counts.set(owner, sum);
}
