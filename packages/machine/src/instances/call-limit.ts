import type { Clock } from "@holdfast/runtime";

/**
 * Calls something that takes a signal, and gives up on it after `ms`, also when it does not listen to
 * its signal. Throws in words then; a `signal` that is aborted from outside throws its reason.
 */
export async function callWithin<T>(
  what: string,
  limit: { readonly clock: Clock; readonly ms: number; readonly signal: AbortSignal },
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { clock, ms, signal } = limit;
  signal.throwIfAborted();
  const late = new AbortController();
  const settled = new AbortController();
  const both = AbortSignal.any([signal, late.signal]);
  const tooLong = async (): Promise<never> => {
    await clock.sleep(ms, AbortSignal.any([settled.signal, signal]));
    late.abort(new Error(`${what} took longer than ${ms / 1_000} s`));
    throw late.signal.reason;
  };
  try {
    return await Promise.race([call(both), tooLong()]);
  } finally {
    settled.abort();
  }
}
