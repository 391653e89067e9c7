/** Attempts remembered; a poll that began before an attempt ended still names it for at most its wait. */
const REMEMBERED = 20_000;

/**
 * Attempts whose reports this replica has just recorded. A poll that was sent before still holds
 * them: they have ended, but nobody took them away.
 */
export interface RecentEnds {
  add(attemptId: string): void;
  has(attemptId: string): boolean;
}

/** Makes {@link RecentEnds}; the oldest are forgotten first. */
export function createRecentEnds(): RecentEnds {
  const ended = new Set<string>();
  return {
    add(attemptId) {
      ended.add(attemptId);
      for (const oldest of ended) {
        if (ended.size <= REMEMBERED) break;
        ended.delete(oldest);
      }
    },
    has: (attemptId) => ended.has(attemptId),
  };
}
