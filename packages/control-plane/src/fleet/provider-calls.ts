/** Calls of providers: under a time limit, and some at once. */
import type { Provided } from "@holdfast/fleet";
import type { Clock } from "@holdfast/runtime";

/** A provider may take so long to answer. */
export const PROVIDER_CALL_MS = 30_000;
/** Calls that are under way at once, of one pool. */
const CALLS_AT_ONCE = 8;
/** Machines that are written at once: connections of the pool are for jobs first. */
const WRITES_AT_ONCE = 2;
/** What each of those at once does before other work gets its turn. */
const SLICE = 32;

/** A call of a provider under a time limit; what comes too late may have happened. */
export async function callProvider<T>(
  clock: Clock,
  signal: AbortSignal,
  run: (limited: AbortSignal) => Promise<Provided<T>>,
): Promise<Provided<T>> {
  const late = new Error(`the provider did not answer within ${PROVIDER_CALL_MS / 1_000} s`);
  try {
    return await withinTime(run, { clock, signal, ms: PROVIDER_CALL_MS, late });
  } catch (err) {
    if (err !== late) throw err;
    const trouble = {
      kind: "unavailable",
      message: late.message,
      retryAfterMs: null,
      mayHaveHappened: true,
    } as const;
    return { kind: "trouble", trouble };
  }
}

/** Work under a signal that is aborted after `ms` too: then it throws `late`, whatever the work threw. */
export async function withinTime<T>(
  run: (limited: AbortSignal) => Promise<T>,
  options: {
    readonly clock: Pick<Clock, "sleep">;
    readonly signal: AbortSignal;
    readonly ms: number;
    readonly late: Error;
  },
): Promise<T> {
  const { clock, signal, ms, late } = options;
  const limit = new AbortController();
  const onAbort = (): void => limit.abort(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  const done = new AbortController();
  const timer = clock.sleep(ms, done.signal).then(
    () => limit.abort(late),
    () => undefined,
  );
  try {
    return await run(limit.signal);
  } catch (err) {
    throw !signal.aborted && limit.signal.aborted ? late : err;
  } finally {
    signal.removeEventListener("abort", onAbort);
    done.abort();
    await timer;
  }
}

/** For each, some at once; the first that throws ends all of it. Lets other work in between. */
export async function forEachAtOnce<T>(
  all: readonly T[],
  work: (one: T) => Promise<void>,
): Promise<void> {
  let next = 0;
  let failure: { readonly error: unknown } | undefined;
  const worker = async (): Promise<void> => {
    for (let done = 1; next < all.length && failure === undefined; done += 1) {
      const one = all[next] as T;
      next += 1;
      await work(one);
      // Work that waits for nothing would hold everybody up until the last of thousands is done.
      if (done % SLICE === 0) await new Promise<void>((resolve) => void setImmediate(resolve));
    }
  };
  const workers = Array.from({ length: Math.min(WRITES_AT_ONCE, all.length) }, () =>
    worker().catch((error: unknown) => {
      failure ??= { error };
    }),
  );
  // Not before all have ended: what goes on would work beside whatever comes next.
  await Promise.all(workers);
  if (failure !== undefined) throw failure.error;
}

/**
 * Calls of providers that a round does not wait for: one that hangs must not keep the leader from the
 * machines of the others. One call a machine, and some a pool.
 */
export class BackgroundCalls {
  readonly #clock: Clock;
  readonly #underWay = new Map<string, Promise<void>>();
  readonly #byPool = new Map<string, number>();
  readonly #onFailure: (err: unknown, key: string) => void;
  #failure: { readonly error: unknown } | undefined;

  /** `onFailure` is told of a call that threw when no round waited for it any more. */
  constructor(clock: Clock, onFailure: (err: unknown, key: string) => void) {
    this.#clock = clock;
    this.#onFailure = onFailure;
  }

  has(key: string): boolean {
    return this.#underWay.has(key);
  }

  /** Begins a call, unless one of this key is under way, or the pool has enough of them. */
  begin(key: string, pool: string, work: () => Promise<void>): void {
    const count = this.#byPool.get(pool) ?? 0;
    if (this.#underWay.has(key) || count >= CALLS_AT_ONCE) return;
    this.#byPool.set(pool, count + 1);
    const running = work()
      .catch((error: unknown) => {
        this.#failure ??= { error };
        this.#onFailure(error, key);
      })
      .finally(() => {
        this.#underWay.delete(key);
        this.#byPool.set(pool, (this.#byPool.get(pool) ?? 1) - 1);
      });
    this.#underWay.set(key, running);
  }

  /** Waits for what is under way, so long at most. Throws what one of them threw since the last time. */
  async settle(withinMs: number): Promise<void> {
    if (this.#underWay.size > 0) {
      const done = new AbortController();
      const limit = this.#clock.sleep(withinMs, done.signal).catch(() => undefined);
      await Promise.race([Promise.all(this.#underWay.values()), limit]);
      done.abort();
    }
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure.error;
  }
}
