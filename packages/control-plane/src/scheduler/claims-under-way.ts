/**
 * Jobs that polls of this replica are just claiming. Many machines that ask at once read the same head of
 * the queue: without this all would claim the same job, one would get it, and the others look again, all
 * together. Other replicas have claims of their own: a hint, the claim itself decides.
 */
export interface ClaimsUnderWay {
  /** How many jobs are being claimed. */
  count(): number;
  /** Whether somebody is claiming it. */
  has(jobId: string): boolean;
  /** Claims these; call what is returned when it is known who has them. */
  begin(jobIds: readonly string[]): () => void;
  /** Resolves when the next claim has ended; at once when none is under way. */
  nextEnd(): Promise<void>;
}

/** Makes {@link ClaimsUnderWay}. */
export function createClaimsUnderWay(): ClaimsUnderWay {
  const jobs = new Set<string>();
  const waiting = new Set<() => void>();
  return {
    count: () => jobs.size,
    has: (jobId) => jobs.has(jobId),
    begin(jobIds) {
      // What another one is claiming already stays that one's.
      const own = jobIds.filter((jobId) => !jobs.has(jobId));
      for (const jobId of own) jobs.add(jobId);
      return () => {
        for (const jobId of own.splice(0)) jobs.delete(jobId);
        for (const tell of waiting) tell();
        waiting.clear();
      };
    },
    nextEnd() {
      if (jobs.size === 0) return Promise.resolve();
      return new Promise((resolve) => waiting.add(resolve));
    },
  };
}
