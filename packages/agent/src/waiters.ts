import type { Clock } from "@holdfast/runtime";
import { slept, WAIT_OVER } from "./pause.ts";

/** Those who wait for something that is looked at anew whenever it may have come. */
export class Waiters {
  readonly #looks = new Set<() => void>();

  /** What is waited for may be there now. */
  notify(): void {
    for (const look of this.#looks) look();
  }

  /** Whether it is there within this time; rejects when the signal is aborted. */
  async until(
    isThere: () => boolean,
    deps: { readonly clock: Clock; readonly withinMs: number; readonly signal: AbortSignal },
  ): Promise<boolean> {
    const { clock, withinMs, signal } = deps;
    if (isThere()) return true;
    const patience = new AbortController();
    const onEnd = (): void => patience.abort(WAIT_OVER);
    const look = (): void => void (isThere() && onEnd());
    this.#looks.add(look);
    signal.addEventListener("abort", onEnd, { once: true });
    if (!signal.aborted) await slept(clock, withinMs, patience.signal);
    this.#looks.delete(look);
    signal.removeEventListener("abort", onEnd);
    signal.throwIfAborted();
    return isThere();
  }
}
