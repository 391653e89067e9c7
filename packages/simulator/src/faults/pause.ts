import type { Clock } from "@holdfast/runtime";

/** Lets everything stand still for a while, as a garbage collection does (F29). */
export class Pause {
  readonly #clock: Clock;
  readonly #end: AbortSignal;
  #current: Promise<void> | undefined;

  /** `end` cuts a pause short: nothing waits once the simulator has stopped. */
  constructor(clock: Clock, end: AbortSignal) {
    this.#clock = clock;
    this.#end = end;
  }

  /** Begins a pause, or adds to the one that is on. */
  begin(ms: number): void {
    const own = this.#pass(this.#current, ms).then(() => {
      if (this.#current === own) this.#current = undefined;
    });
    this.#current = own;
  }

  async #pass(before: Promise<void> | undefined, ms: number): Promise<void> {
    await before;
    try {
      await this.#clock.sleep(ms, this.#end);
    } catch (error) {
      if (!this.#end.aborted) throw error;
    }
  }

  /** Resolves when the pause is over; undefined when there is none. */
  untilOver(): Promise<void> | undefined {
    return this.#current;
  }
}
