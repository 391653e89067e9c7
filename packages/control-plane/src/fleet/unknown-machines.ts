/** Machines that providers list and nobody has written down: since when, and when they are told to end. */

interface Unknown {
  readonly since: number;
  /** Told not before; `Infinity` for one that has been told, and need not be again. */
  nextAt: number;
}

/** See the head of this file. Instants are epoch ms. */
export class UnknownMachines {
  readonly #byPool = new Map<string, Map<string, Unknown>>();

  /** Forgets all. */
  clear(): void {
    this.#byPool.clear();
  }

  /**
   * Takes in what of a pool nobody knows now, and gives those that have been so for `waitMs` and are to be
   * told to end. What is known meanwhile, or not listed any more, is forgotten.
   */
  due<T extends { readonly ref: string }>(
    pool: string,
    unknown: readonly T[],
    { now, waitMs }: { readonly now: number; readonly waitMs: number },
  ): readonly T[] {
    const before = this.#byPool.get(pool);
    const seen = new Map(
      unknown.map(({ ref }) => [ref, before?.get(ref) ?? { since: now, nextAt: now }]),
    );
    this.#byPool.set(pool, seen);
    return unknown.filter(({ ref }) => {
      const one = seen.get(ref);
      return one !== undefined && now - one.since >= waitMs && now >= one.nextAt;
    });
  }

  /** One was told to end: not again before `nextAt`. */
  told(pool: string, ref: string, nextAt: number): void {
    const one = this.#byPool.get(pool)?.get(ref);
    if (one !== undefined) one.nextAt = nextAt;
  }
}
