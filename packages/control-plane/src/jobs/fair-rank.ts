/**
 * Start-time fair queueing between callers. Among queued jobs of equal priority the smallest rank
 * goes first. A caller's jobs get consecutive ranks from where the queue is served now, so callers
 * who wait at the same time take turns, however many jobs one of them has.
 *
 * I1 A job's rank is greater than the virtual time (the rank being served now): nobody who comes
 *    later overtakes by having been away.
 * I2 Ranks of one caller's waiting jobs grow strictly in order of submission.
 * I3 A caller without waiting jobs starts at the virtual time: what it used before, or cancelled,
 *    is not held against it.
 */

/**
 * How far the virtual time may lag behind what is served: it is read now and then, not at each
 * submit. A caller that cancelled most of its jobs is put back by at most so many places.
 */
export const VIRTUAL_TIME_LAG = 1_000;

/** What is known of a caller when its jobs are ranked. */
export interface CallerStanding {
  /** The rank of its newest job; 0 when it never had one. */
  readonly lastRank: number;
  /** How many of its jobs wait now. */
  readonly waiting: number;
}

/** A job to rank. */
export interface Rankable {
  readonly owner: string;
  readonly priority: number;
}

/**
 * Ranks for jobs in their order. `virtualTime` gives the rank being served at a priority; `standings`
 * holds the callers known so far, and a caller that is not in it has never submitted.
 */
export function assignRanks(
  jobs: readonly Rankable[],
  standings: ReadonlyMap<string, CallerStanding>,
  virtualTime: (priority: number) => number,
): number[] {
  const ranked = new Map<string, number>();
  return jobs.map(({ owner, priority }) => {
    const now = virtualTime(priority);
    const last = ranked.get(owner) ?? lastInQueue(standings.get(owner), now);
    const rank = Math.max(last, now) + 1;
    ranked.set(owner, rank);
    return rank;
  });
}

/** Where the caller's newest waiting job is: with `waiting` jobs it cannot be further than that. */
function lastInQueue(standing: CallerStanding | undefined, now: number): number {
  if (standing === undefined || standing.waiting === 0) return now;
  return Math.min(standing.lastRank, now + standing.waiting + VIRTUAL_TIME_LAG);
}
