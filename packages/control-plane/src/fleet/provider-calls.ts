/** Calls of providers: under a time limit, and some at once. */
import type { Provided } from "@holdfast/fleet";
import type { Clock } from "@holdfast/runtime";

/** A provider may take so long to answer. */
export const PROVIDER_CALL_MS = 30_000;
/** Calls that are under way at once. */
const CALLS_AT_ONCE = 8;

/** A call of a provider under a time limit; what comes too late may have happened. */
export async function callProvider<T>(
  clock: Clock,
  signal: AbortSignal,
  run: (limited: AbortSignal) => Promise<Provided<T>>,
): Promise<Provided<T>> {
  const limit = new AbortController();
  const onAbort = (): void => limit.abort(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  const done = new AbortController();
  const timer = clock.sleep(PROVIDER_CALL_MS, done.signal).then(
    () => limit.abort(new Error("the provider did not answer in time")),
    () => undefined,
  );
  try {
    return await run(limit.signal);
  } catch (err) {
    if (signal.aborted || !limit.signal.aborted) throw err;
    const message = `the provider did not answer within ${PROVIDER_CALL_MS / 1_000} s`;
    const trouble = {
      kind: "unavailable",
      message,
      retryAfterMs: null,
      mayHaveHappened: true,
    } as const;
    return { kind: "trouble", trouble };
  } finally {
    signal.removeEventListener("abort", onAbort);
    done.abort();
    await timer;
  }
}

/** For each, some at once; the first that throws ends it. */
export async function forEachAtOnce<T>(
  all: readonly T[],
  work: (one: T) => Promise<void>,
): Promise<void> {
  const queue = [...all];
  const workers = Array.from({ length: Math.min(CALLS_AT_ONCE, queue.length) }, async () => {
    for (let one = queue.shift(); one !== undefined; one = queue.shift()) await work(one);
  });
  await Promise.all(workers);
}
