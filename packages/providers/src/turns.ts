/** Lets what is done under one key be done one after the other. */
export interface Turns {
  /** Runs `work` when what was begun before it under the same key has ended, well or not. */
  take<T>(key: string, work: () => Promise<T>): Promise<T>;
}

/** Makes a {@link Turns}; a key is forgotten when nobody is at it. */
export function createTurns(): Turns {
  const last = new Map<string, Promise<unknown>>();
  return {
    async take(key, work) {
      const before = last.get(key);
      const mine = (async () => {
        await before?.catch(() => undefined);
        return await work();
      })();
      last.set(key, mine);
      try {
        return await mine;
      } finally {
        if (last.get(key) === mine) last.delete(key);
      }
    },
  };
}
