/** Ids of rows that never change, by content hash. Bounded: the oldest used are forgotten. */
export interface KnownIds {
  get(hash: string): number | undefined;
  set(hash: string, id: number): void;
  /** Forgets everything: the rows may have been removed. */
  clear(): void;
}

/** Makes a memory of at most `limit` ids. */
export function createKnownIds(limit: number): KnownIds {
  // A Map keeps the order of insertion: an entry that is used goes to the end.
  const ids = new Map<string, number>();
  return {
    get(hash) {
      const id = ids.get(hash);
      if (id !== undefined) {
        ids.delete(hash);
        ids.set(hash, id);
      }
      return id;
    },
    set(hash, id) {
      ids.delete(hash);
      ids.set(hash, id);
      for (const oldest of ids.keys()) {
        if (ids.size <= limit) break;
        ids.delete(oldest);
      }
    },
    clear: () => ids.clear(),
  };
}
